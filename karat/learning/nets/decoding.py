"""Decoding: a causal transformer in the form that writes fastest. The same function up to rounding, and to the bit the same for each row.

Projections that read the same are one matrix, norms' weights are folded into the matrices that follow them, the channels that turn
together lie side by side, so that a rotation is one complex product. Rows of different lengths share a step: each has its keys and values
from its first place on, and what lies behind its end is masked.

A row's numbers must not depend on the rows beside it. A matrix product on the CPU gives a row the same bits among 2 to 16 rows (for one
row, or more than 16, other kernels may run), so a single row is computed twice; attention does where the number of places is a multiple of
16, the width of the widest vectors, and functions of single numbers where the width of a row is. Whether that holds on the machine at hand
is tried out once; where it does not, every step has 16 rows and the whole context.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from karat.learning.nets.parts import Norm
from karat.learning.nets.transformer import CausalBlock, CausalTransformer
from karat.values.given import Given

ROWS = 16
"""The most rows of one step."""
STRIDE = 32
"""Attention reaches over a multiple of so many places."""
HIDDEN = 64
"""Gated layers get a multiple of so many channels, those that are added being nothing."""
TINY = torch.finfo(torch.float32).eps
"""What a norm adds to the mean square."""


class Decoder(Protocol):
    """What writes ids: it reads a prompt into a row, then steps all rows from the first one on by an id each."""

    vocab: int
    longest: int
    """The most ids of a prompt and what follows it together."""
    rows: int
    """The most rows at once."""

    def begin(self, row: int, ids: Sequence[int], given: Given) -> Tensor:
        """Read a prompt into a row, in place of what it held, and give the logits (V,) of the id that follows."""
        ...

    def step(self, ids: Sequence[int]) -> Tensor:
        """Give each of the first rows its next id, and give the logits (B, V) of those that follow."""
        ...

    def arrange(self, sources: Sequence[int]) -> None:
        """Let row i be what row `sources[i]` was."""
        ...


@dataclass(frozen=True)
class Layer:
    """The matrices of a block, ready to be multiplied from the right."""

    mix_in: Tensor
    turned: Tensor
    mix_out: Tensor
    gate: Tensor
    up: Tensor
    down: Tensor

    @classmethod
    def of(cls, block: CausalBlock) -> "Layer":
        attention, layer, heads = block.attention, block.layer, block.attention.heads
        pairs = _paired(attention.query_norm.weight.shape[0]).to(attention.query_norm.weight.device)
        query, key = (_by_head(part.weight, heads)[:, pairs].flatten(0, 1) for part in (attention.query, attention.key))
        scales = [_scale(norm)[pairs].expand(heads, -1) for norm in (attention.query_norm, attention.key_norm)]
        spare = -layer.gate.out_features % HIDDEN
        return cls(
            mix_in=_after(block.norm_1, torch.cat([query, key, attention.value.weight])),
            turned=torch.cat(scales),
            mix_out=attention.out.weight.t().contiguous(),
            gate=F.pad(_after(block.norm_2, layer.gate.weight), (0, spare)),
            up=F.pad(_after(block.norm_2, layer.up.weight), (0, spare)),
            down=F.pad(layer.down.weight.t(), (0, 0, 0, spare)).contiguous(),
        )


class CausalDecoder:
    """Rows of ids through a `CausalTransformer`, one id a step. Its weights are copies: build it again when the net has learnt more."""

    def __init__(self, net: CausalTransformer) -> None:
        with torch.inference_mode():
            self.net, self.rows = net, ROWS
            self.vocab, self.longest = net.leave.out_features, net.space.positions
            self.layers = [Layer.of(block) for block in net.blocks if isinstance(block, CausalBlock)]
            self.leave = _after(net.norm, net.leave.weight)
            self.device, self.width = self.leave.device, self.leave.shape[0]
            self.heads, self.part = self.layers[0].turned.shape[0] // 2, self.layers[0].turned.shape[1]
            self.turn = torch.polar(torch.ones_like(net.turn), net.turn)[:, None]
            self.places = torch.arange(_rounded(net.lead + self.longest), device=self.device)
            self.steady, self.lengths, self.room = True, [0] * ROWS, 0
            self.cache = torch.empty(0, 0)
            self.steady = self._is_steady()

    def begin(self, row: int, ids: Sequence[int], given: Given) -> Tensor:
        """Read a prompt into a row. How it is computed follows from its length alone."""
        with torch.inference_mode():
            return self._read(row, self.net.opening(given.to(self.device), 1)[0], ids)

    def step(self, ids: Sequence[int]) -> Tensor:
        """Go on by an id in each of the first rows."""
        with torch.inference_mode():
            wanted = len(ids)
            rows = ROWS if not self.steady else max(2, wanted)
            lengths = [*self.lengths[:wanted], *[self.lengths[0]] * (rows - wanted)]
            self._reserve(wanted, max(lengths) + 1)
            reach = _rounded(max(lengths) + 1) if self.steady else self.room
            at_B = torch.tensor(lengths, device=self.device)
            hidden_BN = self.places[:reach] > at_B[:, None]
            mask = torch.zeros(rows, reach, device=self.device).masked_fill_(hidden_BN, -torch.inf)[:, None, None]
            # Rows that only fill up the step repeat the first one, and keep nothing.
            kept = wanted * 2 * self.heads
            slots = (torch.arange(kept, device=self.device) * self.room).view(wanted, -1).add_(at_B[:wanted, None]).flatten()
            flat = self.cache.view(len(self.layers), -1, self.part)
            attending = rows if not self.steady else wanted

            def mix(layer: int, q_BKC: Tensor, kv_BKC: Tensor) -> Tensor:
                flat[layer].index_copy_(0, slots, kv_BKC[:wanted].reshape(kept, self.part))
                k, v = self.cache[layer, :attending, :, :reach].chunk(2, 1)
                mixed = F.scaled_dot_product_attention(q_BKC[:attending, :, None], k, v, attn_mask=mask[:attending])
                return mixed.reshape(attending, self.width).expand(rows, -1)

            filled = torch.tensor([*ids, *[ids[0]] * (rows - wanted)], device=self.device)
            x_BD = self._through(self.net.enter.weight.index_select(0, filled), self.turn.index_select(0, at_B), mix)
            for row in range(wanted):
                self.lengths[row] += 1
            return (self._normed(x_BD) @ self.leave)[:wanted]

    def arrange(self, sources: Sequence[int]) -> None:
        """Copy the rows that change."""
        changed = [row for row, source in enumerate(sources) if row != source]
        if not changed:
            return
        with torch.inference_mode():
            reach = max(self.lengths[sources[row]] for row in changed)
            self._reserve(len(sources), reach)
            moved = self.cache[:, [sources[row] for row in changed], :, :reach]
            self.cache[:, changed, :, :reach] = moved
            self.lengths = [*(self.lengths[source] for source in sources), *self.lengths[len(sources) :]]

    def _read(self, row: int, opening_ND: Tensor, ids: Sequence[int]) -> Tensor:
        after_ND = self.net.enter.weight.index_select(0, torch.tensor(ids, dtype=torch.long, device=self.device))
        x_ND = torch.cat([opening_ND, after_ND])
        count = len(x_ND)
        self._reserve(row + 1, count)
        self.lengths[row] = count

        def mix(layer: int, q_NKC: Tensor, kv_NKC: Tensor) -> Tensor:
            cache_KNC = self.cache[layer, row, :, :count]
            cache_KNC.copy_(kv_NKC.transpose(0, 1))
            k_KNC, v_KNC = cache_KNC.chunk(2)
            mixed = F.scaled_dot_product_attention(q_NKC.transpose(0, 1)[None], k_KNC[None], v_KNC[None], is_causal=count > 1)
            return mixed[0].transpose(0, 1).reshape(count, self.width)

        x_ND = self._through(x_ND, self.turn[:count], mix)
        return (self._normed(x_ND[-1:]) @ self.leave)[0]

    def _through(self, x: Tensor, turn: Tensor, mix: Callable[[int, Tensor, Tensor], Tensor]) -> Tensor:
        """Send positions (M, D) through all layers; `mix` stores keys and values (M, 2K, C) and attends with the queries (M, K, C)."""
        heads, part = self.heads, self.part
        for number, layer in enumerate(self.layers):
            mixed = (self._normed(x) @ layer.mix_in).view(-1, 3 * heads, part)
            turning = mixed[:, : 2 * heads]
            size = torch.linalg.vector_norm(turning, dim=-1, keepdim=True)
            turning.div_(size.square_().add_(part * TINY).sqrt_()).mul_(layer.turned)
            torch.view_as_complex(turning.view(-1, 2 * heads, part // 2, 2)).mul_(turn)
            x = torch.addmm(x, mix(number, mixed[:, :heads], mixed[:, heads:]), layer.mix_out)
            h = self._normed(x)
            x = torch.addmm(x, F.silu(h @ layer.gate).mul_(h @ layer.up), layer.down)
        return x

    def _normed(self, x: Tensor) -> Tensor:
        """Give rows of length 1: what is missing to a root-mean-square norm stands in the matrix that follows."""
        size = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        return x / size.square_().add_(self.width * TINY).sqrt_()

    def _reserve(self, rows: int, places: int) -> None:
        """Make room for so many rows of so many places, keeping what is there: for one row, or for all."""
        there = self.cache.shape[1]
        if places <= self.room and rows <= there:
            return
        assert places <= len(self.places), "a row is full"
        rows = 1 if max(rows, there) == 1 and self.steady else ROWS
        room = self.room if places <= self.room else min(len(self.places), _rounded(max(places, 2 * self.room)))
        room = room if self.steady else len(self.places)
        # What is masked is still multiplied, by nothing; it must be a number.
        cache = torch.zeros(len(self.layers), rows, 2 * self.heads, room, self.part, device=self.device)
        if self.room:
            cache[:, :there, :, : self.room] = self.cache
        self.cache, self.room = cache, room

    def _is_steady(self) -> bool:
        """Try whether a row's numbers stay the same alone, among a few and among many, beside longer ones and in its order."""
        seen = [
            torch.randint(self.vocab, (3 + 7 * row % 23,), generator=torch.Generator().manual_seed(row)).tolist() for row in range(ROWS)
        ]
        seen = [ids[: max(1, self.longest - 1)] for ids in seen]
        start = self.net.enter.weight[:1]
        found = []
        for rows in ((0,), (0, 1), (4, 0, 2), (9, 3, 5, 7, 0), tuple(reversed(range(ROWS)))):
            for row, source in enumerate(rows):
                self._read(row, start, seen[source])
            logits = self.step([seen[source][0] for source in rows])
            found.append(logits[rows.index(0)].clone())
        self.lengths, self.room, self.cache = [0] * ROWS, 0, torch.empty(0, 0)
        return all(torch.equal(each, found[0]) for each in found)


def _rounded(places: int) -> int:
    return -(-places // STRIDE) * STRIDE


def _after(norm: Norm, weight: Tensor) -> Tensor:
    """Give the matrix that follows rows of length 1 in place of a norm and a linear layer."""
    return (weight * _scale(norm)).t().contiguous()


def _scale(norm: Norm) -> Tensor:
    return norm.weight * math.sqrt(norm.weight.shape[0])


def _by_head(weight: Tensor, heads: int) -> Tensor:
    return weight.unflatten(0, (heads, -1))


def _paired(part: int) -> Tensor:
    """Give the order in which channels that turn together lie side by side."""
    return torch.arange(part).view(2, -1).t().flatten()
