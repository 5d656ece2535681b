"""Variety of a set of texts: distinct runs of words (Li et al. 2016), self-BLEU (Zhu et al. 2018), entropy of words.

All three depend on how many texts there are and how long they are, so they mean something beside real texts of the same number alone.
"""

from collections import Counter
from collections.abc import Callable
from functools import partial

import numpy as np
import torch

from karat.material.metrics.scores import Interval, Metric, Resampling, Side, interval, metrics
from karat.material.metrics.texts.overlap import by_sacrebleu
from karat.material.metrics.texts.units import grams, units

LONGEST = 4
MOST = 500
"""Texts that self-BLEU compares with one another."""


def distinct(made: Side, real: Side, resampling: Resampling, *, n: int) -> Interval:
    """Measure how many of all runs of `n` units are different ones."""
    ids, rows = _numbered(made, n)

    def share(weights: np.ndarray) -> float:
        counts = np.bincount(ids, weights[rows])
        return float((counts > 0).sum() / max(1.0, counts.sum()))

    return _drawn(share, made, resampling, 1.0)


def entropy(made: Side, real: Side, resampling: Resampling) -> Interval:
    """Measure the entropy of single units, in bits."""
    ids, rows = _numbered(made, 1)

    def bits(weights: np.ndarray) -> float:
        counts = np.bincount(ids, weights[rows])
        chances = counts[counts > 0] / max(1.0, counts.sum())
        return float(-(chances * np.log2(chances)).sum())

    return _drawn(bits, made, resampling, float("inf"))


def self_bleu(made: Side, real: Side, resampling: Resampling) -> Interval:
    """Measure the mean BLEU of each text with all the others as its references."""
    metric = by_sacrebleu("bleu")
    texts = [units(text) for text in made.texts[:MOST]]
    counts = [[Counter(grams(text, n)) for text in texts] for n in range(1, LONGEST + 1)]
    most = [_two_highest(each) for each in counts]
    lengths = np.array([len(text) for text in texts])
    scores = []
    for row, text in enumerate(texts):
        others = np.delete(lengths, row)
        nearest = int(min(others, key=lambda length: (abs(length - len(text)), length)))
        right = [
            sum(min(count, best[gram][1 if best[gram][0] == count else 0]) for gram, count in own[row].items())
            for own, best in zip(counts, most, strict=True)
        ]
        total = [max(0, len(text) - n) for n in range(LONGEST)]
        scores.append(metric.compute_bleu(right, total, len(text), nearest, smooth_method="exp").score)
    values_N = torch.tensor(scores, dtype=torch.float64)
    draws = resampling.weights(len(scores), "made") @ values_N / len(scores)
    return interval(float(values_N.mean()), draws, (len(scores), len(scores)), (0.0, 100.0))


def _two_highest(counts: list[Counter[tuple[str, ...]]]) -> dict[tuple[str, ...], tuple[int, int]]:
    """Give for each run how often it stands in the text that has most of it, and in the one after that.

    So the most that a text's references have of it is known without going through them: the second where the text itself is the first.
    """
    found: dict[tuple[str, ...], tuple[int, int]] = {}
    for each in counts:
        for gram, count in each.items():
            first, second = found.get(gram, (0, 0))
            found[gram] = (count, first) if count > first else (first, max(second, count))
    return found


def _numbered(made: Side, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Give a number for each run of `n` units, and the text that it stands in."""
    numbers: dict[tuple[str, ...], int] = {}
    found = [(numbers.setdefault(gram, len(numbers)), row) for row, text in enumerate(made.texts) for gram in grams(units(text), n)]
    ids = np.array(found, np.int64).reshape(-1, 2)
    return ids[:, 0], ids[:, 1]


def _drawn(value: Callable[[np.ndarray], float], made: Side, resampling: Resampling, most: float) -> Interval:
    count = len(made.texts)
    draws = [value(weights.numpy()) for weights in resampling.weights(count, "made")]
    return interval(value(np.ones(count)), torch.tensor(draws, dtype=torch.float64), (count, count), (0.0, most))


def _add(name: str, title: str, measure: Callable[[Side, Side, Resampling], Interval], meaning: str, *, higher: bool = True) -> None:
    metrics.add(name)(Metric(title, meaning, higher, measure, needs=("texts",), real_is_best=True))


_add(
    "distinct-1",
    "Distinct words",
    partial(distinct, n=1),
    "Different words (for Chinese: characters) among all of them. Few: the texts repeat themselves; more than real ones: noise.",
)
_add("distinct-2", "Distinct pairs", partial(distinct, n=2), "Different pairs of words among all pairs.")
_add(
    "self-bleu",
    "Self-BLEU",
    self_bleu,
    "How much the texts have in common with one another, of 100: 100 is one text again and again.",
    higher=False,
)
_add(
    "entropy",
    "Entropy of words",
    entropy,
    "Bits in a word drawn from all of them. A text that says the same word for ever is easily foretold and has none.",
)
