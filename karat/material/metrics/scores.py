"""Scores: a number is nothing without its interval, its counts, the floor that reality itself reaches, and trivial baselines.

A metric is a plain function of two sides, the made and the real. Whoever evaluates calls the same function again with held-out real
values in the place of the made ones (the floor) and with noise, the mean and resampled training data (the baselines), so that all of them
are comparable.
"""

import zlib
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from torch import Tensor

from karat.words.events import Event
from karat.words.registry import Registry
from karat.words.specs import Spec, Where

T = TypeVar("T")
Need = Literal["labels", "targets", "texts", "references"]
UNLIMITED = (-float("inf"), float("inf"))


class Interval(Spec):
    """A value with its 95 % bootstrap interval, from `count` made and `reference_count` real values."""

    value: float
    low: float
    high: float
    count: int
    reference_count: int


class Score(Spec):
    """One metric of what was made, beside what real values score (`floor`) and what needs no model at all (`baselines`)."""

    name: str
    title: str
    meaning: str
    space: str
    value: float
    low: float
    high: float
    count: int
    reference_count: int
    higher_is_better: bool
    real_is_best: bool = False
    floor: Interval | None = None
    baselines: dict[str, float] = {}

    @property
    def reaches_floor(self) -> bool:
        """Say whether the interval reaches what real values score."""
        if self.floor is None:
            return False
        if self.real_is_best:
            return self.high >= self.floor.low and self.low <= self.floor.high
        return self.high >= self.floor.low if self.higher_is_better else self.low <= self.floor.high


class SpaceFacts(Spec):
    """Where values were compared: without the digest of the space the numbers mean nothing."""

    name: str
    space_digest: str
    width: int
    facts: dict[str, Any] = {}


class Neighbours(Spec):
    """A made picture (its row), its nearest training picture and its nearest held-out one, with the distances."""

    made: int
    copied: bool
    training_row: int
    training_name: str
    training_distance: float
    held_out_row: int
    held_out_distance: float


class Evaluation(Spec):
    """All scores of one set of made values, the spaces they were taken in, and the neighbours worth looking at."""

    scores: tuple[Score, ...]
    spaces: tuple[SpaceFacts, ...]
    counts: dict[str, int]
    originality: dict[str, Any]
    neighbours: tuple[Neighbours, ...]
    options: dict[str, Any]
    seconds: float = Where(0.0)

    def __getitem__(self, name: str) -> Score:
        return next(score for score in self.scores if score.name == name)

    def figures(self) -> dict[str, float]:
        """Give each score's bare value by name."""
        return {score.name: score.value for score in self.scores}


@dataclass(frozen=True)
class Side:
    """One side of a comparison: features (N, D), reduced values (N, P), what each value was made from, and for texts their words."""

    features: Tensor
    pixels: Tensor
    probabilities: Tensor | None = None
    labels: Tensor | None = None
    targets: Tensor | None = None
    texts: Sequence[str] = ()
    references: Sequence[str] = ()

    def __len__(self) -> int:
        return len(self.features)

    def seen_in(self, features: Tensor) -> "Side":
        """Give the same values in another feature space."""
        return replace(self, features=features)

    def has(self, needs: Sequence[Need]) -> bool:
        given: dict[Need, bool] = {
            "labels": self.labels is not None and self.probabilities is not None,
            "targets": self.targets is not None,
            "texts": bool(self.texts),
            "references": bool(self.references),
        }
        return all(given[need] for need in needs)


@dataclass(frozen=True)
class Resampling:
    """How often values are drawn again for an interval, and from which seed; 0 times gives the bare value."""

    times: int = 200
    seed: int = 0

    def weights(self, count: int, name: str) -> Tensor:
        """Give how often each of `count` values is drawn in each resample, (times, count)."""
        random = np.random.Generator(np.random.Philox([self.seed, zlib.crc32(name.encode())]))
        return torch.from_numpy(random.multinomial(count, np.full(count, 1 / count), size=self.times)).double()

    def only_value(self) -> "Resampling":
        return replace(self, times=0)


@dataclass(frozen=True)
class Metric:
    """A metric in the registry; `space` says which features it sees: of each space in turn, of the judge, or of all at once.

    Where `real_is_best`, more than real values score is no better than less: noise is more varied than any text.
    """

    title: str
    meaning: str
    higher_is_better: bool
    measure: Callable[[Side, Side, Resampling], Interval]
    space: Literal["each", "judge", "all"] = "each"
    needs: tuple[Need, ...] = field(default=())
    real_is_best: bool = False


metrics: Registry[Metric] = Registry("metric")


def interval(value: float, draws: Tensor, counts: tuple[int, int], limits: tuple[float, float] = UNLIMITED) -> Interval:
    """Give the 95 % interval around `value` with the spread of `draws`.

    A resample repeats values, which moves most of these statistics (a repeated value narrows a covariance, empties a manifold). That move
    says nothing about the value, so the draws are centred on it and only their spread counts.
    """
    if len(draws) == 0:
        return Interval(value=value, low=value, high=value, count=counts[0], reference_count=counts[1])
    spread = draws.double() - draws.double().mean()
    low, high = value + torch.quantile(spread, torch.tensor([0.025, 0.975], dtype=torch.float64))
    low, high = max(limits[0], float(low)), min(limits[1], float(high))
    return Interval(value=value, low=min(low, value), high=max(high, value), count=counts[0], reference_count=counts[1])


def score(
    name: str, made: Side, real: Side, *, space: str, resampling: Resampling, floor: Side | None, baselines: dict[str, Side]
) -> Score:
    """Measure the made values, the floor and the baselines with the metric called `name`."""
    metric = metrics[name]
    found = metric.measure(made, real, resampling)
    reached = metric.measure(floor, real, resampling) if floor is not None and len(floor) >= 2 and floor.has(metric.needs) else None
    bare = resampling.only_value()
    trivial = {key: metric.measure(side, real, bare).value for key, side in baselines.items() if side.has(metric.needs)}
    facts: dict[str, Any] = {name: getattr(metric, name) for name in ("title", "meaning", "higher_is_better", "real_is_best")}
    return Score(name=f"{name}/{space}", space=space, floor=reached, baselines=trivial, **facts, **found.model_dump())


def result_of(work: Generator[Event, None, T]) -> T:
    """Do the whole of some work, letting its events go by, and give what it returns."""
    while True:
        try:
            next(work)
        except StopIteration as end:
            result: T = end.value
            return result
