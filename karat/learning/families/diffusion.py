"""Diffusion as flow matching on straight paths (Lipman et al. 2022, arXiv 2210.02747; Liu et al. 2022, arXiv 2209.03003).

At time t, x_t = (1 - t) · noise + t · data, and the net learns the velocity data - noise. Times are drawn logit-normal (Esser et al. 2024,
arXiv 2403.03206). Guidance (arXiv 2207.12598) acts in an interval of times only (Kynkäänniemi et al. 2024, arXiv 2404.07724).

Of few pictures it learns altered forms as well, and is told which they are, so that it can be asked for pictures as they come (Jun et al.
2020, "Distribution Augmentation for Generative Modeling").

A part of a value is made anew by following the flow there, while the rest goes the straight path that is known for it; and each stretch of
the way is gone several times with new noise, so that both come to agree (RePaint, Lugmayr et al. 2022, arXiv 2201.09865). A value is varied
by starting on the way between noise and it (SDEdit, Meng et al. 2021, arXiv 2108.01073).
"""

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from karat.learning.families.family import FamilyOptions, GivenOptions, Loss, Noise, SamplingOptions, Step, families, normal_like, uniform
from karat.learning.families.solvers import Velocity, grid, solvers
from karat.learning.nets.convnet import ConvnetSpec
from karat.learning.nets.nets import NetSpec, mapper
from karat.values.augment import AugmentSpec, augment
from karat.values.bridges import as_numbers
from karat.values.given import Given
from karat.values.spaces import Space

BINS = (0.1, 0.3, 0.5, 0.7, 0.9)
ALTERED = "altered"
"""Under this name the net is told whether a picture is augmented."""
STRETCHES = 8
"""Into so many stretches the way is divided when a part is made anew …"""
ROUNDS = 4
"""… each of which, but the first, is gone so many times."""


class DiffusionOptions(GivenOptions):
    """How a flow is learnt."""

    kind: Literal["diffusion"] = "diffusion"
    net: NetSpec = ConvnetSpec()
    reach: float = Field(
        1.0, gt=0, description="the numbers of the space are multiplied by it; about one over their standard deviation is best"
    )
    time_mean: float = Field(0.0, description="mean of logit(t); below 0 trains more near the noise")
    time_spread: float = Field(1.0, gt=0, description="standard deviation of logit(t)")
    augment: AugmentSpec = AugmentSpec()
    altered: float = Field(0.5, ge=0, le=1, description="the share of pictures that are augmented; the net is told which")
    steps: int = Field(8, ge=1, description="steps from noise to a sample, unless sampling is told otherwise; so with the next two")
    shift: float = Field(1.0, gt=0, description="above 1: more of the steps near the noise")
    guidance: float = Field(1.0, ge=0, description="1: as learnt; more: closer to what is given, less varied")


class DiffusionSampling(SamplingOptions):
    """How a flow is followed."""

    steps: int | None = Field(None, ge=1, description="steps from noise to a sample; left out, the model's own, as with the next two")
    solver: str = "dpm++2m"
    shift: float | None = Field(None, gt=0, description="above 1: more of the steps near the noise")
    guidance: float | None = Field(None, ge=0, description="1: as learnt; more: closer to what is given, less varied")
    guide_from: float = Field(0.1, ge=0, le=1)
    guide_to: float = Field(0.9, ge=0, le=1)


@families.add("diffusion")
class Diffusion(nn.Module):
    """A flow from noise to data."""

    kind: ClassVar[str] = "diffusion"
    Options: ClassVar[type[FamilyOptions]] = DiffusionOptions
    Sampling: ClassVar[type[SamplingOptions]] = DiffusionSampling
    turns: ClassVar[tuple[str, ...]] = ("flow",)
    chosen_by: ClassVar[str | None] = None

    def __init__(self, space: Space, given: Mapping[str, Space], options: DiffusionOptions) -> None:
        super().__init__()
        self.options, self.bridge = options, as_numbers(space)
        told = {ALTERED: Space(vocab=2)} if options.augment.ops else {}
        self.net = mapper(self.bridge.inner, self.bridge.inner.channels or 0, {**given, **told}, options.net)

    def trained_in(self, turn: str) -> nn.Module:
        return self.net

    def loss(self, turn: str, x: Tensor, given: Given, generator: torch.Generator) -> Loss:
        x, altered_B = self._altered(x, generator)
        data = self.bridge.enter(x) * self.options.reach
        quantile = uniform(len(x), data, generator).clamp(1e-4, 1 - 1e-4)
        t_B = torch.sigmoid(torch.special.ndtri(quantile) * self.options.time_spread + self.options.time_mean)
        error_B = self._error(data, t_B, self.options.thinned(given, generator), generator, altered_B)
        return Loss(error_B.mean(), {"loss": error_B.detach().mean()})

    def held_out(self, x: Tensor, given: Given, generator: torch.Generator) -> dict[str, Tensor]:
        data = self.bridge.enter(x) * self.options.reach
        by_time = {f"loss at t={t}": self._error(data, data.new_full((len(x),), t), given, generator) for t in BINS}
        return {"loss": torch.stack(list(by_time.values())).mean(0), **by_time}

    def sample(self, given: Given, options: DiffusionSampling, noise: Noise) -> Iterator[Step]:
        start, times = noise.normal(*self.bridge.inner.value_shape), self._times(options)
        for step, x, guess in solvers[options.solver](self._velocity(given, options), start, times):
            yield self._seen(step, len(times) - 1, x, guess)

    def fill(self, x: Tensor, where: Tensor, given: Given, options: DiffusionSampling, noise: Noise, strength: float) -> Iterator[Step]:
        data, new = self.bridge.enter(x) * self.options.reach, where[..., None]
        flow, fresh = self._velocity(given, options), noise.normal(*self.bridge.inner.value_shape)
        times = [1 - strength * (1 - t) for t in self._times(options)]
        x_t, steps = (1 - times[0]) * fresh + times[0] * data, len(times) - 1
        stretches = min(STRETCHES, steps)
        ends = [round(place * steps / stretches) for place in range(stretches + 1)]
        rounds = [1] + [ROUNDS if strength == 1 else 1] * (stretches - 1)
        total = sum((last - first) * count for (first, last), count in zip(pairwise(ends), rounds, strict=True))
        done = 0
        for (first, last), count in zip(pairwise(ends), rounds, strict=True):
            for again in range(count):
                if again:
                    x_t, fresh = _gone_back(x_t, fresh, (times[last], times[first]), noise)
                path = solvers[options.solver](_keeping(flow, new, data - fresh), x_t, times[first : last + 1])
                for _, x_t, guess in path:
                    done += 1
                    yield self._seen(done, total, x_t, guess)

    def _times(self, options: DiffusionSampling) -> list[float]:
        return grid(options.steps or self.options.steps, options.shift or self.options.shift)

    def _velocity(self, given: Given, options: DiffusionSampling) -> Velocity:
        guidance = self.options.guidance if options.guidance is None else options.guidance
        told = any(bool(keep.any()) for keep in given.keep.values())

        def velocity(x: Tensor, t: float) -> Tensor:
            t_B = x.new_full((len(x),), t)
            if guidance == 1 or not told or not options.guide_from <= t <= options.guide_to:
                return self._guess(x, t_B, given)
            with_all, with_none = self._guess(x, t_B, given), self._guess(x, t_B, given.nothing())
            return with_none + guidance * (with_all - with_none)

        return velocity

    def _seen(self, step: int, total: int, x: Tensor, guess: Tensor) -> Step:
        seen = x if step == total else guess
        return Step(step, total, self.bridge.leave((seen / self.options.reach).clamp(-1, 1)))

    def _altered(self, x: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor | None]:
        """Augment some of the values; say which."""
        if not self.options.augment.ops:
            return x, None
        altered_B = uniform(len(x), x, generator) < self.options.altered
        return torch.where(altered_B.view(-1, 1, 1, 1), augment(x, self.options.augment, generator), x), altered_B

    def _guess(self, x: Tensor, t_B: Tensor, given: Given, altered_B: Tensor | None = None) -> Tensor:
        """Ask the net, which is told what is augmented: nothing, unless it is said."""
        if self.options.augment.ops:
            told = Given.of(**{ALTERED: torch.zeros(len(x), dtype=torch.long, device=x.device) if altered_B is None else altered_B.long()})
            given = Given({**given.values, **told.values}, {**given.keep, **told.keep}, given.weight)
        return self.net(x, t_B, given).float()

    def _error(self, data: Tensor, t_B: Tensor, given: Given, generator: torch.Generator, altered_B: Tensor | None = None) -> Tensor:
        noise = normal_like(data, generator)
        t = t_B.view(-1, *(1,) * (data.ndim - 1))
        guess = self._guess((1 - t) * noise + t * data, t_B, given, altered_B)
        return F.mse_loss(guess, data - noise, reduction="none").flatten(1).mean(1)


def _keeping(flow: Velocity, new: Tensor, known: Tensor) -> Velocity:
    """Give a velocity that is the flow's where something is made anew, and known elsewhere."""
    return lambda x, t: torch.where(new, flow(x, t), known)


def _gone_back(x: Tensor, fresh: Tensor, times: tuple[float, float], noise: Noise) -> tuple[Tensor, Tensor]:
    """Go back from one time to an earlier one by new noise; give what is there, and the noise that the kept part comes from now."""
    late, early = times
    old = early * (1 - late) / (late * (1 - early))
    more = (1 - old**2) ** 0.5 * noise.normal(*x.shape[1:])
    return early / late * x + (1 - early) * more, old * fresh + more
