"""How a net takes in what is given: values without axes act on the whole, values with axes are attended to.

A value that a sample leaves out is replaced by a learnt one, so that "nothing given" is something that the net has seen, and so is each
position that is hidden.
"""

from collections.abc import Mapping
from math import prod
from typing import NamedTuple

import torch
from torch import Tensor, nn

from karat.learning.nets.parts import Attention, GatedLayer, Norm, coordinates, heads_of, rotary
from karat.values.given import Given
from karat.values.spaces import Space

LONGEST = 128


class Read(NamedTuple):
    """What was given, read: one vector for the whole, and tokens to attend to (None when nothing with axes is given)."""

    whole_BD: Tensor
    tokens_BLD: Tensor | None


class GivenReader(nn.Module):
    """Reads all the given values of a batch."""

    nothing: Tensor

    def __init__(self, spaces: Mapping[str, Space], width: int, *, depth: int = 2) -> None:
        super().__init__()
        self.register_buffer("nothing", torch.zeros(width), persistent=False)
        self.wholes = nn.ModuleDict({name: WholeReader(space, width) for name, space in spaces.items() if not space.axes})
        self.rows = nn.ModuleDict({name: RowReader(space, width, depth) for name, space in spaces.items() if space.axes})

    def forward(self, given: Given, count: int) -> Read:
        """Read each given value once, for `count` samples: where fewer are given, they are given again and again, in their order."""
        whole = self.nothing.expand(count, -1)
        for name, reader in self.wholes.items():
            whole = whole + again(reader(given.values[name], given.keep[name]), count)
        tokens = []
        for name, reader in self.rows.items():
            summary_BD, row_BLD = reader(given.values[name], given.keep[name])
            whole = whole + again(summary_BD, count)
            tokens.append(again(row_BLD, count))
        return Read(whole, torch.cat(tokens, 1) if tokens else None)


def again(rows: Tensor, count: int) -> Tensor:
    """Repeat all rows until there are `count`."""
    return rows if len(rows) == count else rows.repeat(count // len(rows), *(1,) * (rows.ndim - 1))


class WholeReader(nn.Module):
    """A label or some numbers as one vector."""

    def __init__(self, space: Space, width: int) -> None:
        super().__init__()
        self.enter = nn.Embedding(space.vocab, width) if space.vocab else nn.Linear(space.channels or 0, width)
        self.absent = nn.Parameter(torch.randn(width) * 0.02)
        self.layers = nn.Sequential(nn.SiLU(), nn.Linear(width, width))

    def forward(self, value: Tensor, keep_B: Tensor) -> Tensor:
        return self.layers(torch.where(keep_B[:, None], self.enter(value), self.absent))


class RowReader(nn.Module):
    """A text, a picture, a sound … as tokens: one for each position or, in long grids, for each patch; a small transformer reads them."""

    def __init__(self, space: Space, width: int, depth: int) -> None:
        super().__init__()
        self.patches = Patches(space, patch_for(space, LONGEST))
        inner = self.patches.space
        self.enter = nn.Embedding(space.vocab, width) if space.vocab else nn.Linear(inner.channels or 0, width)
        self.absent = nn.Parameter(torch.randn(width) * 0.02)
        self.blocks = nn.ModuleList(ReadingBlock(width) for _ in range(depth))
        self.norm = Norm(width)
        self.summary = nn.Linear(width, width)
        self.register_buffer("turn", rotary(coordinates(inner.shape), width // heads_of(width)), persistent=False)

    def forward(self, value: Tensor, keep: Tensor) -> tuple[Tensor, Tensor]:
        """Give the row's part of the whole (B, D), and its tokens (B, N, D); `keep` is (B,) or (B, N)."""
        x_BND = self.enter(self.patches.split(value))
        x_BND = torch.where(keep.view(len(keep), -1, 1), x_BND, self.absent)
        for block in self.blocks:
            x_BND = block(x_BND, self.turn)
        row_BND = self.norm(x_BND)
        return self.summary(row_BND.mean(1)), row_BND


class ReadingBlock(nn.Module):
    """One pre-norm transformer block that sees everything."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.attention, self.layer = Attention(width, heads_of(width)), GatedLayer(width)
        self.norm_1, self.norm_2 = Norm(width), Norm(width)

    def forward(self, x_BND: Tensor, turn: Tensor) -> Tensor:
        x_BND = x_BND + self.attention(self.norm_1(x_BND), turn=turn)
        return x_BND + self.layer(self.norm_2(x_BND))


class Patches:
    """A grid of numbers as a row of patches and back: (B, *S, C) ↔ (B, N, patch · C). Ids stay one to a position: (B, *S) → (B, N)."""

    def __init__(self, space: Space, patch: tuple[int, ...]) -> None:
        assert all(n % p == 0 for n, p in zip(space.shape, patch, strict=True)), f"{patch} does not divide {space.shape}"
        self.outer, self.patch = space, patch
        grid = tuple(n // p for n, p in zip(space.shape, patch, strict=True))
        size = prod(patch)
        self.space = Space(axes=space.axes, shape=grid, channels=size * space.channels) if space.channels else space

    def split(self, x: Tensor) -> Tensor:
        if self.outer.is_ids:
            return x.reshape(len(x), -1)
        rank = len(self.patch)
        pairs = [part for g, p in zip(self.space.shape, self.patch, strict=True) for part in (g, p)]
        x = x.reshape(len(x), *pairs, -1)
        order = (0, *range(1, 2 * rank, 2), *range(2, 2 * rank + 1, 2), 2 * rank + 1)
        return x.permute(order).reshape(len(x), self.space.positions, -1)

    def join(self, x_BNC: Tensor, channels: int) -> Tensor:
        rank = len(self.patch)
        x = x_BNC.reshape(len(x_BNC), *self.space.shape, *self.patch, channels)
        order = (0, *(axis for i in range(rank) for axis in (1 + i, 1 + rank + i)), 2 * rank + 1)
        return x.permute(order).reshape(len(x), *self.outer.shape, channels)


def patch_for(space: Space, longest: int) -> tuple[int, ...]:
    """Give the smallest patch (halving the longest axes first) that leaves at most `longest` positions; ids are never patched."""
    patch = [1] * len(space.shape)
    if space.is_ids:
        return tuple(patch)
    grid = list(space.shape)
    while prod(grid) > longest:
        halvable = [axis for axis, n in enumerate(grid) if n % 2 == 0]
        if not halvable:
            break
        axis = max(halvable, key=lambda a: grid[a])
        grid[axis] //= 2
        patch[axis] *= 2
    return tuple(patch)


def tokens_of(space: Space) -> int:
    """Give the number of tokens that a given value with axes becomes."""
    return Patches(space, patch_for(space, LONGEST)).space.positions


def patch_to(space: Space, latent: Space, longest: int) -> tuple[int, ...]:
    """Give the patch that leaves one position of `space` for each of a latent with axes; for a latent without, `patch_for`."""
    if not latent.axes:
        return patch_for(space, longest)
    assert len(latent.shape) == len(space.shape), f"a latent of shape {latent.shape} does not lie on {space.shape}"
    return tuple(n // coarse for n, coarse in zip(space.shape, latent.shape, strict=True))
