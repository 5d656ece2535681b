"""An autoencoder of rows of ids, and a flow learnt beside it as the prior: what lets families of numbers learn texts.

Latents are bounded, get noise, and are read from ids of which some are hidden, so that near latents mean near texts (PLANNER, Zhang et al.
2023, arXiv 2306.02531, and TEncDM, Shabalin et al. 2024, arXiv 2402.19097, do the like with larger encoders). All ids are written at once.
"""

from collections.abc import Iterator, Mapping
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from karat.learning.families.diffusion import Diffusion, DiffusionOptions
from karat.learning.families.family import FamilyOptions, Loss, Noise, SamplingOptions, Step, families, normal_like
from karat.learning.families.vae import REACH, VaeSampling
from karat.learning.nets.squeezing import SqueezingTransformer
from karat.learning.nets.transformer import TransformerSpec
from karat.values.bridges import as_ids
from karat.values.given import Given
from karat.values.spaces import Space

LATENT_AXES = ("latent",)


class AutoencoderOptions(FamilyOptions):
    """How rows are squeezed into latents, and how latents are made."""

    kind: Literal["autoencoder"] = "autoencoder"
    net: TransformerSpec = TransformerSpec()
    bins: int = Field(64, ge=2, description="for spaces of numbers: bins over [-1, 1]")
    fold: int = Field(2, ge=1, description="ids for which one latent stands")
    channels: int = Field(32, ge=1, description="numbers in each latent")
    noise: float = Field(0.3, ge=0, description="standard deviation of what is added to latents in training; theirs is 1")
    strange: float = Field(0.1, ge=0, lt=1, description="chance that an id becomes any other in training, so that rare ones come back too")
    hide: float = Field(0.1, ge=0, lt=1, description="chance that an id is hidden from the encoder in training")
    prior: DiffusionOptions = DiffusionOptions(net=TransformerSpec(width=192, depth=3), reach=REACH)


@families.add("autoencoder")
class RowAutoencoder(nn.Module):
    """An encoder, a decoder and a prior for rows of ids."""

    kind: ClassVar[str] = "autoencoder"
    Options: ClassVar[type[FamilyOptions]] = AutoencoderOptions
    Sampling: ClassVar[type[SamplingOptions]] = VaeSampling
    turns: ClassVar[tuple[str, ...]] = ("autoencode", "prior")
    chosen_by: ClassVar[str | None] = "loss"

    def __init__(self, space: Space, given: Mapping[str, Space], options: AutoencoderOptions) -> None:
        super().__init__()
        self.options, self.bridge = options, as_ids(space, options.bins)
        inner = self.bridge.inner
        self.latents = Space(axes=LATENT_AXES, shape=(-(-inner.positions // options.fold),), channels=options.channels)
        self.net = SqueezingTransformer(inner, self.latents, options.net)
        self.prior = Diffusion(self.latents, given, options.prior)

    def trained_in(self, turn: str) -> nn.Module:
        return self.net if turn == "autoencode" else self.prior

    def loss(self, turn: str, x: Tensor, given: Given, generator: torch.Generator) -> Loss:
        if turn == "prior":
            with torch.no_grad():
                latents = self.to_latents(x)
            return self.prior.loss("flow", latents, given, generator)
        ids_BN = self._ids(x)
        any_BN = torch.randint(self.net.gap, ids_BN.shape, generator=generator, device=generator.device).to(ids_BN.device)
        ids_BN = torch.where(self._by_chance(ids_BN, self.options.strange, generator), any_BN, ids_BN)
        latents = self._read(ids_BN.masked_fill(self._by_chance(ids_BN, self.options.hide, generator), self.net.gap))
        logits_BNV = self._write(latents + self.options.noise / REACH * normal_like(latents, generator))
        loss = F.cross_entropy(logits_BNV.transpose(1, 2), ids_BN)
        return Loss(loss, {"loss": loss.detach()})

    def held_out(self, x: Tensor, given: Given, generator: torch.Generator) -> dict[str, Tensor]:
        """Give the nats of each id, the share of wholes that come back exactly, and the prior's loss."""
        ids_BN, latents = self._ids(x), self.to_latents(x)
        logits_BNV = self._write(latents)
        loss_B = F.cross_entropy(logits_BNV.transpose(1, 2), ids_BN, reduction="none").mean(1)
        exact_B = (logits_BNV.argmax(-1) == ids_BN).all(1).float()
        return {"loss": loss_B, "exact": exact_B, "prior": self.prior.held_out(latents, given, generator)["loss"]}

    def sample(self, given: Given, options: VaeSampling, noise: Noise) -> Iterator[Step]:
        for step in self.prior.sample(given, options, noise):
            yield Step(step.done, step.total, self.from_latents(step.preview))

    def to_latents(self, values: Tensor) -> Tensor:
        """Give the latents of values of the space."""
        return self._read(self._ids(values))

    def from_latents(self, latents: Tensor) -> Tensor:
        """Give the values of the space for latents."""
        ids_BN = self._write(latents).argmax(-1)
        return self.bridge.leave(ids_BN.reshape(-1, *self.bridge.inner.shape))

    def _ids(self, x: Tensor) -> Tensor:
        return self.bridge.enter(x).flatten(1)

    def _by_chance(self, ids_BN: Tensor, chance: float, generator: torch.Generator) -> Tensor:
        return (torch.rand(ids_BN.shape, generator=generator, device=generator.device) < chance).to(ids_BN.device)

    def _read(self, ids_BN: Tensor) -> Tensor:
        return (self.net.read(ids_BN) / REACH).clamp(-1, 1)

    def _write(self, latents: Tensor) -> Tensor:
        return self.net.write(latents * REACH)
