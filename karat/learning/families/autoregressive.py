"""Autoregression: one id after the other, each under those before it and under what is given (Radford et al. 2018).

Numbers become ids by bins; a latent codec with quantised codes makes better ones. Guidance works on the logits (Sanchez et al. 2023,
arXiv 2306.17806).
"""

from collections.abc import Iterator, Mapping
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from karat.learning.families.choosing import Choice, choose
from karat.learning.families.family import FamilyOptions, GivenOptions, Loss, Noise, SamplingOptions, Step, families
from karat.learning.nets.transformer import CausalTransformer, TransformerSpec
from karat.values.bridges import as_ids
from karat.values.given import Given
from karat.values.spaces import Space


class AutoregressiveOptions(GivenOptions):
    """How a row of ids is learnt."""

    kind: Literal["autoregressive"] = "autoregressive"
    net: TransformerSpec = TransformerSpec()
    bins: int = Field(64, ge=2, description="for spaces of numbers: bins over [-1, 1]")
    apart: bool = Field(False, description="for rows of several passages: none sees those before it")


class AutoregressiveSampling(Choice):
    """How the next id is drawn, and how much what is given weighs."""

    guidance: float = Field(1.0, ge=0, description="1: as learnt; more: closer to what is given, less varied")


@families.add("autoregressive")
class Autoregressive(nn.Module):
    """A GPT over the positions of any space in raster order."""

    kind: ClassVar[str] = "autoregressive"
    Options: ClassVar[type[FamilyOptions]] = AutoregressiveOptions
    Sampling: ClassVar[type[SamplingOptions]] = AutoregressiveSampling
    turns: ClassVar[tuple[str, ...]] = ("next",)
    chosen_by: ClassVar[str | None] = "loss"

    def __init__(self, space: Space, given: Mapping[str, Space], options: AutoregressiveOptions) -> None:
        super().__init__()
        self.options, self.bridge = options, as_ids(space, options.bins)
        self.net = CausalTransformer(self.bridge.inner, given, options.net, apart=options.apart)

    def trained_in(self, turn: str) -> nn.Module:
        return self.net

    def loss(self, turn: str, x: Tensor, given: Given, generator: torch.Generator) -> Loss:
        error_BN = self.errors(x, self.options.thinned(given, generator))
        loss = error_BN.mean() if given.weight is None else (error_BN * given.weight.flatten(1)).sum() / given.weight.sum().clamp(min=1)
        return Loss(loss, {"loss": loss.detach()})

    def held_out(self, x: Tensor, given: Given, generator: torch.Generator) -> dict[str, Tensor]:
        error_BN = self.errors(x, given)
        if given.weight is None:
            return {"loss": error_BN.mean(1)}
        weight_BN = given.weight.flatten(1)
        return {"loss": (error_BN * weight_BN).sum(1) / weight_BN.sum(1).clamp(min=1)}

    def sample(self, given: Given, options: AutoregressiveSampling, noise: Noise) -> Iterator[Step]:
        asked = [given] if options.guidance == 1 or not given.values else [given, given.nothing()]
        openings = [self.net.opening(each, noise.count) for each in asked]
        caches = [self.net.caches() for _ in asked]
        ids = torch.zeros(noise.count, self.bridge.inner.positions, dtype=torch.long, device=openings[0].device)
        total, vocab = ids.shape[1], self.net.leave.out_features
        seen = None if options.repetition_penalty == 1 else ids.new_zeros(noise.count, vocab, dtype=torch.bool)
        for position in range(total):
            if position == 0:
                inputs, at = openings, 0
            else:
                embedded = self.net.embed(ids[:, position - 1], position)
                inputs, at = [embedded] * len(asked), self.net.lead + position - 1
            logits = [self.net.step(x, at, cache).float() for x, cache in zip(inputs, caches, strict=True)]
            guided = logits[0] if len(logits) == 1 else logits[1] + options.guidance * (logits[0] - logits[1])
            ids[:, position] = choose(guided, options, noise.uniform(1)[:, 0], seen_BV=seen)
            seen = None if seen is None else seen.scatter(1, ids[:, position : position + 1], True)
            if position + 1 == total or (position + 1) % max(1, total // 20) == 0:
                yield Step(position + 1, total, self.bridge.leave(ids.reshape(-1, *self.bridge.inner.shape)))

    def errors(self, x: Tensor, given: Given) -> Tensor:
        """Give the nats (B, N) that each id costs."""
        ids_BN = self.bridge.enter(x).flatten(1)
        logits_BNV = self.net(ids_BN, given).float()
        return F.cross_entropy(logits_BNV.flatten(0, 1), ids_BN.flatten(), reduction="none").view_as(ids_BN)
