"""Distances between two sets of features: Frechet distance and kernel distance.

Frechet distance: Heusel et al. 2017 (https://arxiv.org/abs/1706.08500), here in any feature space, so it is called FD and always stands
beside the name of its space. Kernel distance: Binkowski et al. 2018 (https://arxiv.org/abs/1801.01401), unbiased, so it may be negative.
"""

import torch
from torch import Tensor

from karat.material.metrics.scores import Interval, Metric, Resampling, Side, interval, metrics

WIDEST = 256
"""Beyond this width the spread of a spectral metric is measured in the leading directions only; the value never is."""


def frechet_distance(made: Side, real: Side, resampling: Resampling) -> Interval:
    """Measure how far apart two sets are when each is taken as a Gaussian in feature space."""
    a_ND, b_MD = made.features.double(), real.features.double()
    value = float(_frechet(_moments(a_ND), _moments(b_MD)))
    draws = torch.empty(0)
    if resampling.times:
        a_ND, b_MD = _leading(a_ND, b_MD)
        weights = zip(resampling.weights(len(a_ND), "made"), resampling.weights(len(b_MD), "real"), strict=True)
        draws = torch.stack([_frechet(_moments(a_ND, w_N), _moments(b_MD, v_M)) for w_N, v_M in weights])
    return interval(value, draws, (len(made), len(real)), (0.0, torch.inf))


def kernel_distance(made: Side, real: Side, resampling: Resampling) -> Interval:
    """Measure the squared maximum mean discrepancy under a cubic kernel, without bias in either count."""
    a_ND, b_MD = made.features.double(), real.features.double()
    aa_NN, bb_MM, ab_NM = _cubic(a_ND, a_ND), _cubic(b_MD, b_MD), _cubic(a_ND, b_MD)
    aa_NN.fill_diagonal_(0)
    bb_MM.fill_diagonal_(0)

    def distance(w_RN: Tensor, v_RM: Tensor) -> Tensor:
        # A value drawn twice must not meet itself: only pairs of different values count, or a resample would be biased.
        within_a = ((w_RN @ aa_NN) * w_RN).sum(1) / (w_RN.sum(1) ** 2 - (w_RN**2).sum(1)).clamp(min=1)
        within_b = ((v_RM @ bb_MM) * v_RM).sum(1) / (v_RM.sum(1) ** 2 - (v_RM**2).sum(1)).clamp(min=1)
        between = ((w_RN @ ab_NM) * v_RM).sum(1) / (w_RN.sum(1) * v_RM.sum(1))
        return within_a + within_b - 2 * between

    value = float(distance(a_ND.new_ones(1, len(a_ND)), b_MD.new_ones(1, len(b_MD))))
    draws = distance(resampling.weights(len(a_ND), "made"), resampling.weights(len(b_MD), "real")) if resampling.times else torch.empty(0)
    return interval(value, draws, (len(made), len(real)))


def _cubic(a_ND: Tensor, b_MD: Tensor) -> Tensor:
    return (a_ND @ b_MD.T / a_ND.shape[1] + 1) ** 3


def _moments(x_ND: Tensor, weights_N: Tensor | None = None) -> tuple[Tensor, Tensor]:
    if weights_N is None:
        weights_N = x_ND.new_ones(len(x_ND))
    total = weights_N.sum()
    mean_D = weights_N @ x_ND / total
    centred_ND = x_ND - mean_D
    return mean_D, (centred_ND * weights_N[:, None]).T @ centred_ND / (total - 1).clamp(min=1)


def _frechet(a: tuple[Tensor, Tensor], b: tuple[Tensor, Tensor]) -> Tensor:
    (mean_a_D, a_DD), (mean_b_D, b_DD) = a, b
    sizes_D, axes_DD = torch.linalg.eigh(a_DD)
    root_DD = axes_DD * sizes_D.clamp(min=0).sqrt()
    overlap = torch.linalg.eigvalsh(root_DD.T @ b_DD @ root_DD).clamp(min=0).sqrt().sum()
    distance = (mean_a_D - mean_b_D).square().sum() + a_DD.trace() + b_DD.trace() - 2 * overlap
    return distance.clamp(min=0)


def _leading(a_ND: Tensor, b_MD: Tensor) -> tuple[Tensor, Tensor]:
    """Rotate both sets into the leading directions of their union when they are wide."""
    if a_ND.shape[1] <= WIDEST:
        return a_ND, b_MD
    axes_DD = torch.linalg.eigh(_moments(torch.cat([a_ND, b_MD]))[1])[1][:, -WIDEST:]
    return a_ND @ axes_DD, b_MD @ axes_DD


metrics.add("fd")(
    Metric(
        title="Frechet distance",
        meaning="How far the made set lies from held-out reality in this feature space; its floor depends on the counts, so read both.",
        higher_is_better=False,
        measure=frechet_distance,
    )
)
metrics.add("kid")(
    Metric(
        title="Kernel distance",
        meaning="The same question without bias: a perfect model scores 0 on average, a little below as often as above.",
        higher_is_better=False,
        measure=kernel_distance,
    )
)
