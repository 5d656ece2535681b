"""A divergence frontier of two sets of texts (MAUVE, Pillutla et al. 2021, https://arxiv.org/abs/2102.01454), on own features.

Both sets are quantised together by k-means; the curve of what each has that a mixture of both has not is measured by the area below it. As
features are not a language model's, numbers compare with each other and not with published ones. Histograms are smoothed by adding half
a text to each cell (Krichevsky & Trofimov 1981), without which few texts look unlike themselves.
"""

import torch
from torch import Tensor

from karat.material.metrics.scores import Interval, Metric, Resampling, Side, interval, metrics

SCALE = 5.0
MIXTURES = 25
ROUNDS = 25
FEWEST = 5
"""Cells; with more than fifty texts on each side there are as many as tens of texts."""


def frontier(made: Side, real: Side, resampling: Resampling) -> Interval:
    """Measure the area under the frontier: 1 where both sets are alike, near 0 where they share nothing."""
    both_ND = torch.cat([made.features, real.features]).double()
    generator = torch.Generator().manual_seed(resampling.seed)
    cells = max(FEWEST, min(len(made), len(real)) // 10)
    cell_N = clustered(both_ND, cells, generator)
    in_NK = torch.nn.functional.one_hot(cell_N, cells).double()
    weights_MN = torch.cat([torch.ones(1, len(made)).double(), resampling.weights(len(made), "made")])
    weights_MK = torch.cat([torch.ones(1, len(real)).double(), resampling.weights(len(real), "real")])
    areas_M = area(_smoothed(weights_MN @ in_NK[: len(made)]), _smoothed(weights_MK @ in_NK[len(made) :]))
    return interval(float(areas_M[0]), areas_M[1:], (len(made), len(real)), (0.0, 1.0))


def clustered(x_ND: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Give the cluster (N,) of each row: k-means from well-spread starts (Arthur & Vassilvitskii 2007)."""
    first = torch.randint(len(x_ND), (1,), generator=generator)
    centre_KD = x_ND[first]
    while len(centre_KD) < count:
        distance_N = torch.cdist(x_ND, centre_KD).amin(1).square()
        chosen = torch.multinomial(distance_N + 1e-12, 1, generator=generator)
        centre_KD = torch.cat([centre_KD, x_ND[chosen]])
    cell_N = torch.cdist(x_ND, centre_KD).argmin(1)
    for _ in range(ROUNDS):
        in_NK = torch.nn.functional.one_hot(cell_N, count).double()
        size_K = in_NK.sum(0)
        centre_KD = torch.where(size_K[:, None] > 0, in_NK.T @ x_ND / size_K.clamp(min=1)[:, None], centre_KD)
        moved_N = torch.cdist(x_ND, centre_KD).argmin(1)
        if torch.equal(moved_N, cell_N):
            break
        cell_N = moved_N
    return cell_N


def area(p_MK: Tensor, q_MK: Tensor) -> Tensor:
    """Give the area (M,) under each frontier between two rows of chances."""
    share_L = torch.linspace(0, 1, MIXTURES + 2, dtype=torch.float64)[1:-1]
    mixed_LMK = share_L[:, None, None] * p_MK + (1 - share_L[:, None, None]) * q_MK
    q_LM, p_LM = (torch.exp(-SCALE * (each_MK * (each_MK / mixed_LMK).log()).sum(-1)).flip(0) for each_MK in (q_MK, p_MK))
    ends = torch.zeros(1, p_MK.shape[0]).double()
    x_LM, y_LM = torch.cat([ends, q_LM, ends + 1]), torch.cat([ends + 1, p_LM, ends])
    return torch.trapezoid(y_LM, x_LM, dim=0)


def _smoothed(counts_MK: Tensor) -> Tensor:
    counts_MK = counts_MK + 0.5
    return counts_MK / counts_MK.sum(-1, keepdim=True)


metrics.add("frontier")(
    Metric(
        "Divergence frontier",
        "How alike made and real texts are as a whole (MAUVE on own features): 1 is alike, 0 is nothing in common.",
        higher_is_better=True,
        measure=frontier,
        needs=("texts",),
    )
)
