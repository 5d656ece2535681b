"""Decoding: a causal transformer in the form that writes fastest. The same function up to rounding, and to the bit the same for each row.

Projections that read the same are one matrix, norms' weights are folded into the matrices that follow them. Rows of different lengths share
a step: each has its keys and values from its first place on, and what lies behind its end is masked. A step of a small net is so short that
more threads bring less than they cost where other programs run: while it goes on, the decoder finds out how many are fastest.

A row's numbers must not depend on the rows beside it. A matrix product on the CPU gives a row the same bits among 2 to 16 rows (for one
row, or more than 16, other kernels may run), so a single row is computed twice; products of whole numbers always do. Attention does where
the number of places is a multiple of 16, the width of the widest vectors, and functions of single numbers where the width of a row is.
Whether that holds on the machine at hand is tried out once; where it does not, every step has 16 rows and the whole context. So it is with
threads: where their number changes a single bit, it does not change.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from karat.learning.nets.matrices import Matrix, Precision, matrix_of
from karat.learning.nets.pacing import Pace, threads
from karat.learning.nets.parts import Norm
from karat.learning.nets.transformer import CausalBlock, CausalTransformer
from karat.values.given import Given

ROWS = 16
"""The most rows of one step."""
STRIDE = 32
"""Attention reaches over a multiple of so many places."""
HIDDEN = 64
"""Gated layers get a multiple of so many channels, those that are added being nothing."""
SMALL = 2**26
"""Weights of a net up to which one thread is enough where the number of threads must not change."""
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

    mix_in: Matrix
    scaled: Tensor
    mix_out: Matrix
    widen: Matrix
    down: Matrix

    @classmethod
    def of(cls, block: CausalBlock, precision: Precision) -> "Layer":
        attention, layer = block.attention, block.layer
        scales = [norm.weight.expand(attention.heads, -1) for norm in (attention.query_norm, attention.key_norm)]
        scaled = torch.cat(scales)
        spare = -layer.gate.out_features % HIDDEN
        widening = [F.pad(_after(block.norm_2, part.weight), (0, spare)) for part in (layer.gate, layer.up)]
        into = torch.cat([part.weight for part in (attention.query, attention.key, attention.value)])
        return cls(
            mix_in=matrix_of(_after(block.norm_1, into), precision),
            scaled=scaled * scaled.shape[1] ** 0.5,
            mix_out=matrix_of(attention.out.weight.t(), precision),
            widen=matrix_of(torch.cat(widening, 1), precision),
            down=matrix_of(F.pad(layer.down.weight.t(), (0, 0, 0, spare)), precision),
        )


class CausalDecoder:
    """Rows of ids through a `CausalTransformer`, one id a step. Its weights are copies: build it again when the net has learnt more."""

    def __init__(self, net: CausalTransformer, precision: Precision = "float32") -> None:
        with torch.inference_mode():
            self.net, self.rows = net, ROWS
            self.vocab, self.longest = net.leave.out_features, net.space.positions
            self.layers = [Layer.of(block, precision) for block in net.blocks if isinstance(block, CausalBlock)]
            self.leave = matrix_of(_after(net.norm, net.leave.weight), precision)
            self.device, self.width = net.leave.weight.device, net.leave.in_features
            self.heads, self.part = self.layers[0].scaled.shape[0] // 2, self.layers[0].scaled.shape[1]
            self.threads = threads_for(sum(weight.numel() for weight in net.parameters()))
            self.pace = Pace([self.threads])
            self.tiny, self.tiny_part = (torch.tensor((size * TINY) ** 0.5, device=self.device) for size in (self.width, self.part))
            turn = net.turn[:, None]
            self.cos, self.sin = torch.cat([turn.cos()] * 2, -1), torch.cat([-turn.sin(), turn.sin()], -1)
            self.places = torch.arange(_rounded(net.lead + self.longest), device=self.device)
            self.steady, self.lengths, self.room = True, [0] * ROWS, 0
            self.cache = torch.empty(0, 0)
            self._looked: tuple[int, int, Tensor, list[tuple[Tensor, Tensor, Tensor]]] = (0, 0, self.cache, [])
            self._try_out()

    def begin(self, row: int, ids: Sequence[int], given: Given) -> Tensor:
        """Read a prompt into a row. How it is computed follows from its length alone."""
        with torch.inference_mode(), threads(self.threads):
            states_ND = self._read(row, self.net.opening(given.to(self.device), 1)[0], ids)
            return self.leave.times(self._normed(states_ND[-1:]))[0]

    def costs(self, ids: Sequence[int]) -> Tensor:
        """Give the nats (N,) of each id after those before it. Takes the place of what the first row held."""
        with torch.inference_mode(), threads(self.threads):
            states_ND = self._read(0, self.net.opening(Given(), 1)[0], ids[:-1])[self.net.lead - 1 :]
            logits_NV = self.leave.times(self._normed(states_ND))
            return F.cross_entropy(logits_NV, torch.tensor(ids, device=self.device), reduction="none")

    def step(self, ids: Sequence[int]) -> Tensor:
        """Go on by an id in each of the first rows."""
        with torch.inference_mode(), self.pace.step(len(ids)):
            wanted = len(ids)
            rows = ROWS if not self.steady else max(self.leave.least, wanted)
            lengths = [*self.lengths[:wanted], *[self.lengths[0]] * (rows - wanted)]
            self._reserve(wanted, max(lengths) + 1)
            reach = _rounded(max(lengths) + 1) if self.steady else self.room
            at_B = torch.tensor(lengths, device=self.device)
            hidden_BN = self.places[:reach] > at_B[:, None]
            mask = torch.zeros(rows, reach, device=self.device).masked_fill_(hidden_BN, -torch.inf)[:, None, None]
            # Rows that only fill up the step repeat the first one, and keep nothing.
            kept = wanted * 2 * self.heads
            slots = (torch.arange(kept, device=self.device) * self.room).view(wanted, -1).add_(at_B[:wanted, None]).flatten()
            attending = rows if not self.steady else wanted
            seen = self._seen(attending, reach)

            def mix(layer: int, q_BKC: Tensor, kv_BKC: Tensor) -> Tensor:
                flat, k, v = seen[layer]
                if attending == rows == wanted:
                    flat.index_copy_(0, slots, kv_BKC.reshape(kept, self.part))
                    return F.scaled_dot_product_attention(q_BKC[:, :, None], k, v, attn_mask=mask).reshape(rows, self.width)
                flat.index_copy_(0, slots, kv_BKC[:wanted].reshape(kept, self.part))
                mixed = F.scaled_dot_product_attention(q_BKC[:attending, :, None], k, v, attn_mask=mask[:attending])
                return mixed.reshape(attending, self.width).expand(rows, -1)

            filled = torch.tensor([*ids, *[ids[0]] * (rows - wanted)], device=self.device)
            turn = self.cos.index_select(0, at_B), self.sin.index_select(0, at_B)
            x_BD = self._through(self.net.enter.weight.index_select(0, filled), turn, mix)
            for row in range(wanted):
                self.lengths[row] += 1
            return self.leave.times(self._normed(x_BD))[:wanted]

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
        """Give what the last layer makes of each position (N, D)."""
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

        return self._through(x_ND, (self.cos[:count], self.sin[:count]), mix)

    def _through(self, x: Tensor, turn: tuple[Tensor, Tensor], mix: Callable[[int, Tensor, Tensor], Tensor]) -> Tensor:
        """Send positions (M, D) through all layers; `mix` stores keys and values (M, 2K, C) and attends with the queries (M, K, C)."""
        heads, part, (cos, sin) = self.heads, self.part, turn
        for number, layer in enumerate(self.layers):
            mixed = layer.mix_in.times(self._normed(x)).view(-1, 3 * heads, part)
            turning = mixed[:, : 2 * heads]
            turned = torch.mul(turning, layer.scaled).div_(_length(turning, self.tiny_part))
            # Turned by half a circle, each channel stands where its partner was.
            torch.addcmul(turned * cos, turned.roll(part // 2, -1), sin, out=turning)
            x = layer.mix_out.onto(x, mix(number, mixed[:, :heads], mixed[:, heads:]))
            gate, up = layer.widen.times(self._normed(x)).chunk(2, -1)
            x = layer.down.onto(x, F.silu(gate).mul_(up))
        return x

    def _normed(self, x: Tensor) -> Tensor:
        """Give rows whose length is 1. That their mean square be 1, and a norm's weight, stand in the matrix that follows."""
        return x / _length(x, self.tiny)

    def _seen(self, rows: int, reach: int) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Give each layer's whole cache as places (·, C), and the keys and values (B, K, reach, C) of some rows."""
        if self._looked[:2] != (rows, reach) or self._looked[2] is not self.cache:
            parts = [(layer.view(-1, self.part), *layer[:rows, :, :reach].chunk(2, 1)) for layer in self.cache]
            self._looked = rows, reach, self.cache, parts
        return self._looked[3]

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

    def _try_out(self) -> None:
        """Find out whether a row's numbers depend on the rows beside it, and which numbers of threads give the same."""
        alone = self._steadily(self.threads)
        self.steady = alone is not None
        others = {1, torch.get_num_threads()} - {self.threads} if self.steady and self.device.type == "cpu" else set()
        if others and all(_equal(alone, self._steadily(count)) for count in others):
            self.pace = Pace(sorted({self.threads, *others}))

    def _steadily(self, count: int) -> Tensor | None:
        """Give a row's logits with so many threads if they are the same alone and among others, few and many, longer ones, in any order."""
        seen = [
            torch.randint(self.vocab, (3 + 7 * row % 23,), generator=torch.Generator().manual_seed(row)).tolist() for row in range(ROWS)
        ]
        seen = [ids[: max(1, self.longest - 1)] for ids in seen]
        start = self.net.enter.weight[:1]
        self.pace, before, found = Pace([count]), self.pace, []
        for rows in ((0,), (0, 1), (4, 0, 2), (9, 3, 5, 7, 0), tuple(reversed(range(ROWS)))):
            for row, source in enumerate(rows):
                self._read(row, start, seen[source])
            logits = self.step([seen[source][0] for source in rows])
            found.append(logits[rows.index(0)].clone())
        self.lengths, self.room, self.cache, self.pace = [0] * ROWS, 0, torch.empty(0, 0), before
        return found[0] if all(torch.equal(each, found[0]) for each in found) else None


def threads_for(weights: int) -> int:
    """Give how many threads a step of a net with so many weights takes."""
    return 1 if weights <= SMALL else torch.get_num_threads()


def _rounded(places: int) -> int:
    return -(-places // STRIDE) * STRIDE


def _after(norm: Norm, weight: Tensor) -> Tensor:
    """Give the matrix that stands for a norm and a linear layer, for rows whose length is 1."""
    return (weight * norm.weight * weight.shape[1] ** 0.5).t().contiguous()


def _length(x: Tensor, tiny: Tensor) -> Tensor:
    """Give the lengths of what stands on the last axis, which is kept."""
    return torch.linalg.vector_norm(x, dim=-1, keepdim=True).hypot_(tiny)


def _equal(one: Tensor | None, other: Tensor | None) -> bool:
    return one is not None and other is not None and torch.equal(one, other)
