"""Variational autoencoders (Kingma & Welling 2013, arXiv 1312.6114), and a flow learnt beside them as the prior.

The latent is Gaussian or quantised (finite scalar quantisation: FSQ, Mentzer et al. 2023, arXiv 2309.15505).

The noise of the decoder is the best one for each batch (optimal-sigma VAE, Rybkin et al. 2020, arXiv 2006.13202), so no weight needs tuning
between picture and latent. What is given acts on the prior alone: any trained VAE can therefore also stand as a latent codec in front of
another family.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from math import prod
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from karat.learning.families.diffusion import Diffusion, DiffusionOptions, DiffusionSampling
from karat.learning.families.family import FamilyOptions, Loss, Noise, SamplingOptions, Step, families, normal_like
from karat.learning.nets.convnet import ConvnetSpec
from karat.learning.nets.nets import NetSpec, coarse_shape, reader, writer
from karat.learning.nets.transformer import TransformerSpec
from karat.values.bridges import as_numbers
from karat.values.given import Given
from karat.values.spaces import Space

REACH = 3.0
"""Latents are scaled so that this many standard deviations fill [-1, 1]."""


class VaeOptions(FamilyOptions):
    """How values are squeezed into latents, and how latents are made."""

    kind: Literal["vae"] = "vae"
    net: NetSpec = ConvnetSpec()
    channels: int = Field(32, ge=1, description="numbers in the latent, or on each of its positions")
    in_place: bool = Field(False, description="the latent keeps the axes of the space, on its coarsest grid")
    levels: tuple[Annotated[int, Field(ge=2)], ...] = Field(
        (), description="FSQ: how many values each number of the latent may take; empty: Gaussian"
    )
    beta: float = Field(1.0, ge=0, description="weight of the distance between latents and the standard normal")
    draws: int = Field(1, ge=1, description="noises under which the prior sees each latent of a step; many learn few data by heart")
    prior: DiffusionOptions = DiffusionOptions(net=TransformerSpec(width=192, depth=3), reach=REACH)


class VaeSampling(DiffusionSampling):
    """How the prior is followed."""

    steps: int | None = Field(12, ge=1)


class Gaussian(nn.Module):
    """A latent of independent normal numbers."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.wanted = 2 * channels

    def forward(self, raw: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Give a drawn latent and its distance (B,) in nats from the standard normal."""
        mean, log_deviation = raw.chunk(2, -1)
        log_deviation = log_deviation.clamp(-8, 4)
        drawn = mean + log_deviation.exp() * normal_like(mean, generator)
        distance = ((mean**2 + (2 * log_deviation).exp() - 1) / 2 - log_deviation).flatten(1).sum(1)
        return drawn, distance

    def settle(self, raw: Tensor) -> Tensor:
        return raw.chunk(2, -1)[0]

    def nearest(self, latent: Tensor) -> Tensor:
        return latent


class Quantised(nn.Module):
    """A latent in which each number takes one of a few evenly spaced values."""

    levels: Tensor

    def __init__(self, levels: tuple[int, ...]) -> None:
        super().__init__()
        self.wanted = len(levels)
        self.register_buffer("levels", torch.tensor(levels, dtype=torch.float32), persistent=False)

    def forward(self, raw: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Give the quantised latent, its gradient passed straight through, and no distance."""
        soft = raw.tanh()
        return soft + (self.nearest(soft) - soft).detach(), raw.new_zeros(len(raw))

    def settle(self, raw: Tensor) -> Tensor:
        return self.nearest(raw.tanh())

    def nearest(self, latent: Tensor) -> Tensor:
        gaps = self.levels - 1
        return ((latent.clamp(-1, 1) + 1) / 2 * gaps).round() / gaps * 2 - 1

    def ids(self, latent: Tensor) -> Tensor:
        """Give one id for each position: the digits of its numbers in the mixed base of the levels."""
        digits = ((latent + 1) / 2 * (self.levels - 1)).round().long()
        return (digits * self._places()).sum(-1)

    def from_ids(self, ids: Tensor) -> Tensor:
        digits = torch.div(ids[..., None], self._places(), rounding_mode="floor") % self.levels.long()
        return digits / (self.levels - 1) * 2 - 1

    def _places(self) -> Tensor:
        return torch.cat([self.levels.new_ones(1), self.levels[:-1].cumprod(0)]).long()


@families.add("vae")
class Vae(nn.Module):
    """An encoder, a decoder and a prior."""

    kind: ClassVar[str] = "vae"
    Options: ClassVar[type[FamilyOptions]] = VaeOptions
    Sampling: ClassVar[type[SamplingOptions]] = VaeSampling
    turns: ClassVar[tuple[str, ...]] = ("autoencode", "prior")
    chosen_by: ClassVar[str | None] = None
    middle: Tensor
    spread: Tensor

    def __init__(self, space: Space, given: Mapping[str, Space], options: VaeOptions) -> None:
        super().__init__()
        self.options, self.bridge = options, as_numbers(space)
        inner = self.bridge.inner
        self.squeeze = Quantised(options.levels) if options.levels else Gaussian(options.channels)
        shape = coarse_shape(inner, options.net) if options.in_place or options.levels else ()
        axes = inner.axes if shape else ()
        self.latent = Space(axes=axes, shape=shape, channels=len(options.levels) or options.channels)
        raw = self.latent.changed(channels=self.squeeze.wanted)
        self.autoencoder = nn.ModuleDict(
            {"reader": reader(inner, raw, {}, options.net), "writer": writer(self.latent, inner, {}, options.net)}
        )
        self.prior = Diffusion(self.latent, given, options.prior)
        self.register_buffer("middle", torch.zeros(self.latent.channels or 0))
        self.register_buffer("spread", torch.ones(self.latent.channels or 0))

    def trained_in(self, turn: str) -> nn.Module:
        return self.autoencoder if turn == "autoencode" else self.prior

    def loss(self, turn: str, x: Tensor, given: Given, generator: torch.Generator) -> Loss:
        data = self.bridge.enter(x)
        if turn == "prior":
            with torch.no_grad():
                latent, _ = self.squeeze(self._read(data), generator)
            drawn = self._scaled(latent).repeat(self.options.draws, *(1,) * (latent.ndim - 1))
            loss = self.prior.loss("flow", drawn, given, generator)
            return replace(loss, remember=lambda: self._follow(latent))
        latent, distance_B = self.squeeze(self._read(data), generator)
        error = (self._write(latent) - data).square().mean()
        size = data[0].numel()
        fit = size / 2 * (error + 1e-6).log()
        total = (fit + self.options.beta * distance_B.mean()) / size
        return Loss(total, {"loss": total.detach(), "squared error": error.detach(), "distance": distance_B.detach().mean()})

    def held_out(self, x: Tensor, given: Given, generator: torch.Generator) -> dict[str, Tensor]:
        data = self.bridge.enter(x)
        latent, distance_B = self.squeeze(self._read(data), generator)
        error_B = (self._write(latent) - data).square().flatten(1).mean(1)
        prior_B = self.prior.held_out(self._scaled(latent), given, generator)["loss"]
        return {"loss": error_B, "distance": distance_B, "prior": prior_B}

    def sample(self, given: Given, options: VaeSampling, noise: Noise) -> Iterator[Step]:
        for step in self.prior.sample(given, options, noise):
            yield Step(step.done, step.total, self._unsqueezed(step.preview))

    @property
    def latents(self) -> Space:
        """The space of the latents as another family learns them: numbers in [-1, 1], or ids where they are quantised."""
        if isinstance(self.squeeze, Quantised):
            return Space(axes=self.latent.axes, shape=self.latent.shape, vocab=prod(self.options.levels))
        return self.latent

    def to_latents(self, values: Tensor) -> Tensor:
        """Give the latents of values of the space."""
        settled = self._scaled(self.squeeze.settle(self._read(self.bridge.enter(values))))
        return self.squeeze.ids(settled) if isinstance(self.squeeze, Quantised) else settled

    def from_latents(self, latents: Tensor) -> Tensor:
        """Give the values of the space for latents."""
        return self._unsqueezed(self.squeeze.from_ids(latents) if isinstance(self.squeeze, Quantised) else latents)

    def _unsqueezed(self, latent: Tensor) -> Tensor:
        whole = self.squeeze.nearest(latent) if isinstance(self.squeeze, Quantised) else latent * REACH * self.spread + self.middle
        return self.bridge.leave(self._write(whole).clamp(-1, 1))

    def _read(self, data: Tensor) -> Tensor:
        return self.autoencoder["reader"](data, Given()).float()

    def _write(self, latent: Tensor) -> Tensor:
        return self.autoencoder["writer"](latent, Given()).float()

    def _scaled(self, latent: Tensor) -> Tensor:
        if isinstance(self.squeeze, Quantised):
            return latent
        return ((latent - self.middle) / (REACH * self.spread)).clamp(-1, 1)

    @torch.no_grad()
    def _follow(self, latent: Tensor) -> None:
        """Keep the running middle and spread of the latents, by which the prior sees them."""
        if not self.training or isinstance(self.squeeze, Quantised):
            return
        flat = latent.flatten(0, -2)
        self.middle.lerp_(flat.mean(0), 0.02)
        self.spread.lerp_((flat - self.middle).square().mean(0).sqrt().clamp(min=1e-3), 0.02)
