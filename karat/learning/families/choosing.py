"""Choosing: how the next id is drawn from logits. Works for every space of ids.

The likeliest `top_k`, the smallest set that holds `top_p` of the probability (Holtzman et al. 2019, arXiv 1904.09751), what is at least
`min_p` times as likely as the likeliest (Nguyen et al. 2024, arXiv 2407.01082); ids that occurred are made less likely by a repetition
penalty (Keskar et al. 2019, arXiv 1909.05858). Each row is drawn by a number of its own, so that rows never change each other.
"""

import torch
from pydantic import Field
from torch import Tensor

from karat.learning.families.family import SamplingOptions


class Choice(SamplingOptions):
    """How the next id is drawn."""

    temperature: float = Field(1.0, ge=0, description="0: always the likeliest id; below 1: less varied, above: more")
    top_k: int | None = Field(None, ge=1, description="draw among so many of the likeliest ids")
    top_p: float = Field(1.0, gt=0, le=1, description="draw among the likeliest ids that together hold so much of the probability")
    min_p: float = Field(0.0, ge=0, le=1, description="draw among ids at least so many times as likely as the likeliest")
    repetition_penalty: float = Field(
        1.0, gt=0, description="above 1: ids that occurred are less likely; logits are divided by it, or multiplied"
    )
    bias: dict[int, float] = Field({}, description="numbers to add to the logits of ids, as in {17: -100}")


def choose(
    logits_BV: Tensor, options: Choice, drawn_B: Tensor, *, seen_BV: Tensor | None = None, allowed_BV: Tensor | None = None
) -> Tensor:
    """Choose an id (B,) for each row by a number in [0, 1). `seen_BV` marks ids that occurred, `allowed_BV` those that may be chosen."""
    logits_BV = adjusted(logits_BV, options, seen_BV=seen_BV, allowed_BV=allowed_BV)
    if options.temperature == 0 or options.top_k == 1:
        return logits_BV.argmax(-1)
    scaled, order = logits_BV / options.temperature, None
    if options.top_k is not None and options.top_k < scaled.shape[-1]:
        scaled, order = scaled.topk(options.top_k)
    elif options.top_p < 1:
        scaled, order = scaled.sort(dim=-1, descending=True, stable=True)
    chances = scaled.softmax(-1)
    if options.top_p < 1:
        chances = chances.where(chances.cumsum(-1) - chances < options.top_p, 0.0)
    if options.min_p > 0:
        chances = chances.where(chances >= options.min_p * chances.amax(-1, keepdim=True), 0.0)
    # In double precision a number below 1 stays below the sum, so that what has no chance is never drawn.
    reached = chances.double().cumsum(-1)
    place = torch.searchsorted(reached, drawn_B.double()[:, None] * reached[:, -1:], right=True)
    return (place if order is None else order.gather(-1, place))[:, 0]


def adjusted(logits_BV: Tensor, options: Choice, *, seen_BV: Tensor | None, allowed_BV: Tensor | None) -> Tensor:
    """Give the logits after the repetition penalty, the bias, and without what is not allowed."""
    if options.repetition_penalty != 1 and seen_BV is not None:
        penalty = options.repetition_penalty
        logits_BV = torch.where(seen_BV, torch.where(logits_BV > 0, logits_BV / penalty, logits_BV * penalty), logits_BV)
    if options.bias:
        known = {id: value for id, value in options.bias.items() if 0 <= id < logits_BV.shape[-1]}
        ids = torch.tensor(list(known), device=logits_BV.device, dtype=torch.long)
        values = torch.tensor(list(known.values()), device=logits_BV.device, dtype=logits_BV.dtype)
        logits_BV = logits_BV.index_add(-1, ids, values.expand(len(logits_BV), -1))
    return logits_BV if allowed_BV is None else logits_BV.masked_fill(~allowed_BV, -torch.inf)
