"""Evaluation: everything that can be said of a set of made values, each number beside what reality and no model at all would score.

`prepare` trains the judge and indexes the training set once; `evaluate` gives all the scores on the test split; `quick_score` is the
light form for use during training, on the validation split, by which a checkpoint is chosen. So no number that chose is ever the number
that is reported.
"""

import time
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from karat.material.metrics import conditions, distances, manifolds, twosample  # noqa: F401 - they register themselves
from karat.material.metrics.disturb import Disturbance, disturbed
from karat.material.metrics.features import FeatureSpace, RandomConv, reduced_pixels
from karat.material.metrics.judge import Judge, JudgeOptions, train_judge
from karat.material.metrics.networks import NetworkOptions, OwnNetwork
from karat.material.metrics.scores import Evaluation, Neighbours, Resampling, Score, Side, SpaceFacts, metrics, result_of, score
from karat.material.trust.copying import Memory
from karat.material.trust.originality import QUERIES, OriginalityIndex, OriginalityOptions, build_index
from karat.words.errors import DataError
from karat.words.events import Event, Finished, Progress, Started, Warned
from karat.words.specs import Spec

FEWEST = 8
"""So many values each held-out split must have."""
SAMPLE_BYTES = 128_000_000
"""What the kept sample of training values may take: 10,000 pictures of 32 x 32, 650 of 128 x 128."""
MEMORY_WORK = 4_000_000
"""Comparisons with training pictures that a quick score may make."""


@dataclass(frozen=True)
class Values:
    """A batch of values (N, H, W, C) with their class ids, or with the rows of the held-out pictures whose captions they were made from."""

    values: Tensor
    labels: Tensor | None = None
    targets: Tensor | None = None
    names: Sequence[str] = ()

    def __len__(self) -> int:
        return len(self.values)

    def rows(self, rows: Tensor) -> "Values":
        labels, targets = (None if given is None else given[rows] for given in (self.labels, self.targets))
        return Values(self.values[rows], labels, targets, [self.names[row] for row in rows.tolist()] if self.names else ())


@dataclass(frozen=True)
class Reality:
    """The four splits; `train` is gone through once, batch by batch, and may be larger than memory."""

    train: Iterable[Values]
    validation: Values
    test: Values
    judge: Values
    classes: Sequence[str] = ()


class EvaluationOptions(Spec):
    """How to measure: which metrics (none named: all that apply), how often to resample, the judge, the rulers, own networks."""

    metrics: tuple[str, ...] = ()
    resamples: int = 200
    most: int = 5000
    neighbours: int = 12
    seed: int = 0
    judge: JudgeOptions = JudgeOptions()
    originality: OriginalityOptions = OriginalityOptions()
    networks: tuple[NetworkOptions, ...] = ()


class Evaluated(Event):
    """An evaluation is complete."""

    kind: Literal["evaluated"] = "evaluated"
    evaluation: Evaluation


@dataclass(frozen=True)
class Yardstick:
    """What made values are measured with: feature spaces, the originality index, a fair sample of the training set and its mean."""

    judge: Judge
    spaces: tuple[FeatureSpace, ...]
    index: OriginalityIndex
    sample: Values
    mean: Tensor
    validation: Values
    validation_sides: dict[str, Side]
    options: EvaluationOptions

    def sides(self, of: Values, spaces: Sequence[FeatureSpace] | None = None) -> dict[str, Side]:
        """Give values as sides in each feature space, and in all of them joined."""
        features = {space.name: space.features(of.values) for space in (spaces or self.spaces)}
        features["all"] = torch.cat(list(features.values()), 1)
        pixels = reduced_pixels(of.values)
        probabilities = self.judge.probabilities(of.values) if of.labels is not None else None
        return {name: Side(found, pixels, probabilities, of.labels, of.targets) for name, found in features.items()}


def prepare(real: Reality, options: EvaluationOptions, *, judge: Judge | None = None) -> Generator[Event, None, Yardstick]:
    """Make the yardstick: train the judge on its own split unless one is given, go once through the training set. Yields progress."""
    for name in ("validation", "test", "judge"):
        if len(getattr(real, name)) < FEWEST:
            repair = "Give the split a larger share, or bring more data."
            raise DataError(f"The {name} split holds {len(getattr(real, name))} values; measuring needs at least {FEWEST}.", repair=repair)
    judge = judge or (yield from train_judge(real.judge.values, real.judge.labels, options.judge, classes=len(real.classes)))
    random_conv = RandomConv(real.judge.values.shape[-1], typical=real.judge.values)
    spaces: tuple[FeatureSpace, ...] = (judge, random_conv, *(OwnNetwork(network) for network in options.networks))
    seen = _Seen(real.train, options)
    index = yield from build_index(seen, real.validation.values, options.originality, judge=judge)
    index.names.extend(seen.names)
    sample, mean = seen.sample(), seen.mean()
    yardstick = Yardstick(judge, spaces, index, sample, mean, real.validation, {}, options)
    return replace(yardstick, validation_sides=yardstick.sides(real.validation))


def evaluate(
    made: Values, real: Reality, options: EvaluationOptions, *, yardstick: Yardstick | None = None
) -> Generator[Event, None, Evaluation]:
    """Score made values against the test split. Yields progress, `Evaluated` and `Finished`; returns the evaluation."""
    began = time.monotonic()
    if len(made) < 2:
        raise DataError("There are fewer than two made values to score.", repair="Make at least some dozens; a thousand is better.")
    yardstick = yardstick or (yield from prepare(real, options))
    if len(made) > options.most:
        yield Warned(message=f"Scored are {options.most} of the {len(made)} made values; raise `most` to score more.")
        made = made.rows(_shuffled(len(made), options.seed)[: options.most])
    test = real.test
    if len(test) > options.most and made.targets is None:  # targets are rows of the whole split
        test = test.rows(_shuffled(len(test), options.seed)[: options.most])
    wanted = sorted(options.metrics or metrics)
    yield Started(what="measuring", total=len(wanted) + 1, unit="metrics")
    comparison = _Comparison(yardstick, made, test, options)
    scores: list[Score] = []
    for done, name in enumerate(wanted):
        scores += comparison.scores(name)
        yield Progress(done=done + 1, total=len(wanted) + 1, figures={each.name: each.value for each in scores[-1:]})
    memory = Memory(yardstick.index, test.values, comparison.resampling)
    baselines = {"noise": comparison.noise.values, "mean": comparison.mean.values, "training": comparison.training.values}
    scores += memory.score(made.values, floor=yardstick.validation.values, baselines=baselines)
    yield Progress(done=len(wanted) + 1, total=len(wanted) + 1)
    evaluation = Evaluation(
        scores=tuple(scores),
        spaces=tuple(_space_facts(space, made.values[:1]) for space in yardstick.spaces),
        counts={"made": len(made), "test": len(test), "validation": len(yardstick.validation), "training": len(yardstick.index)},
        originality={key: yardstick.index.facts[key] for key in ("detected", "false_alarms", "leaks", "options")},
        neighbours=tuple(_neighbours(made.values, test.values, yardstick, options.neighbours)),
        options=options.model_dump(mode="json"),
        seconds=time.monotonic() - began,
    )
    yield Evaluated(evaluation=evaluation)
    yield Finished(
        what="evaluation", result=evaluation.digest(), summary=f"{len(scores)} scores of {len(made)} values", figures=evaluation.figures()
    )
    return evaluation


def quick_score(values: Tensor, labels: Tensor | None, *, against: Yardstick, targets: Tensor | None = None) -> dict[str, float]:
    """Score made values on the validation split in a few seconds, to choose between checkpoints by `choice`: lower is better.

    `choice` is the kernel distance, as a share of what the mean picture scores, averaged over the judge's space and random-conv (either
    alone is blind: classes to noise, texture to classes), plus whatever share of the pictures is nearer to training than chance explains.
    """
    made = against.sides(Values(values, labels, targets), against.spaces[:2])
    trivial = against.sides(Values(against.mean[None].expand(64, *against.mean.shape)), against.spaces[:2])
    bare = Resampling(0)
    figures: dict[str, float] = {}
    shares = []
    for space in against.spaces[:2]:
        real = against.validation_sides[space.name]
        distance = metrics["kid"].measure(made[space.name], real, bare).value
        shares.append(distance / max(1e-9, metrics["kid"].measure(trivial[space.name], real, bare).value))
        figures[f"kid/{space.name}"] = distance
    judged = made[against.judge.name]
    if judged.has(metrics["condition-accuracy"].needs):
        figures["condition-accuracy"] = metrics["condition-accuracy"].measure(judged, judged, bare).value
    if targets is not None:
        figures["retrieval-rank"] = metrics["retrieval-rank"].measure(judged, against.validation_sides[against.judge.name], bare).value
    rows = max(QUERIES, min(len(values), MEMORY_WORK // len(against.index)))
    memory = Memory(against.index, against.validation.values, Resampling(100, against.options.seed)).measure(values[:rows])
    closer = memory["closer-to-training"]
    figures |= {"closer-to-training": closer.value, "copied": memory["copied"].value}
    return figures | {"choice": float(np.mean(shares)) + max(0.0, closer.low - 0.5)}


class _Comparison:
    """The made side, the real side, the floor and the baselines, each seen in every space once."""

    def __init__(self, yardstick: Yardstick, made: Values, test: Values, options: EvaluationOptions) -> None:
        count = len(made)
        generator = torch.Generator().manual_seed(options.seed)
        self.yardstick = yardstick
        self.resampling = Resampling(options.resamples, options.seed)
        shape = made.values.shape[1:]
        self.noise = Values(torch.rand((count, *shape), generator=generator) * 2 - 1, made.labels, made.targets)
        self.mean = Values(yardstick.mean.expand(count, *shape), made.labels, made.targets)
        rows = torch.arange(count) % len(yardstick.sample)
        self.training = replace(yardstick.sample.rows(rows), targets=made.targets)
        self.made, self.real = yardstick.sides(made), yardstick.sides(test)
        self.floor = yardstick.sides(_pool(yardstick, count))
        mild = Disturbance(shift=0.03, zoom=0.03, noise=0.1, brightness=0.05)
        true_ones = Values(disturbed(test.values, mild, generator), targets=torch.arange(len(test)))
        self.ceiling = yardstick.sides(true_ones) if made.targets is not None else {}
        sides = {"noise": self.noise, "mean": self.mean, "training": self.training}
        self.baselines = {name: yardstick.sides(values) for name, values in sides.items()}
        self.classes = len(yardstick.judge.net.answers.bias) if yardstick.judge.knows_classes else 0

    def scores(self, name: str) -> list[Score]:
        """Score one metric in each space that it wants."""
        metric = metrics[name]
        names = [space.name for space in self.yardstick.spaces]
        spaces = {"each": names, "judge": [self.yardstick.judge.name], "all": ["all"]}[metric.space]
        if not self.made[spaces[0]].has(metric.needs):
            return []
        found = []
        for space in spaces:
            floor = self.ceiling if "targets" in metric.needs else self.floor
            baselines = {key: sides[space] for key, sides in self.baselines.items()}
            if metric.needs:
                made = self.made[space]
                order = torch.arange(len(made)).roll(1 + len(made) // 3)
                labels, targets = (None if given is None else given[order] for given in (made.labels, made.targets))
                baselines["shuffled"] = replace(made, labels=labels, targets=targets)
            result = score(
                name, self.made[space], self.real[space], space=space, resampling=self.resampling, floor=floor[space], baselines=baselines
            )
            chance = self._chance(name)
            found.append(result.changed(baselines={**result.baselines, **({"chance": chance} if chance is not None else {})}))
        return found

    def _chance(self, name: str) -> float | None:
        known = {
            "condition-accuracy": 1 / max(1, self.classes),
            "retrieval": min(1.0, conditions.NEAREST / len(self.real["all"])),
            "retrieval-rank": 0.5,
        }
        return known.get(name)


class _Seen:
    """Goes once through the training set for the index and keeps a fair sample, the mean and the names on the way."""

    def __init__(self, train: Iterable[Values], options: EvaluationOptions) -> None:
        self.train, self.most = train, options.most
        self.random = np.random.default_rng(options.seed)
        self.kept, self.labels, self.labelled = torch.empty(0), torch.empty(0, dtype=torch.long), True
        self.names: list[str] = []
        self.count, self.total = 0, torch.zeros(())

    def __iter__(self) -> Iterator[Tensor]:
        for batch in self.train:
            if not self.count:
                size = max(64, min(self.most, SAMPLE_BYTES // (4 * batch.values[0].numel())))
                self.kept, self.labels = torch.empty(size, *batch.values.shape[1:]), torch.zeros(size, dtype=torch.long)
            self.labelled &= batch.labels is not None
            for row in range(len(batch)):
                self.count += 1
                place = self.count - 1 if self.count <= len(self.kept) else int(self.random.integers(self.count))
                if place < len(self.kept):
                    self.kept[place] = batch.values[row]
                    self.labels[place] = batch.labels[row] if batch.labels is not None else 0
            self.names += list(batch.names)
            self.total = self.total + batch.values.double().sum(0)
            yield batch.values

    def mean(self) -> Tensor:
        return (self.total / self.count).float()

    def sample(self) -> Values:
        count = min(self.count, len(self.kept))
        order = torch.from_numpy(self.random.permutation(count))
        return Values(self.kept[order], self.labels[order] if self.labelled else None)


def _pool(yardstick: Yardstick, count: int) -> Values:
    """Give up to `count` different real values that the reference does not hold: the validation split, then training values."""
    parts = [yardstick.validation, yardstick.sample]
    values = torch.cat([part.values for part in parts])
    labels = [part.labels for part in parts if part.labels is not None]
    pool = Values(values, torch.cat(labels) if len(labels) == len(parts) else None)
    return pool.rows(_shuffled(len(pool), yardstick.options.seed)[:count])


def _neighbours(made: Tensor, test: Tensor, yardstick: Yardstick, wanted: int) -> Iterator[Neighbours]:
    """Give the made pictures that lie nearest to training, then as many at random."""
    index = yardstick.index
    near = index.nearest(made)
    copied = index.copied(near)
    nearest_first = near.distance.argsort()
    others = nearest_first[wanted:][_shuffled(max(0, len(made) - wanted), yardstick.options.seed)][:wanted]
    held_out = index.ruler.reduced(test).flatten(1)
    for row in [*nearest_first[:wanted].tolist(), *others.tolist()]:
        distance, place = index.ruler.distances(index.ruler.poses(made[row : row + 1]), held_out).min(1)
        training = int(near.row[row])
        yield Neighbours(
            made=row,
            copied=bool(copied[row]),
            training_row=training,
            training_name=index.name(training),
            training_distance=float(near.distance[row]),
            held_out_row=int(place),
            held_out_distance=float(distance),
        )


def _space_facts(space: FeatureSpace, example: Tensor) -> SpaceFacts:
    facts = dict(space.facts) if isinstance(space, Judge) else {}
    return SpaceFacts(name=space.name, space_digest=space.digest, width=space.features(example).shape[1], facts=facts)


def _shuffled(count: int, seed: int) -> Tensor:
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed))


__all__ = ["Evaluated", "EvaluationOptions", "Reality", "Values", "Yardstick", "evaluate", "prepare", "quick_score", "result_of"]
