"""Fidelity and diversity apart from each other: precision, recall, density, coverage and the Vendi score.

Precision and recall: Kynkaanniemi et al. 2019 (https://arxiv.org/abs/1904.06991). Density and coverage: Naeem et al. 2020
(https://arxiv.org/abs/2002.09797). Vendi score: Friedman and Dieng 2023 (https://arxiv.org/abs/2210.02410), cosine kernel, order 1.
A resample keeps the radii of the full set: repeated values would have a radius of nothing.
"""

import torch
from torch import Tensor

from karat.material.metrics.distances import WIDEST
from karat.material.metrics.scores import Interval, Metric, Resampling, Side, interval, metrics

NEIGHBOURS = 5


def precision(made: Side, real: Side, resampling: Resampling) -> Interval:
    """Measure the share of made values that lie where real values are."""
    return _share_inside(made.features, real.features, resampling, (len(made), len(real)))


def recall(made: Side, real: Side, resampling: Resampling) -> Interval:
    """Measure the share of real values that lie where made values are."""
    return _share_inside(real.features, made.features, resampling, (len(made), len(real)))


def density(made: Side, real: Side, resampling: Resampling) -> Interval:
    """Measure how many real neighbourhoods a made value lies in, against how many a real one would: about 1 for a perfect model."""
    inside_NM = _inside(made.features, real.features)
    nearby = min(NEIGHBOURS, len(real) - 1)
    value = float(inside_NM.sum() / (nearby * len(made)))
    draws = torch.empty(0)
    if resampling.times:
        w_RN, v_RM = resampling.weights(len(made), "made").float(), resampling.weights(len(real), "real").float()
        draws = ((w_RN @ inside_NM) * v_RM).sum(1) / (nearby * len(made))
    return interval(value, draws, (len(made), len(real)), (0.0, torch.inf))


def coverage(made: Side, real: Side, resampling: Resampling) -> Interval:
    """Measure the share of real values that have a made value in their neighbourhood."""
    inside_NM = _inside(made.features, real.features)
    value = float((inside_NM.sum(0) > 0).float().mean())
    draws = torch.empty(0)
    if resampling.times:
        w_RN, v_RM = resampling.weights(len(made), "made").float(), resampling.weights(len(real), "real").float()
        draws = (((w_RN @ inside_NM) > 0) * v_RM).mean(1)
    return interval(value, draws, (len(made), len(real)), (0.0, 1.0))


def vendi(made: Side, real: Side, resampling: Resampling) -> Interval:
    """Measure how many entirely different values the made set is worth; the real set does not enter."""
    x_ND = torch.nn.functional.normalize(made.features.double(), dim=1)
    narrow_ND = x_ND if x_ND.shape[1] <= len(x_ND) else torch.linalg.cholesky_ex(x_ND @ x_ND.T + 1e-9 * torch.eye(len(x_ND)).double())[0]
    value = float(_effective(torch.linalg.eigvalsh(narrow_ND.T @ narrow_ND / len(x_ND))))
    draws = torch.empty(0)
    if resampling.times:
        if x_ND.shape[1] > WIDEST:
            x_ND = x_ND @ torch.linalg.eigh(x_ND.T @ x_ND)[1][:, -WIDEST:]
        weights_RN = resampling.weights(len(x_ND), "made")
        draws = torch.stack([_effective(torch.linalg.eigvalsh((x_ND * w_N[:, None]).T @ x_ND / len(x_ND))) for w_N in weights_RN])
    return interval(value, draws, (len(made), len(real)), (1.0, torch.inf))


def _inside(a_ND: Tensor, b_MD: Tensor) -> Tensor:
    """Say for each value of `a` whether it lies within the neighbourhood of each value of `b`, (N, M) of 0 and 1."""
    between_MM = torch.cdist(b_MD, b_MD)
    radius_M = between_MM.kthvalue(min(NEIGHBOURS + 1, len(b_MD)), dim=1).values
    return (torch.cdist(a_ND, b_MD) <= radius_M).float()


def _share_inside(a_ND: Tensor, b_MD: Tensor, resampling: Resampling, counts: tuple[int, int]) -> Interval:
    inside_NM = _inside(a_ND, b_MD)
    value = float((inside_NM.sum(1) > 0).float().mean())
    draws = torch.empty(0)
    if resampling.times:
        w_RN, v_RM = resampling.weights(len(a_ND), "inner").float(), resampling.weights(len(b_MD), "outer").float()
        draws = (((v_RM @ inside_NM.T) > 0) * w_RN).mean(1)
    return interval(value, draws, counts, (0.0, 1.0))


def _effective(sizes_D: Tensor) -> Tensor:
    shares_D = sizes_D.clamp(min=1e-12)
    shares_D = shares_D / shares_D.sum()
    return torch.exp(-(shares_D * shares_D.log()).sum())


metrics.add("precision")(
    Metric(
        title="Precision",
        meaning="Share of the made values that lie where real ones do: fidelity.",
        higher_is_better=True,
        measure=precision,
    )
)
metrics.add("recall")(
    Metric(
        title="Recall",
        meaning="Share of the real values that lie where made ones do: diversity.",
        higher_is_better=True,
        measure=recall,
    )
)
metrics.add("density")(
    Metric(
        title="Density",
        meaning="How densely real values surround a made one; about 1 is as real, and outliers cannot inflate it as they do precision.",
        higher_is_better=True,
        measure=density,
    )
)
metrics.add("coverage")(
    Metric(
        title="Coverage",
        meaning="Share of the real values that have a made one in their neighbourhood.",
        higher_is_better=True,
        measure=coverage,
    )
)
metrics.add("vendi")(
    Metric(
        title="Vendi score",
        meaning="How many entirely different values the made set is worth. Noise can score high: read it beside precision.",
        higher_is_better=True,
        measure=vendi,
    )
)
