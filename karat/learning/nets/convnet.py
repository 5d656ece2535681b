"""A convnet for grids of rank 1 to 3: a U-Net mapper, its way down as a reader, its way up as a writer.

After Ho et al. 2020 (arXiv 2006.11239) with the scale-shift conditioning of Dhariwal & Nichol 2021 (arXiv 2105.05233); attention stands
only where the grid is coarse, and attends to what is given there. Rank is data: the same classes serve sounds, pictures and videos.
"""

from collections.abc import Mapping
from math import prod
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from karat.learning.nets.parts import Attention, Dropout, Norm, TimeEmbedding, heads_of
from karat.learning.nets.reading import GivenReader, Patches, Read
from karat.values.given import Given
from karat.values.spaces import Space
from karat.words.specs import Spec

CONVS: dict[int, type[nn.Module]] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
MEANS: dict[int, type[nn.Module]] = {1: nn.AvgPool1d, 2: nn.AvgPool2d, 3: nn.AvgPool3d}
BETWEEN = {1: "linear", 2: "bilinear", 3: "trilinear"}


class ConvnetSpec(Spec):
    """The size of a convnet: `width` channels on the finest grid, times each of `levels` as the grid is halved.

    `fold` first gathers fold × fold … neighbours into channels, which makes a large grid cheap. Folds and strides treat neighbours
    differently, which a critic's slope hands on to a generator as a chequered pattern; `smooth` steps treat them alike.
    """

    kind: Literal["convnet"] = "convnet"
    width: int = Field(32, ge=8)
    levels: tuple[int, ...] = (1, 2, 2)
    blocks: int = Field(1, ge=1)
    fold: int = Field(1, ge=1)
    attention_at: int = Field(8, ge=1, description="attention stands where no axis is longer than this")
    dropout: float = Field(0.0, ge=0, lt=1)
    smooth: bool = Field(False, description="grids shrink by means and grow by interpolation, as in StyleGAN (arXiv 1812.04948)")


class Block(nn.Module):
    """Two convolutions with group norm, shifted and scaled by the whole; the second starts at nothing."""

    def __init__(self, rank: int, channels: tuple[int, int], whole: int, dropout: float) -> None:
        super().__init__()
        conv, (narrow, wide) = CONVS[rank], channels
        self.norm_1, self.norm_2 = norm(narrow), norm(wide)
        self.conv_1 = conv(narrow, wide, 3, padding=1)
        self.conv_2 = conv(wide, wide, 3, padding=1)
        self.conv_2.apply(silence)
        self.modulation = nn.Linear(whole, 2 * wide)
        self.dropout = Dropout(dropout)
        self.skip = conv(narrow, wide, 1) if narrow != wide else nn.Identity()

    def forward(self, x_BCS: Tensor, whole_BD: Tensor) -> Tensor:
        h = self.conv_1(F.silu(self.norm_1(x_BCS)))
        shift, scale = self.modulation(F.silu(whole_BD)).chunk(2, -1)
        spread = (..., *(None,) * (x_BCS.ndim - 2))
        h = self.norm_2(h) * (1 + scale[spread]) + shift[spread]
        return self.skip(x_BCS) + self.conv_2(self.dropout(F.silu(h)))


class Mixing(nn.Module):
    """Attention among the positions of a coarse grid, and from there to the tokens that are given."""

    def __init__(self, channels: int, *, tokens: int | None) -> None:
        super().__init__()
        self.norm = Norm(channels)
        self.attention = Attention(channels, heads_of(channels))
        self.enter = nn.Linear(tokens, channels, bias=False) if tokens else None
        self.norm_across = Norm(channels) if tokens else None
        self.across = Attention(channels, heads_of(channels)) if tokens else None

    def forward(self, x_BCS: Tensor, tokens_BLD: Tensor | None) -> Tensor:
        x_BND = x_BCS.flatten(2).transpose(1, 2)
        x_BND = x_BND + self.attention(self.norm(x_BND))
        if tokens_BLD is not None and self.enter is not None and self.across is not None and self.norm_across is not None:
            x_BND = x_BND + self.across(self.norm_across(x_BND), self.enter(tokens_BLD))
        return x_BND.transpose(1, 2).reshape(x_BCS.shape)


class Level(nn.Module):
    """The blocks of one grid, with attention where the grid is coarse."""

    def __init__(self, plan: "Plan", level: int, enters: list[int]) -> None:
        super().__init__()
        wide = plan.channels[level]
        self.blocks = nn.ModuleList(Block(plan.rank, (narrow, wide), plan.whole, plan.spec.dropout) for narrow in enters)
        self.mixings = nn.ModuleList(Mixing(wide, tokens=plan.tokens) for _ in enters) if plan.attends(level) else None

    def forward(self, x_BCS: Tensor, read: Read, only: int | None = None) -> Tensor:
        """Go through all blocks, or through `only` one."""
        for index in range(len(self.blocks)) if only is None else (only,):
            x_BCS = self.blocks[index](x_BCS, read.whole_BD)
            if self.mixings is not None:
                x_BCS = self.mixings[index](x_BCS, read.tokens_BLD)
        return x_BCS


class Plan:
    """The grids and channels of a convnet, from the finest to the coarsest, and the layers between them."""

    def __init__(self, space: Space, given: Mapping[str, Space], spec: ConvnetSpec) -> None:
        self.spec, self.rank, self.outer = spec, len(space.shape), space
        self.fold = tuple(spec.fold if n % spec.fold == 0 else 1 for n in space.shape)
        self.pooled = spec.smooth and prod(self.fold) > 1
        self.patches = Patches(space, (1,) * self.rank if self.pooled else self.fold)
        self.grids = [tuple(n // fold for n, fold in zip(space.shape, self.fold, strict=True))]
        for _ in spec.levels[1:]:
            last = self.grids[-1]
            self.grids.append(tuple(n // 2 if n % 2 == 0 and n > 2 else n for n in last))
        self.channels = [spec.width * factor for factor in spec.levels]
        self.whole = 4 * spec.width
        self.tokens = self.whole if any(s.axes for s in given.values()) else None

    def attends(self, level: int) -> bool:
        return max(self.grids[level]) <= self.spec.attention_at or (self.tokens is not None and level == len(self.grids) - 1)

    def to_grid(self, x_BSC: Tensor) -> Tensor:
        """Give the grid that `enter` takes, channels first in memory too: group norm in half precision is slow on any other order."""
        return self.patches.split(x_BSC).transpose(1, 2).unflatten(2, self.patches.space.shape).contiguous()

    def from_grid(self, x_BCS: Tensor, channels: int) -> Tensor:
        return self.patches.join(x_BCS.flatten(2).transpose(1, 2), channels)

    def enter(self) -> nn.Module:
        """Give the layer from values on their own grid to channels on the finest one."""
        conv, wide, channels = CONVS[self.rank], self.spec.width, self.patches.space.channels or 0
        if not self.pooled:
            return conv(channels, wide, 3, padding=1)
        return nn.Sequential(conv(channels, wide // 2, 3, padding=1), nn.SiLU(), MEANS[self.rank](self.fold), conv(wide // 2, wide, 1))

    def leave(self, wide: int, channels: int) -> tuple[nn.Module, nn.Module]:
        """Give the layer from channels on the finest grid to values on their own, and the last part of it."""
        conv = CONVS[self.rank]
        if not self.pooled:
            last = conv(wide, prod(self.fold) * channels, 3, padding=1)
            return last, last
        last = conv(wide // 2, channels, 3, padding=1)
        grow = nn.Upsample(size=self.outer.shape, mode=BETWEEN[self.rank])
        return nn.Sequential(conv(wide, wide // 2, 3, padding=1), grow, nn.SiLU(), last), last

    def down(self, level: int) -> nn.Module:
        stride = tuple(fine // coarse for fine, coarse in zip(self.grids[level - 1], self.grids[level], strict=True))
        conv, wide = CONVS[self.rank], self.channels[level - 1]
        if not self.spec.smooth:
            return conv(wide, wide, 3, stride=stride, padding=1)
        return nn.Sequential(MEANS[self.rank](stride), conv(wide, wide, 3, padding=1))

    def grown(self, x_BCS: Tensor, level: int) -> Tensor:
        """Bring channels onto the grid of a level."""
        return F.interpolate(x_BCS, size=self.grids[level], mode=BETWEEN[self.rank] if self.spec.smooth else "nearest")


class ConvnetMapper(nn.Module):
    """A U-Net: numbers of one space to numbers on the same axes, at a time: (B, *S, C) → (B, *S, C')."""

    def __init__(self, space: Space, channels: int, given: Mapping[str, Space], spec: ConvnetSpec) -> None:
        super().__init__()
        self.plan = plan = Plan(space, given, spec)
        self.channels = channels
        self.given, self.time = GivenReader(given, plan.whole), TimeEmbedding(plan.whole)
        self.enter = plan.enter()
        kept, wide, downs, shrinks = [spec.width], spec.width, [], []
        for level, channel in enumerate(plan.channels):
            if level:
                shrinks.append(plan.down(level))
                kept.append(wide)
            downs.append(Level(plan, level, [wide] + [channel] * (spec.blocks - 1)))
            kept += [channel] * spec.blocks
            wide = channel
        self.downs, self.shrinks = nn.ModuleList(downs), nn.ModuleList(shrinks)
        self.middle = Level(plan, len(plan.channels) - 1, [wide])
        ups, grows = [], []
        for level in reversed(range(len(plan.channels))):
            enters = []
            for _ in range(spec.blocks + 1):
                enters.append(wide + kept.pop())
                wide = plan.channels[level]
            ups.append(Level(plan, level, enters))
            if level:
                grows.append(CONVS[plan.rank](wide, wide, 3, padding=1))
        self.ups, self.grows = nn.ModuleList(ups), nn.ModuleList(grows)
        self.norm = norm(wide)
        self.leave, last = plan.leave(wide, channels)
        last.apply(silence)

    def forward(self, x_BSC: Tensor, t_B: Tensor, given: Given) -> Tensor:
        read = self.given(given, len(x_BSC))
        read = Read(read.whole_BD + self.time(t_B), read.tokens_BLD)
        x = self.enter(self.plan.to_grid(x_BSC))
        kept = [x]
        for level, down in enumerate(self.downs):
            if level:
                x = self.shrinks[level - 1](x)
                kept.append(x)
            for index in range(self.plan.spec.blocks):
                x = down(x, read, index)
                kept.append(x)
        x = self.middle(x, read)
        for index, up in enumerate(self.ups):
            for block in range(self.plan.spec.blocks + 1):
                x = up(torch.cat([x, kept.pop()], 1), read, block)
            if index < len(self.grows):
                x = self.grows[index](self.plan.grown(x, -index - 2))
        return self.plan.from_grid(self.leave(F.silu(self.norm(x))), self.channels)


class ConvnetReader(nn.Module):
    """The way down: numbers of a space to a latent: (B, *S, C) → (B, *latent). A latent on the coarsest grid keeps its places."""

    def __init__(self, space: Space, latent: Space, given: Mapping[str, Space], spec: ConvnetSpec) -> None:
        super().__init__()
        self.plan = plan = Plan(space, given, spec)
        self.given = GivenReader(given, plan.whole)
        self.enter = plan.enter()
        widths = [spec.width, *plan.channels]
        self.downs = nn.ModuleList(Level(plan, i, [widths[i]] + [c] * (spec.blocks - 1)) for i, c in enumerate(plan.channels))
        self.shrinks = nn.ModuleList(plan.down(level) for level in range(1, len(plan.channels)))
        self.norm = norm(plan.channels[-1])
        self.latent, self.in_place = latent, latent.shape == plan.grids[-1]
        places = 1 if self.in_place else prod(plan.grids[-1])
        self.leave = nn.Linear(plan.channels[-1] * places, prod(latent.value_shape) if places > 1 else latent.channels or 0)

    def forward(self, x_BSC: Tensor, given: Given) -> Tensor:
        read = self.given(given, len(x_BSC))
        x = self.enter(self.plan.to_grid(x_BSC))
        for level, down in enumerate(self.downs):
            x = down(self.shrinks[level - 1](x) if level else x, read)
        x = F.silu(self.norm(x))
        x = x.flatten(2).transpose(1, 2) if self.in_place else x.flatten(1)
        return self.leave(x).reshape(len(x), *self.latent.value_shape)


class ConvnetWriter(nn.Module):
    """The way up: a latent to numbers of a space: (B, *latent) → (B, *S, C)."""

    def __init__(self, latent: Space, space: Space, given: Mapping[str, Space], spec: ConvnetSpec) -> None:
        super().__init__()
        self.plan = plan = Plan(space, given, spec)
        self.channels = space.channels or 0
        self.given = GivenReader(given, plan.whole)
        self.in_place, size = latent.shape == plan.grids[-1], prod(latent.value_shape)
        wide = plan.channels[-1]
        self.enter = nn.Linear(latent.channels or 0, wide) if self.in_place else nn.Linear(size, wide * prod(plan.grids[-1]))
        self.whole = None if self.in_place else nn.Linear(size, plan.whole)
        widths = [*plan.channels, plan.channels[-1]]
        ups = range(len(plan.channels) - 1, -1, -1)
        self.ups = nn.ModuleList(Level(plan, i, [widths[i + 1]] + [widths[i]] * (spec.blocks - 1)) for i in ups)
        self.norm = norm(spec.width * spec.levels[0])
        self.leave, last = plan.leave(plan.channels[0], self.channels)
        align(last, self.channels)

    def forward(self, z: Tensor, given: Given) -> Tensor:
        read = self.given(given, len(z))
        if self.whole is None:
            x = self.enter(z).flatten(1, -2).transpose(1, 2)
        else:
            x = self.enter(z.flatten(1))
            read = Read(read.whole_BD + self.whole(z.flatten(1)), read.tokens_BLD)
        x = x.reshape(len(z), -1, *self.plan.grids[-1])
        for index, up in enumerate(self.ups):
            if index:
                x = self.plan.grown(x, -index - 1)
            x = up(x, read)
        return self.plan.from_grid(self.leave(F.silu(self.norm(x))), self.channels)


def norm(channels: int) -> nn.GroupNorm:
    """Group norm with at most 8 groups of at least 4 channels."""
    groups = next(g for g in (8, 4, 2, 1) if channels % g == 0 and channels // g >= min(4, channels))
    return nn.GroupNorm(groups, channels)


def silence(layer: nn.Module) -> None:
    """Start a layer at nothing."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)


@torch.no_grad()
def align(layer: nn.Module, channels: int) -> None:
    """Start a layer that makes several neighbours at once so that they are alike, or their differences stay as a chequered pattern.

    After Aitken et al. 2017 (arXiv 1707.02937).
    """
    for parameter in layer.parameters():
        alike = parameter[:channels].repeat(len(parameter) // channels, *(1,) * (parameter.ndim - 1))
        parameter.copy_(alike)
