"""Adversarial learning with the relativistic pairing loss and gradient penalties on real and made values.

After R3GAN (Huang et al. 2024, arXiv 2501.05441). The penalties are finite differences along one random direction (Lin et al. 2025, arXiv
2501.08316), which need no second derivative and so allow fused attention. Both critics' inputs pass the same differentiable augmentation
(Zhao et al. 2020, arXiv 2006.10738).
"""

from collections.abc import Iterator, Mapping
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from karat.learning.families.family import FamilyOptions, Loss, Noise, SamplingOptions, Step, families, normal_like
from karat.learning.nets.convnet import ConvnetSpec
from karat.learning.nets.nets import NetSpec, reader, writer
from karat.values.augment import AugmentSpec, augment
from karat.values.bridges import as_numbers
from karat.values.given import Given
from karat.values.spaces import Space


class GanOptions(FamilyOptions):
    """How the generator and its critic are built and set against each other."""

    kind: Literal["gan"] = "gan"
    net: NetSpec = ConvnetSpec()
    critic: NetSpec = ConvnetSpec()
    noise: int = Field(64, ge=1, description="numbers that the generator starts from")
    penalty: float = Field(1.0, ge=0, description="weight of the squared slope of the critic at real and at made values")
    nudge: float = Field(0.2, gt=0, description="each number's step by which the slope is measured; half precision wants a wide one")
    augment: AugmentSpec = AugmentSpec()


class GanSampling(SamplingOptions):
    """How the generator starts."""

    temperature: float = Field(1.0, ge=0, description="scale of the noise: below 1 is closer to the typical, less varied")


@families.add("gan")
class Gan(nn.Module):
    """A generator and the critic that teaches it."""

    kind: ClassVar[str] = "gan"
    Options: ClassVar[type[FamilyOptions]] = GanOptions
    Sampling: ClassVar[type[SamplingOptions]] = GanSampling
    turns: ClassVar[tuple[str, ...]] = ("critic", "generator")
    chosen_by: ClassVar[str | None] = None

    def __init__(self, space: Space, given: Mapping[str, Space], options: GanOptions) -> None:
        super().__init__()
        self.options, self.bridge = options, as_numbers(space)
        self.generator = writer(Space(channels=options.noise), self.bridge.inner, given, options.net)
        self.critic = reader(self.bridge.inner, Space(channels=1), given, options.critic)

    def trained_in(self, turn: str) -> nn.Module:
        return self.critic if turn == "critic" else self.generator

    def loss(self, turn: str, x: Tensor, given: Given, generator: torch.Generator) -> Loss:
        real = self.bridge.enter(x)
        start = torch.randn(len(x), self.options.noise, generator=generator, device=generator.device).to(real.device)
        if turn == "critic":
            with torch.no_grad():
                made = self._make(start, given)
            return self._critic_loss(self._seen(real, generator), self._seen(made, generator), given, generator)
        made = self._make(start, given)
        lead = self._judge(self._seen(made, generator), given) - self._judge(self._seen(real, generator), given)
        total = F.softplus(-lead).mean()
        return Loss(total, {"generator": total.detach()})

    def held_out(self, x: Tensor, given: Given, generator: torch.Generator) -> dict[str, Tensor]:
        """Give by how much the critic prefers unseen real values to made ones: a rising figure says that it has memorised."""
        start = torch.randn(len(x), self.options.noise, generator=generator, device=generator.device).to(x.device)
        lead = self._judge(self.bridge.enter(x), given) - self._judge(self._make(start, given), given)
        return {"loss": F.softplus(-lead), "lead": lead}

    def sample(self, given: Given, options: GanSampling, noise: Noise) -> Iterator[Step]:
        made = self._make(noise.normal(self.options.noise) * options.temperature, given)
        yield Step(1, 1, self.bridge.leave(made))

    def _critic_loss(self, real: Tensor, made: Tensor, given: Given, generator: torch.Generator) -> Loss:
        nudge = self.options.nudge
        both = torch.cat([real, made])
        moved = both + nudge * normal_like(both, generator)
        at, beside = self._judge(torch.cat([both, moved]), given).chunk(2)
        slope = ((beside - at) / nudge).square()
        real_score, made_score = at.chunk(2)
        contest = F.softplus(made_score - real_score).mean()
        total = contest + self.options.penalty * slope.mean()
        lead = (real_score - made_score).detach().mean()
        return Loss(total, {"critic": contest.detach(), "slope": slope.detach().mean(), "lead": lead})

    def _make(self, start: Tensor, given: Given) -> Tensor:
        return self.generator(start, given).float().tanh()

    def _judge(self, values: Tensor, given: Given) -> Tensor:
        return self.critic(values, given).float()[:, 0]

    def _seen(self, values: Tensor, generator: torch.Generator) -> Tensor:
        return augment(values, self.options.augment, generator)
