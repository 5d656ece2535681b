"""Bridges between ids and numbers, so that a family of either kind can learn any space.

Ids become numbers by one-hot rows scaled to ±1; numbers become ids by equal bins, with the channels as one more axis. The bridges make
every cell of modality × family run; a latent codec makes it good (long rows of bins and one-hot critics are both poor at quality).
"""

from typing import Protocol

import torch
from torch import Tensor

from karat.values.spaces import Space


class Bridge(Protocol):
    """A change of representation: `inner` is what the family learns, `outer` what the model makes."""

    outer: Space
    inner: Space

    def enter(self, values: Tensor) -> Tensor:
        """Go from values of `outer` to values of `inner`."""
        ...

    def leave(self, values: Tensor) -> Tensor:
        """Come back; exact for ids, to the nearest bin for numbers."""
        ...


class Straight:
    """No change at all."""

    def __init__(self, outer: Space) -> None:
        self.outer = self.inner = outer

    def enter(self, values: Tensor) -> Tensor:
        return values

    def leave(self, values: Tensor) -> Tensor:
        return values


class OneHot:
    """Ids as rows of `vocab` numbers: +1 at the id, -1 elsewhere."""

    def __init__(self, outer: Space) -> None:
        assert outer.vocab is not None
        self.outer = outer
        self.inner = Space(axes=outer.axes, shape=outer.shape, channels=outer.vocab)

    def enter(self, values: Tensor) -> Tensor:
        return torch.nn.functional.one_hot(values.long(), self.outer.vocab or 0).float() * 2 - 1

    def leave(self, values: Tensor) -> Tensor:
        return values.argmax(-1)


class Bins:
    """Numbers as ids of `bins` equal bins over [-1, 1]; the channels become a last axis."""

    def __init__(self, outer: Space, bins: int = 256) -> None:
        assert outer.channels is not None
        self.outer, self.bins = outer, bins
        self.inner = Space(axes=(*outer.axes, "channel"), shape=outer.value_shape, vocab=bins)

    def enter(self, values: Tensor) -> Tensor:
        return ((values.clamp(-1, 1) + 1) / 2 * (self.bins - 1)).round().long()

    def leave(self, values: Tensor) -> Tensor:
        return values.float() / (self.bins - 1) * 2 - 1


def as_numbers(space: Space) -> Bridge:
    """Give the bridge by which a family of numbers learns `space`."""
    return OneHot(space) if space.is_ids else Straight(space)


def as_ids(space: Space, bins: int = 256) -> Bridge:
    """Give the bridge by which a family of ids learns `space`."""
    return Straight(space) if space.is_ids else Bins(space, bins)
