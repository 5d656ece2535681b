"""How much a set of texts copies from the training texts, beside held-out texts of the same kind and the training texts themselves."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from karat.material.metrics.scores import Interval, Resampling, Score, interval
from karat.material.metrics.texts.copying import RUN, Copied

MEANINGS = {
    "copied-runs": (
        "Copied runs",
        f"Share of all runs of {RUN} words or marks (for Chinese: characters) that stand in a training text. "
        "What everybody says is found in held-out texts as well.",
    ),
    "longest-copied": (
        "Longest copy",
        "The longest span that a text shares with a training text, in words and marks; the mean of all texts.",
    ),
}


def copy_scores(
    space: str, made: Sequence[Copied], floor: Sequence[Copied], baselines: Mapping[str, Sequence[Copied]], resampling: Resampling
) -> list[Score]:
    """Score copies of made texts, beside those of real ones that nobody trained on (the floor) and of trivial baselines."""
    found, reached = measured(made, resampling), measured(floor, resampling) if floor else {}
    trivial = {name: measured(each, resampling.only_value()) for name, each in baselines.items() if each}
    scores = []
    for name, (title, meaning) in MEANINGS.items():
        facts: dict[str, Any] = {"title": title, "meaning": meaning, "higher_is_better": False, "floor": reached.get(name)}
        values = {key: intervals[name].value for key, intervals in trivial.items()}
        scores.append(Score(name=f"{name}/{space}", space=space, baselines=values, **facts, **found[name].model_dump()))
    return scores


def measured(copies: Sequence[Copied], resampling: Resampling) -> dict[str, Interval]:
    """Measure the share of copied runs and the mean longest copy; texts are drawn again."""
    count = len(copies)
    copied, runs, longest = (
        torch.tensor([getattr(each, name) for each in copies], dtype=torch.float64) for name in ("copied_runs", "runs", "longest")
    )
    weights = resampling.weights(count, "made")
    share = (weights @ copied) / (weights @ runs).clamp(min=1)
    value = float(copied.sum() / runs.sum().clamp(min=1))
    return {
        "copied-runs": interval(value, share, (count, int(runs.sum())), (0.0, 1.0)),
        "longest-copied": interval(float(longest.mean()), weights @ longest / count, (count, count), (0.0, float("inf"))),
    }
