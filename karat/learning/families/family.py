"""Families: ways of learning to make values. They know spaces, never modalities.

A family is an `nn.Module` built from the space to make, the spaces that are given, and its own options. The training loop
asks it for one loss for each of its turns; optimizers, averages and schedules belong to the loop.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, runtime_checkable

import torch
from pydantic import Field
from torch import Tensor, nn

from karat.values.given import Given
from karat.values.spaces import Space
from karat.words.registry import Registry
from karat.words.specs import Spec


class FamilyOptions(Spec):
    """What a family is told when it is built. Each family adds its own; `kind` names the family."""

    kind: str

    def finished(self) -> "FamilyOptions":
        """Give the options of what a run ends as."""
        return self


class GivenOptions(FamilyOptions):
    """The options of a family that learns without some of what is given, so that it can be asked without, too."""

    leave_out: float = Field(0.1, ge=0, le=1, description="chance that a given value is left out in training")
    hide: float = Field(0.0, ge=0, lt=1, description="chance that a word of a given text is hidden in training; few captions want it")

    def thinned(self, given: Given, generator: torch.Generator) -> Given:
        """Give what one step of training is told of what is given."""
        return given.dropped(self.leave_out, generator).hidden(self.hide, generator)


class SamplingOptions(Spec):
    """What a family is told when it samples. Each family adds its own, with good defaults."""


@dataclass(frozen=True)
class Loss:
    """What a turn minimises, and the figures worth watching."""

    total: Tensor
    figures: Mapping[str, Tensor]
    remember: Callable[[], None] = lambda: None
    """What the family keeps of the batch beside its weights; called when no other piece of the batch is under way."""


@dataclass(frozen=True)
class Step:
    """One step of sampling: `preview` is the best guess so far, and the values themselves when `done == total`."""

    done: int
    total: int
    preview: Tensor


class Stream:
    """The randomness of one sample, from a (seed, index)."""

    def __init__(self, seed: tuple[int, int]) -> None:
        self._generator = torch.Generator().manual_seed(stream_seed(*seed))

    def normal(self, shape: tuple[int, ...]) -> Tensor:
        return torch.randn(shape, generator=self._generator)

    def uniform(self, shape: tuple[int, ...]) -> Tensor:
        return torch.rand(shape, generator=self._generator)


class Beginning(Protocol):
    """What a sample starts from instead of a (seed, index)."""

    def begin(self) -> Stream: ...


Start = tuple[int, int] | Beginning


class Noise:
    """Randomness for sampling in which every sample has a stream of its own, so that batch mates never change a result."""

    def __init__(self, starts: Sequence[Start], device: torch.device | str = "cpu") -> None:
        self.count, self.device = len(starts), device
        self._streams = [Stream(start) if isinstance(start, tuple) else start.begin() for start in starts]

    def normal(self, *shape: int) -> Tensor:
        """Draw (B, *shape) standard normal numbers."""
        return torch.stack([stream.normal(shape) for stream in self._streams]).to(self.device)

    def uniform(self, *shape: int) -> Tensor:
        """Draw (B, *shape) numbers uniform in [0, 1)."""
        return torch.stack([stream.uniform(shape) for stream in self._streams]).to(self.device)


class Family(Protocol):
    """A way of learning. `turns` are trained one after the other in each step, each with parameters of its own."""

    kind: ClassVar[str]
    Options: ClassVar[type[FamilyOptions]]
    Sampling: ClassVar[type[SamplingOptions]]
    turns: ClassVar[tuple[str, ...]]
    chosen_by: ClassVar[str | None]
    """The held-out loss by which a checkpoint is chosen where no samples are judged; None: the last one is."""

    def __init__(self, space: Space, given: Mapping[str, Space], options: Any) -> None: ...

    def trained_in(self, turn: str) -> nn.Module:
        """Give the module whose parameters this turn trains."""
        ...

    def loss(self, turn: str, x: Tensor, given: Given, generator: torch.Generator) -> Loss:
        """Give the loss of one turn on a batch (B, *S[, C])."""
        ...

    def held_out(self, x: Tensor, given: Given, generator: torch.Generator) -> dict[str, Tensor]:
        """Give losses per sample (B,) on data that training does not see, by name; the same generator state gives the same figures."""
        ...

    def sample(self, given: Given, options: Any, noise: Noise) -> Iterator[Step]:
        """Make one value for each stream of `noise`."""
        ...


@runtime_checkable
class Filling(Protocol):
    """A family that can make a part of a value anew and keep the rest: the head of all editing."""

    def fill(self, x: Tensor, where: Tensor, given: Given, options: Any, noise: Noise, strength: float) -> Iterator[Step]:
        """Make the positions of `x` (B, *S[, C]) anew at which `where` (B, *S) is True, one way for each stream of `noise`.

        `strength`, above 0: how much of what was there is lost; 1: all of it.
        """
        ...


@runtime_checkable
class GoingOn(Protocol):
    """A family that goes on from the weights of a base, and may train something beside them that goes into them in the end."""

    def start_from(self, tensors: Mapping[str, Tensor]) -> None:
        """Take up the weights of a base, by the names that its files give them."""
        ...

    def finished(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Give the weights of what a run ends as, from those that were chosen, both by the family's own names."""
        ...


families: Registry[type[Family]] = Registry("family")


def stream_seed(seed: int, index: int) -> int:
    """Give the 63-bit seed of one sample's stream."""
    return int.from_bytes(hashlib.sha256(f"karat {seed} {index}".encode()).digest()[:8], "big") >> 1


def uniform(count: int, like: Tensor, generator: torch.Generator) -> Tensor:
    """Draw (count,) numbers uniform in [0, 1), one in each of `count` equal strata, in random order: less noisy than independent draws."""
    strata = (torch.arange(count, device=generator.device) + torch.rand(count, generator=generator, device=generator.device)) / count
    return strata[torch.randperm(count, generator=generator, device=generator.device)].to(like.device)


def normal_like(x: Tensor, generator: torch.Generator) -> Tensor:
    """Draw standard normal numbers of the shape of `x`."""
    return torch.randn(x.shape, generator=generator, device=generator.device).to(x.device)
