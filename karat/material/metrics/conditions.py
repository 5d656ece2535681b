"""Whether a value shows what was asked for: the class it was given, or the picture that its caption belongs to."""

import torch
from torch import Tensor

from karat.material.metrics.scores import Interval, Metric, Resampling, Side, interval, metrics

NEAREST = 5


def condition_accuracy(made: Side, real: Side, resampling: Resampling) -> Interval:
    """Measure the share of made values that the judge's classifier takes for the class they were asked to be."""
    assert made.labels is not None
    assert made.probabilities is not None
    right_N = (made.probabilities.argmax(1) == made.labels).double()
    draws = resampling.weights(len(made), "made") @ right_N / len(made) if resampling.times else torch.empty(0)
    return interval(float(right_N.mean()), draws, (len(made), len(real)), (0.0, 1.0))


def retrieval(made: Side, real: Side, resampling: Resampling) -> Interval:
    """Measure how often the true held-out picture of the caption is among the 5 held-out pictures nearest to the made one."""
    found_N = (_nearer(made, real).sum(1) < NEAREST).double()
    draws = resampling.weights(len(made), "made") @ found_N / len(made) if resampling.times else torch.empty(0)
    return interval(float(found_N.mean()), draws, (len(made), len(real)), (0.0, 1.0))


def retrieval_rank(made: Side, real: Side, resampling: Resampling) -> Interval:
    """Measure how often the true held-out picture of the caption is nearer to the made one than another held-out picture is."""
    nearer_NM = _nearer(made, real)
    others = max(1, len(real) - 1)
    value = 1 - float(nearer_NM.sum(1).mean()) / others
    draws = torch.empty(0)
    if resampling.times:
        w_RN, v_RM = resampling.weights(len(made), "made"), resampling.weights(len(real), "real")
        draws = 1 - ((w_RN @ nearer_NM) * v_RM).sum(1) / (len(made) * others)
    return interval(value, draws, (len(made), len(real)), (0.0, 1.0))


def _nearer(made: Side, real: Side) -> Tensor:
    """Say which held-out values are nearer to each made one than its target is; a tie counts half, the target itself nothing."""
    assert made.targets is not None
    distance_NM = torch.cdist(made.features.double(), real.features.double())
    to_target_N1 = distance_NM.gather(1, made.targets[:, None])
    nearer_NM = (distance_NM < to_target_N1).double() + 0.5 * (distance_NM == to_target_N1).double()
    return nearer_NM.scatter(1, made.targets[:, None], 0.0)


metrics.add("condition-accuracy")(
    Metric(
        title="Condition accuracy",
        meaning="Share of the made values that a classifier takes for the class asked for. Its floor is the classifier on real values.",
        higher_is_better=True,
        measure=condition_accuracy,
        space="judge",
        needs=("labels",),
    )
)
metrics.add("retrieval")(
    Metric(
        title="Caption retrieval",
        meaning="How often the caption's true picture is among the 5 nearest held-out ones; its floor is that picture, slightly disturbed.",
        higher_is_better=True,
        measure=retrieval,
        needs=("targets",),
    )
)
metrics.add("retrieval-rank")(
    Metric(
        title="Caption rank",
        meaning="How often the true picture of the caption is nearer than another held-out one: 0.5 is chance, 1 is always.",
        higher_is_better=True,
        measure=retrieval_rank,
        needs=("targets",),
    )
)
