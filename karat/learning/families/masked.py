"""Masked discrete diffusion: gaps open in a row of ids until nothing is left, and the net learns to fill them.

After MDLM (Sahoo et al. 2024, arXiv 2406.07524), which hides each id with chance t and weighs what the hidden ones cost by 1/t. Here
exactly a share t of the positions is hidden, t stratified over the batch: the same bound in expectation (Ou et al. 2024, arXiv 2406.03736)
without the chance in the count. Ids that are seen are carried over, none is ever changed: so the same model fills any part of a value and
keeps the rest.

Guidance works on the logits, as in autoregression. Filling where the net is surest first is MaskGIT's order (Chang et al. 2022, arXiv
2202.04200).
"""

from collections.abc import Iterator, Mapping
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from karat.learning.families.family import FamilyOptions, GivenOptions, Loss, Noise, SamplingOptions, Step, families, uniform
from karat.learning.nets.filling import FillingTransformer
from karat.learning.nets.transformer import TransformerSpec
from karat.values.bridges import as_ids
from karat.values.given import Given
from karat.values.spaces import Space

DRAWS = 4
"""Strata of t for each sample of held-out data."""


class MaskedOptions(GivenOptions):
    """How the filling of gaps is learnt."""

    kind: Literal["masked"] = "masked"
    net: TransformerSpec = TransformerSpec()
    bins: int = Field(64, ge=2, description="for spaces of numbers: bins over [-1, 1]")


class MaskedSampling(SamplingOptions):
    """How gaps are filled."""

    steps: int = Field(64, ge=1, description="at most; one for each gap is exact, fewer fill several at once as if they did not depend")
    order: Literal["random", "sure"] = Field("random", description="sure: where the net is surest first; likelier and less varied")
    temperature: float = Field(1.0, ge=0, description="0: always the likeliest id")
    guidance: float = Field(1.0, ge=0, description="1: as learnt; more: closer to what is given, less varied")
    bias: dict[int, float] = Field({}, description="numbers to add to the logits of ids, as in {17: -100}")


@families.add("masked")
class Masked(nn.Module):
    """Rows of ids from nothing but gaps, or from any part of a row."""

    kind: ClassVar[str] = "masked"
    Options: ClassVar[type[FamilyOptions]] = MaskedOptions
    Sampling: ClassVar[type[SamplingOptions]] = MaskedSampling
    turns: ClassVar[tuple[str, ...]] = ("fill",)
    chosen_by: ClassVar[str | None] = "loss"

    def __init__(self, space: Space, given: Mapping[str, Space], options: MaskedOptions) -> None:
        super().__init__()
        self.options, self.bridge = options, as_ids(space, options.bins)
        self.net = FillingTransformer(self.bridge.inner, given, options.net)

    def trained_in(self, turn: str) -> nn.Module:
        return self.net

    def loss(self, turn: str, x: Tensor, given: Given, generator: torch.Generator) -> Loss:
        share_B = uniform(len(x), x, generator)
        nats_B = self._nats(x, share_B, self.options.thinned(given, generator), generator)
        loss = nats_B.sum() / self._counted(x, given).sum().clamp(min=1)
        return Loss(loss, {"loss": loss.detach()})

    def held_out(self, x: Tensor, given: Given, generator: torch.Generator) -> dict[str, Tensor]:
        return {"loss": self.bound(x, given, generator, draws=DRAWS) / self._counted(x, given).sum(1).clamp(min=1)}

    def bound(self, x: Tensor, given: Given, generator: torch.Generator, *, draws: int, steps: int | None = None) -> Tensor:
        """Give an estimate (B,) from `draws` strata, right in the mean, of a number of nats that each value costs at most.

        With `steps` it bounds the cost under sampling in so many steps at random order; None: one step for each id, the tightest.
        Positions of weight 0 are known and cost nothing.
        """
        first_B = uniform(len(x), x, generator)
        shares = [(number + first_B) / draws for number in range(draws)]
        return torch.stack([self._nats(x, share_B, given, generator, steps) for share_B in shares]).mean(0)

    def sample(self, given: Given, options: MaskedSampling, noise: Noise) -> Iterator[Step]:
        inner = self.bridge.inner
        ids_BN = torch.full((noise.count, inner.positions), self.net.gap, device=noise.device)
        return self._filled(ids_BN, given, options, noise)

    def fill(self, x: Tensor, where: Tensor, given: Given, options: MaskedSampling, noise: Noise, strength: float) -> Iterator[Step]:
        ids = self.bridge.enter(x)
        if strength < 1:
            where = where & (noise.uniform(*where.shape[1:]) < strength)
        wide = where.reshape(*where.shape, *(1,) * (ids.ndim - where.ndim)).expand_as(ids)
        return self._filled(torch.where(wide, self.net.gap, ids).flatten(1), given, options, noise)

    def _filled(self, ids_BN: Tensor, given: Given, options: MaskedSampling, noise: Noise) -> Iterator[Step]:
        """Fill all gaps, as many in each step as keep the steps even; randomness is drawn before, so batch mates change nothing."""
        asked = [given] if options.guidance == 1 or not given.values else [given, given.nothing()]
        rank_BN, chance_BN = noise.uniform(ids_BN.shape[1]), noise.uniform(ids_BN.shape[1])
        gaps_B = (ids_BN == self.net.gap).sum(1)
        total = min(options.steps, ids_BN.shape[1])
        for step in range(1, total + 1):
            left_B = gaps_B * (total - step) // total
            is_gap = ids_BN == self.net.gap
            wanted_B = is_gap.sum(1) - left_B
            drawn_BN = ids_BN
            if bool((wanted_B > 0).any()):
                drawn_BN, sureness_BN = self._drawn(ids_BN, asked, options, chance_BN)
                order_BN = sureness_BN if options.order == "sure" else rank_BN
                place_BN = order_BN.masked_fill(~is_gap, -1).argsort(dim=1, descending=True, stable=True).argsort(dim=1)
                seen = is_gap & (place_BN < wanted_B[:, None])
                ids_BN, drawn_BN = torch.where(seen, drawn_BN, ids_BN), torch.where(is_gap, drawn_BN, ids_BN)
            yield Step(step, total, self.bridge.leave(drawn_BN.reshape(-1, *self.bridge.inner.shape)))

    def _drawn(self, ids_BN: Tensor, asked: list[Given], options: MaskedSampling, chance_BN: Tensor) -> tuple[Tensor, Tensor]:
        """Give an id for each position, and its probability."""
        logits = [self.net(ids_BN, each).float() for each in asked]
        guided = logits[0] if len(logits) == 1 else logits[1] + options.guidance * (logits[0] - logits[1])
        if options.bias:
            guided[..., list(options.bias)] += torch.tensor(list(options.bias.values()), device=guided.device)
        if options.temperature == 0:
            sureness_BN, drawn_BN = guided.softmax(-1).max(-1)
            return drawn_BN, sureness_BN
        reached_BNV = (guided / options.temperature).softmax(-1).cumsum(-1)
        drawn_BN = (reached_BNV < chance_BN[..., None] * reached_BNV[..., -1:]).sum(-1).clamp(max=guided.shape[-1] - 1)
        return drawn_BN, guided.softmax(-1).gather(-1, drawn_BN[..., None])[..., 0]

    def _counted(self, x: Tensor, given: Given) -> Tensor:
        """Give the weight (B, N) of each id."""
        shape = (len(x), *self.bridge.inner.shape)
        if given.weight is None:
            return x.new_ones(shape, dtype=torch.float32).flatten(1)
        weight = given.weight.float()
        return weight.reshape(*weight.shape, *(1,) * (len(shape) - weight.ndim)).expand(shape).flatten(1)

    def _nats(self, x: Tensor, share_B: Tensor, given: Given, generator: torch.Generator, steps: int | None = None) -> Tensor:
        """Hide a share of what counts and give the weighted nats (B,) of what is hidden, scaled to stand for all steps."""
        ids_BN, weight_BN = self.bridge.enter(x).flatten(1), self._counted(x, given)
        count_B = (weight_BN > 0).sum(1)
        total_B = count_B if steps is None else count_B.clamp(max=steps)
        step_B = (share_B * total_B).long().clamp(max=total_B - 1)
        hidden_B = count_B * (step_B + 1) // total_B.clamp(min=1)
        filled_B = hidden_B - count_B * step_B // total_B.clamp(min=1)
        rank_BN = torch.rand(ids_BN.shape, generator=generator, device=generator.device).to(ids_BN.device)
        rank_BN = rank_BN.masked_fill(weight_BN == 0, 2).argsort(1).argsort(1)
        hidden_BN = (rank_BN < hidden_B[:, None]) & (weight_BN > 0)
        logits_BNV = self.net(torch.where(hidden_BN, self.net.gap, ids_BN), given).float()
        nats_BN = F.cross_entropy(logits_BNV.transpose(1, 2), ids_BN, reduction="none") * weight_BN
        return (nats_BN * hidden_BN).sum(1) * total_B * filled_B / hidden_B.clamp(min=1)
