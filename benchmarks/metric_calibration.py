"""Which metric notices which corruption, on scikit-learn's 1,797 handwritten digits: prints a Markdown table, and JSON with --json."""

import argparse
import json

import torch

from karat.material.metrics.calibration import calibration_table, corrupted, moved
from karat.material.metrics.scores import result_of
from karat.work.evaluation import EvaluationOptions, Reality, Values, evaluate, prepare


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    everything = digits(asked.seed)
    judge, validation, test, fresh, train = (everything.rows(torch.arange(*ends)) for ends in _ENDS)
    real = Reality(train=[train], validation=validation, test=test, judge=judge, classes=[str(digit) for digit in range(10)])
    options = EvaluationOptions(seed=asked.seed)
    yardstick = result_of(prepare(real, options))
    sets = corrupted((fresh.values, fresh.labels), (train.values, train.labels), seed=asked.seed)
    scored = {}
    for name, (values, labels) in sets.items():
        scored[name] = result_of(evaluate(Values(values, labels), real, options, yardstick=yardstick)).scores
    if asked.json:
        rows = {
            name: {score.name: {"value": score.value, "worse_than_floor": moved(score)} for score in scores}
            for name, scores in scored.items()
        }
        print(json.dumps(rows, indent=1))
    else:
        print(calibration_table(scored))


_ENDS = ((0, 270), (270, 450), (450, 800), (800, 1150), (1150, 1797))


def digits(seed: int) -> Values:
    """Give the digits in [-1, 1], shuffled."""
    from sklearn.datasets import load_digits

    found = load_digits()
    order = torch.randperm(len(found.target), generator=torch.Generator().manual_seed(seed))
    return Values(torch.from_numpy(found.images).float()[..., None][order] / 8 - 1, torch.from_numpy(found.target).long()[order])


if __name__ == "__main__":
    main()
