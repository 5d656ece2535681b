"""Classifier two-sample test: can a small classifier tell made from real on values it has not seen?

Lopez-Paz and Oquab 2017 (https://arxiv.org/abs/1610.06545), with the area under the ROC curve in place of accuracy (it needs no balance)
and four folds, so that every value is judged once by a classifier that did not train on it.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from karat.material.metrics.scores import Interval, Metric, Resampling, Side, interval, metrics

FOLDS = 4
STEPS = 120
HIDDEN = 48


def told_apart(made: Side, real: Side, resampling: Resampling) -> Interval:
    """Measure the chance that a held-out made value looks more made than a held-out real one: 0.5 cannot be told apart."""
    x_ND = torch.cat([torch.cat([made.features, made.pixels], 1), torch.cat([real.features, real.pixels], 1)]).float()
    x_ND = (x_ND - x_ND.mean(0)) / x_ND.std(0).clamp(min=1e-3)
    is_made_N = torch.cat([torch.ones(len(made)), torch.zeros(len(real))])
    generator = torch.Generator().manual_seed(resampling.seed)
    fold_N = torch.cat([torch.randperm(count, generator=generator) % FOLDS for count in (len(made), len(real))])
    scores_N = torch.empty(len(x_ND))
    for fold in range(FOLDS):
        held = fold_N == fold
        scores_N[held] = _classifier_scores(x_ND[~held], is_made_N[~held], x_ND[held], generator)
    above_NM = _above(scores_N[: len(made)], scores_N[len(made) :])
    value = float(above_NM.mean())
    draws = torch.empty(0)
    if resampling.times:
        w_RN, v_RM = resampling.weights(len(made), "made").float(), resampling.weights(len(real), "real").float()
        draws = ((w_RN @ above_NM) * v_RM).sum(1) / (len(made) * len(real))
    return interval(value, draws, (len(made), len(real)), (0.0, 1.0))


def _above(a_N: Tensor, b_M: Tensor) -> Tensor:
    return (a_N[:, None] > b_M).float() + 0.5 * (a_N[:, None] == b_M).float()


def _classifier_scores(x_ND: Tensor, is_made_N: Tensor, held_MD: Tensor, generator: torch.Generator) -> Tensor:
    """Train a small net on one side of a fold and score the other side."""
    width = x_ND.shape[1]
    inner_DH = (torch.randn(width, HIDDEN, generator=generator) / width**0.5).requires_grad_()
    bias_H = torch.zeros(HIDDEN, requires_grad=True)
    outer_H = (torch.randn(HIDDEN, generator=generator) / HIDDEN**0.5).requires_grad_()
    straight_D = torch.zeros(width, requires_grad=True)
    parameters = [inner_DH, bias_H, outer_H, straight_D]
    optimizer = torch.optim.AdamW(parameters, lr=0.01, weight_decay=0.3)
    share = is_made_N.mean()
    weight_N = torch.where(is_made_N > 0, 0.5 / share, 0.5 / (1 - share))

    def scores(values_ND: Tensor) -> Tensor:
        return F.relu(values_ND @ inner_DH + bias_H) @ outer_H + values_ND @ straight_D

    for _ in range(STEPS):
        noisy_ND = x_ND + 0.3 * torch.randn(x_ND.shape, generator=generator)
        loss = F.binary_cross_entropy_with_logits(scores(noisy_ND), is_made_N, weight=weight_N)
        gradients = torch.autograd.grad(loss, parameters)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        optimizer.step()
    with torch.no_grad():
        return scores(held_MD)


metrics.add("c2st")(
    Metric(
        title="Told apart from real",
        meaning="How well a classifier tells made from real on values it has not seen: 0.5 cannot, 1 always can.",
        higher_is_better=False,
        measure=told_apart,
        space="all",
    )
)
