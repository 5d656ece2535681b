"""Spaces: what a value is made of, whatever its modality.

Legend of the suffixes that tensor names carry everywhere in Karat:

    B batch    S the axes of a space    G a grid of patches    N positions in a row    C channels (always last)
    D width of a net    V vocabulary    L length of what is given    K heads    T turns or steps

So a batch of pictures is `x_BSC`, whatever their rank; a batch of texts is `x_BS`.
"""

from math import prod
from typing import Self

import torch
from pydantic import model_validator
from torch import Tensor

from karat.words.specs import Spec


class Space(Spec):
    """Some named axes and, on each position, either `channels` numbers in [-1, 1] or one of `vocab` ids.

    A picture is `Space(axes=("height", "width"), shape=(32, 32), channels=3)`, a text `Space(axes=("token",), shape=(64,), vocab=512)`, a
    label `Space(vocab=10)`, three measurements `Space(channels=3)`.
    """

    axes: tuple[str, ...] = ()
    shape: tuple[int, ...] = ()
    channels: int | None = None
    vocab: int | None = None

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if len(self.axes) != len(self.shape):
            raise ValueError(f"each axis needs one length, got axes {self.axes} and shape {self.shape}")
        if (self.channels is None) == (self.vocab is None):
            raise ValueError("a space has either channels (numbers) or a vocab (ids)")
        if min((*self.shape, self.channels or 1, self.vocab or 1)) < 1:
            raise ValueError("lengths, channels and vocab must be at least 1")
        return self

    @property
    def is_ids(self) -> bool:
        return self.vocab is not None

    @property
    def value_shape(self) -> tuple[int, ...]:
        """The shape of one value's tensor: the axes, then the channels if there are any."""
        return self.shape if self.channels is None else (*self.shape, self.channels)

    @property
    def positions(self) -> int:
        return prod(self.shape)

    def check(self, values: Tensor) -> None:
        """Assert that a batch of values lies in this space: shape, kind and range."""
        assert values.shape[1:] == self.value_shape, f"expected (B, {self.value_shape}), got {tuple(values.shape)}"
        if self.vocab is not None:
            assert not values.is_floating_point(), "ids are whole numbers"
            assert values.numel() == 0 or (int(values.min()) >= 0 and int(values.max()) < self.vocab), "id out of range"
        else:
            assert values.is_floating_point(), "numbers are floating point"
            assert values.numel() == 0 or float(values.abs().max()) <= 1.0001, "number outside [-1, 1]"

    def random(self, count: int, generator: torch.Generator) -> Tensor:
        """Give `count` values drawn uniformly from the space: noise to test with and to compare against."""
        if self.vocab is not None:
            return torch.randint(self.vocab, (count, *self.value_shape), generator=generator)
        return torch.rand((count, *self.value_shape), generator=generator) * 2 - 1
