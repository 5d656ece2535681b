"""Personal data: recall and precision of the finding on planted sentences in English and Chinese, by kind, beside near misses.

    python benchmarks/personal_data.py --count 1000

What is planted, and what only looks like it, is drawn in `karat/material/data/texts/planted.py`.
"""

import argparse
import time
from pathlib import Path

import numpy as np
from datasets import machine
from results import record

from karat.material.data.texts.planted import measured, planted


def main() -> None:
    """Measure each kind in each language and record it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1000, help="sentences of each kind and language")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    sentences = planted(asked.count, np.random.default_rng(asked.seed))
    began = time.perf_counter()
    results = measured(sentences)
    rate = sum(len(sentence.text) for sentence in sentences) / (time.perf_counter() - began)
    for (kind, language), result in results.items():
        scores = {"recall": result.recall, "precision": result.precision, "planted": result.planted, "found": result.found}
        row = {"what": "personal data", "data": f"sentences in {language}", "contender": kind, "scores": scores, **machine()}
        record(Path(__file__).parent / "results" / "personal-data.json", row, key=("data", "contender"))
        print(f"{kind:12} {language}  recall {result.recall:.3f}  precision {result.precision:.3f}")
    print(f"{len(sentences):,} sentences, {rate / 1e6:.2f} million characters a second")


if __name__ == "__main__":
    main()
