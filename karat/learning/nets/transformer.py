"""A transformer for values with any number of axes, in four roles: mapper, reader, writer, and the causal one for rows of ids.

The shape is Qwen3's (RMSNorm, rotary positions, QK-norm, SwiGLU), so that a language model exports by renaming. Where a time or a whole is
given, blocks are modulated as in DiT (Peebles & Xie 2023, arXiv 2212.09748: adaLN-zero); what is given with axes is attended to.
"""

from collections.abc import Mapping
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from karat.learning.nets.parts import Attention, Cache, Dropout, GatedLayer, Norm, TimeEmbedding, coordinates, heads_of, rotary
from karat.learning.nets.reading import GivenReader, Patches, Read, patch_for, patch_to, tokens_of
from karat.values.given import Given
from karat.values.spaces import Space
from karat.words.specs import Spec


class TransformerSpec(Spec):
    """The size of a transformer; `longest` is the most positions a grid may keep before it is cut into patches."""

    kind: Literal["transformer"] = "transformer"
    width: int = Field(128, ge=8)
    depth: int = Field(4, ge=1)
    longest: int = Field(256, ge=1)
    dropout: float = Field(0.0, ge=0, lt=1)


class ModulatedBlock(nn.Module):
    """Self-attention, attention to what is given, a gated layer; each shifted, scaled and gated by the whole."""

    def __init__(self, width: int, *, attends: bool, dropout: float) -> None:
        super().__init__()
        heads = heads_of(width)
        self.attention, self.layer = Attention(width, heads), GatedLayer(width)
        self.across = Attention(width, heads) if attends else None
        self.norm_1, self.norm_2 = nn.RMSNorm(width, elementwise_affine=False), nn.RMSNorm(width, elementwise_affine=False)
        self.norm_across = Norm(width) if attends else None
        self.modulation = nn.Linear(width, 4 * width)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)
        self.dropout = Dropout(dropout)

    def forward(self, x_BND: Tensor, whole_BD: Tensor, tokens_BLD: Tensor | None, turn: Tensor) -> Tensor:
        shift_1, scale_1, shift_2, scale_2 = self.modulation(nn.functional.silu(whole_BD))[:, None].chunk(4, -1)
        x_BND = x_BND + self.dropout(self.attention(self.norm_1(x_BND) * (1 + scale_1) + shift_1, turn=turn))
        if self.across is not None and self.norm_across is not None and tokens_BLD is not None:
            x_BND = x_BND + self.across(self.norm_across(x_BND), tokens_BLD)
        return x_BND + self.dropout(self.layer(self.norm_2(x_BND) * (1 + scale_2) + shift_2))


class Trunk(nn.Module):
    """Positions through modulated blocks."""

    turn: Tensor

    def __init__(self, grid: Space, given: Mapping[str, Space], spec: TransformerSpec) -> None:
        super().__init__()
        attends = any(space.axes for space in given.values())
        self.given = GivenReader(given, spec.width)
        self.blocks = nn.ModuleList(ModulatedBlock(spec.width, attends=attends, dropout=spec.dropout) for _ in range(spec.depth))
        self.norm = Norm(spec.width)
        self.place = nn.Parameter(torch.randn(grid.positions, spec.width) * 0.02)
        self.register_buffer("turn", rotary(coordinates(grid.shape), spec.width // heads_of(spec.width)), persistent=False)

    def forward(self, x_BND: Tensor, given: Given, whole_BD: Tensor | None = None) -> Tensor:
        read = self.given(given, len(x_BND))
        whole = read.whole_BD if whole_BD is None else read.whole_BD + whole_BD
        x_BND = x_BND + self.place
        for block in self.blocks:
            x_BND = block(x_BND, whole, read.tokens_BLD, self.turn)
        return self.norm(x_BND)


class TransformerMapper(nn.Module):
    """Numbers of one space to numbers on the same axes, at a time: (B, *S, C) → (B, *S, C')."""

    def __init__(self, space: Space, channels: int, given: Mapping[str, Space], spec: TransformerSpec) -> None:
        super().__init__()
        self.channels = channels
        self.patches = Patches(space, patch_for(space, spec.longest))
        inner = self.patches.space
        self.enter = nn.Linear(inner.channels or 0, spec.width)
        self.time = TimeEmbedding(spec.width)
        self.trunk = Trunk(inner, given, spec)
        self.leave = nn.Linear(spec.width, (inner.channels or 0) // (space.channels or 1) * channels)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def forward(self, x_BSC: Tensor, t_B: Tensor, given: Given) -> Tensor:
        x_BND = self.trunk(self.enter(self.patches.split(x_BSC)), given, self.time(t_B))
        return self.patches.join(self.leave(x_BND), self.channels)


class TransformerReader(nn.Module):
    """Numbers of a space to a latent: (B, *S, C) → (B, *latent). A latent with axes gets one patch of the space for each position."""

    def __init__(self, space: Space, latent: Space, given: Mapping[str, Space], spec: TransformerSpec) -> None:
        super().__init__()
        self.latent = latent
        self.patches = Patches(space, patch_to(space, latent, spec.longest))
        self.enter = nn.Linear(self.patches.space.channels or 0, spec.width)
        self.trunk = Trunk(self.patches.space, given, spec)
        self.leave = nn.Linear(spec.width, latent.channels or 0)

    def forward(self, x_BSC: Tensor, given: Given) -> Tensor:
        x_BND = self.trunk(self.enter(self.patches.split(x_BSC)), given)
        x = self.leave(x_BND if self.latent.axes else x_BND.mean(1))
        return x.reshape(len(x), *self.latent.value_shape)


class TransformerWriter(nn.Module):
    """A latent to numbers of a space: (B, *latent) → (B, *S, C)."""

    def __init__(self, latent: Space, space: Space, given: Mapping[str, Space], spec: TransformerSpec) -> None:
        super().__init__()
        self.latent, self.channels = latent, space.channels or 0
        self.patches = Patches(space, patch_to(space, latent, spec.longest))
        self.enter = nn.Linear(latent.channels or 0, spec.width)
        self.trunk = Trunk(self.patches.space, given, spec)
        self.leave = nn.Linear(spec.width, self.patches.space.channels or 0)

    def forward(self, z: Tensor, given: Given) -> Tensor:
        z_BND = self.enter(z.reshape(len(z), self.latent.positions, -1))
        x_BND = self.trunk(z_BND.expand(-1, self.patches.space.positions, -1), given, z_BND.mean(1))
        return self.patches.join(self.leave(x_BND), self.channels)


class CausalBlock(nn.Module):
    """The block of a language model."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.attention, self.layer = Attention(width, heads_of(width)), GatedLayer(width)
        self.norm_1, self.norm_2 = Norm(width), Norm(width)
        self.dropout = Dropout(dropout)

    def forward(self, x_BND: Tensor, turn: Tensor, cache: Cache | None, mask: Tensor | None = None) -> Tensor:
        causal = mask is None and x_BND.shape[1] > 1
        x_BND = x_BND + self.dropout(self.attention(self.norm_1(x_BND), turn=turn, mask=mask, causal=causal, cache=cache))
        return x_BND + self.dropout(self.layer(self.norm_2(x_BND)))


class CausalTransformer(nn.Module):
    """The next id at each position of a row, after what is given: (B, N) ids → (B, N, V) logits.

    What is given stands before the row: one position for the whole of it, one for each of its tokens. The whole is added to id 0, which
    opens every row. With `apart`, what stands before another id 0 in a row is not seen from behind it.
    """

    turn: Tensor

    def __init__(self, space: Space, given: Mapping[str, Space], spec: TransformerSpec, *, apart: bool = False) -> None:
        super().__init__()
        assert space.vocab is not None
        assert not (apart and given), "rows under conditions hold one value each"
        self.space, self.apart = space, apart
        self.given = GivenReader(given, spec.width)
        self.enter = nn.Embedding(space.vocab, spec.width)
        nn.init.normal_(self.enter.weight, std=0.02)
        axes = len(space.shape)
        self.places = nn.ParameterList(nn.Parameter(torch.randn(n, spec.width) * 0.02) for n in space.shape) if axes > 1 else None
        self.blocks = nn.ModuleList(CausalBlock(spec.width, spec.dropout) for _ in range(spec.depth))
        self.norm = Norm(spec.width)
        self.leave = nn.Linear(spec.width, space.vocab, bias=False)
        nn.init.zeros_(self.leave.weight)
        self.lead = 1 + sum(tokens_of(space) for space in given.values() if space.axes)
        steps = torch.arange(self.lead + space.positions)[:, None]
        self.register_buffer("turn", rotary(steps, spec.width // heads_of(spec.width)), persistent=False)

    def forward(self, ids_BN: Tensor, given: Given) -> Tensor:
        """Give the logits of every id of whole rows (the last id has no successor and is not read)."""
        x_BND = torch.cat([self.opening(given, len(ids_BN)), self._embed(ids_BN[:, :-1], 1)], 1)
        mask = apart_mask(ids_BN) if self.apart else None
        for block in self.blocks:
            x_BND = block(x_BND, self.turn[: x_BND.shape[1]], None, mask)
        return self.leave(self.norm(x_BND[:, self.lead - 1 :]))

    def states(self, ids_BN: Tensor, given: Given) -> Tensor:
        """Give what the last block makes of each id of some rows: (B, N) ids → (B, N, D)."""
        x_BND = torch.cat([self.opening(given, len(ids_BN)), self._embed(ids_BN, 1)], 1)
        for block in self.blocks:
            x_BND = block(x_BND, self.turn[: x_BND.shape[1]], None)
        return self.norm(x_BND[:, self.lead :])

    def opening(self, given: Given, count: int) -> Tensor:
        """Give the embeddings (B, lead, D) that come before the first id."""
        read: Read = self.given(given, count)
        first_B1D = (self.enter.weight[0] + read.whole_BD)[:, None] + self._place(torch.zeros(1, dtype=torch.long))
        return first_B1D if read.tokens_BLD is None else torch.cat([read.tokens_BLD, first_B1D], 1)

    def step(self, x_BND: Tensor, at: int, caches: list[Cache]) -> Tensor:
        """Go on by some positions that begin at `at` and give the logits (B, V) after the last."""
        for block, cache in zip(self.blocks, caches, strict=True):
            x_BND = block(x_BND, self.turn[at : at + x_BND.shape[1]], cache)
        return self.leave(self.norm(x_BND[:, -1]))

    def embed(self, ids_B: Tensor, position: int) -> Tensor:
        """Give the embedding (B, 1, D) of the id before `position`, told where the next one stands."""
        return self._embed(ids_B[:, None], position)

    def caches(self) -> list[Cache]:
        return [Cache(self.lead + self.space.positions) for _ in self.blocks]

    def _embed(self, ids_BN: Tensor, first: int) -> Tensor:
        return self.enter(ids_BN) + self._place(torch.arange(first, first + ids_BN.shape[1]))

    def _place(self, positions: Tensor) -> Tensor:
        """Say where in a grid the id to come stands; a row of one axis needs no more than its rotary positions."""
        if self.places is None:
            return self.enter.weight.new_zeros(len(positions), self.enter.embedding_dim)
        index = torch.unravel_index(positions.to(self.enter.weight.device), self.space.shape)
        return sum((place[i] for place, i in zip(self.places, index, strict=True)), self.enter.weight.new_zeros(1))


def apart_mask(ids_BN: Tensor) -> Tensor:
    """Say which earlier positions (B, 1, N, N) each position may see, when id 0 parts a row of ids into pieces that begin behind it."""
    piece_BN = F.pad((ids_BN[:, :-1] == 0).cumsum(1), (1, 0))
    return (piece_BN[:, :, None] == piece_BN[:, None, :]).tril()[:, None]
