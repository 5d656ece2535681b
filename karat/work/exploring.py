"""Exploring what a release can make: on the way between two seeds, and along the directions in which its pictures differ most.

Both change the noise that a sample starts from and nothing else, so they hold for every family that starts from normal noise. On a walk the
noise turns from one to the other on the sphere on which noise lies (Shoemake 1985). Directions are the principal components of what the
release makes of 256 seeds. Where noise has the shape of what is made of it (a flow of pixels or of latents), a component is added to the
noise as it is; elsewhere noise is regressed on the components (GANSpace, Härkönen et al. 2020, arXiv 2004.02546, does so for BigGAN).
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from karat.learning.families.family import Start, Stream
from karat.values.codecs.latent import as_seen
from karat.words.errors import SpecError
from karat.work.generation import Ready, all_values, repeated
from karat.work.requests import Point, Request, Walk

DIRECTIONS = 8
"""As many directions are known of a release."""
STUDIED = 256


def start_of(single: Request, directions: Callable[[], Tensor]) -> Start:
    """Give what the sample of a request for one starts from; `directions` is asked where it is moved along some."""
    if isinstance(single, Walk):
        return Between((single.seed, 0), (single.to, 0), single.first / (single.steps - 1))
    if isinstance(single, Point):
        return Moved((single.seed, single.first), directions(), single.moves)
    return single.seed, single.first


def directions_of(ready: Ready) -> Tensor:
    """Give the directions (K, D) of the noise, flat, along which what a release makes differs most, each of length 1, most first."""
    studied = [_Watched((0, index)) for index in range(STUDIED)]
    made = all_values(ready.model, repeated(ready.conditions({}), STUDIED), studied, {})
    noise = torch.stack([each.seen[0] for each in studied])
    made = (as_seen(ready.made, made) if ready.model.space.is_ids else made).float().flatten(1)
    made = made - made.mean(0)
    _, _, parts = torch.linalg.svd(made.double(), full_matrices=False)
    parts = parts[:DIRECTIONS]
    if noise[0].numel() == parts.shape[1]:
        found = parts
    else:
        places = made.double() @ parts.T
        found = torch.linalg.qr((places.T @ noise.flatten(1).double()).T).Q.T
    # The sign of a component is arbitrary: its largest number is to be positive.
    largest = found.gather(1, found.abs().argmax(1, keepdim=True))
    return (found * largest.sign()).float()


@dataclass(frozen=True)
class Between:
    """A start on the way from the noise of one seed to that of another."""

    first: tuple[int, int]
    last: tuple[int, int]
    share: float

    def begin(self) -> Stream:
        return _Turned(self)


@dataclass(frozen=True, eq=False)
class Moved:
    """A start that lies beside that of a seed, so far along each of the first directions."""

    seed: tuple[int, int]
    directions: Tensor
    moves: tuple[float, ...]

    def begin(self) -> Stream:
        return _Shifted(self)


class _FromNormal(Stream):
    """A stream for families that start from normal noise."""

    def uniform(self, shape: tuple[int, ...]) -> Tensor:
        said = "This release starts from no noise that could be moved: it chooses one id after the other."
        raise SpecError(said, repair="Explore a release of the family diffusion, vae or gan.")


class _Turned(_FromNormal):
    def __init__(self, start: Between) -> None:
        super().__init__(start.first)
        self._other, self._share = Stream(start.last), start.share

    def normal(self, shape: tuple[int, ...]) -> Tensor:
        first, last = super().normal(shape), self._other.normal(shape)
        if self._share in (0, 1):  # to the bit
            return last if self._share else first
        angle = torch.acos(torch.nn.functional.cosine_similarity(first.flatten(), last.flatten(), dim=0).clamp(-1, 1))
        if float(angle.sin()) < 1e-4:
            return torch.lerp(first, last, self._share)
        return (((1 - self._share) * angle).sin() * first + (self._share * angle).sin() * last) / angle.sin()


class _Shifted(_FromNormal):
    def __init__(self, start: Moved) -> None:
        super().__init__(start.seed)
        moves = torch.tensor(start.moves)
        self._shift: Tensor | None = (moves[:, None] * start.directions[: len(moves)]).sum(0)

    def normal(self, shape: tuple[int, ...]) -> Tensor:
        """Draw; the first draw is where a sample starts."""
        drawn, shift, self._shift = super().normal(shape), self._shift, None
        return drawn if shift is None else drawn + shift.reshape(shape)


class _Watched:
    """A start whose noise is kept."""

    def __init__(self, seed: tuple[int, int]) -> None:
        self.seed, self.seen = seed, list[Tensor]()

    def begin(self) -> Stream:
        return _Watching(self)


class _Watching(_FromNormal):
    def __init__(self, start: _Watched) -> None:
        super().__init__(start.seed)
        self._seen = start.seen

    def normal(self, shape: tuple[int, ...]) -> Tensor:
        drawn = super().normal(shape)
        self._seen.append(drawn)
        return drawn
