"""Rewards: what verdicts say of an answer, as one number, learnt from pairs (Bradley & Terry 1952) and thumbs alike.

A reward is linear in features of its own, the same for every model: hashed words and word pairs, the length, and how many of an answer's
words stand in the question. Few hundred verdicts are enough for it, it reads any model's answers, and it can be wrong where words are not
what the verdicts were about, so it says how many held-out verdicts it agrees with.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from zlib import crc32

import torch
from torch import Tensor
from torch.nn import functional as F

from karat.material.data.texts.verdicts import Judged
from karat.material.metrics.texts.units import units
from karat.values.passages import Passage
from karat.words.errors import DataError

BUCKETS = 2048
WIDTH = BUCKETS + 4
FEWEST = 20
"""Verdicts from which something can be learnt."""
FOLDS = 5
LIGHT = (1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
"""Penalties on the size of the weights, of which the one that foretells left-out verdicts best is taken."""


class Reward:
    """Says what an answer is worth: differences mean something, the number itself does not."""

    def __init__(self, weights: Tensor) -> None:
        self.weights = weights

    def __call__(self, opening: Passage, answer: str) -> float:
        """Give what an answer is worth after what was said before."""
        return float(features(opening, answer) @ self.weights)


def features(opening: Passage, answer: str) -> Tensor:
    """Give the features (WIDTH,) of an answer: words, pairs of words, length in words, ended sentences, words taken up, and 1."""
    said, asked = units(answer.lower()), set(units(opening.plain().lower()))
    counts = Counter(crc32(" ".join(gram).encode()) % BUCKETS for n in (1, 2) for gram in zip(*(said[k:] for k in range(n)), strict=False))
    found = torch.zeros(WIDTH)
    if counts:
        found[torch.tensor(list(counts))] = torch.tensor([math.sqrt(count) for count in counts.values()])
        found /= found.norm()
    found[BUCKETS] = math.log1p(len(said)) / 2
    found[BUCKETS + 1] = math.log1p(sum(answer.count(mark) for mark in ".!?。！？"))
    found[BUCKETS + 2] = sum(word in asked for word in said) / max(1, len(said))
    found[BUCKETS + 3] = 1
    return found


def contrasts(judged: Iterable[Judged]) -> Tensor:
    """Give rows (M, WIDTH) on which a reward that agrees with the verdicts is above 0: for pairs, differences of features."""
    rows = []
    for each in judged:
        one = features(each.opening, each.answer)
        rows.append(one - features(each.opening, each.rejected) if each.rejected is not None else one if each.liked else -one)
    return torch.stack(rows) if rows else torch.zeros(0, WIDTH)


def learn_reward(judged: Sequence[Judged]) -> Reward:
    """Fit a reward to verdicts. Raises DataError for too few."""
    if len(judged) < FEWEST:
        raise DataError(f"The snapshot has {len(judged)} verdicts; a reward needs {FEWEST}.", repair="Bring more verdicts.")
    rows_MF = contrasts(judged)
    fold_M = torch.arange(len(rows_MF)) % FOLDS
    paid = []
    for light in LIGHT:
        fits = [_fit(rows_MF[fold_M != fold], light) for fold in range(FOLDS)]
        paid.append(sum(float(F.softplus(-(rows_MF[fold_M == fold] @ fit)).sum()) for fold, fit in enumerate(fits)))
    return Reward(_fit(rows_MF, LIGHT[min(range(len(LIGHT)), key=lambda place: paid[place])]))


def _fit(rows_MF: Tensor, light: float) -> Tensor:
    """Give the weights of least logistic loss under a penalty on their size."""
    weights_F = torch.zeros(rows_MF.shape[1], requires_grad=True)
    optimizer = torch.optim.LBFGS([weights_F], max_iter=60, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        found = F.softplus(-(rows_MF @ weights_F)).mean() + light / 2 * weights_F.square().sum()
        found.backward()
        return found

    step: Callable[[Callable[[], Tensor]], object] = optimizer.step
    step(loss)
    return weights_F.detach()


def agreement(reward: Reward, judged: Sequence[Judged]) -> tuple[float, float, float]:
    """Give the share of verdicts that a reward agrees with, and its 95 % interval."""
    leads = (contrasts(judged) @ reward.weights).tolist()
    return share(sum(1.0 if lead > 0 else 0.5 if lead == 0 else 0.0 for lead in leads), len(leads))


def share(hits: float, count: int) -> tuple[float, float, float]:
    """Give hits among so many as a share with its 95 % interval (Wilson 1927)."""
    if not count:
        return 0.5, 0.0, 1.0
    z, value = 1.96, hits / count
    middle, width = value + z**2 / (2 * count), z * math.sqrt(value * (1 - value) / count + z**2 / (4 * count**2))
    return value, (middle - width) / (1 + z**2 / count), (middle + width) / (1 + z**2 / count)
