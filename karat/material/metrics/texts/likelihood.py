"""Likelihood: bits per byte and perplexity, from the nats that a model pays for each id of a passage.

A passage longer than the model's row is read in windows that overlap; each id is counted once, in the first window that holds it, so that
it stands after at least as many ids as windows share (only a passage's beginning has fewer). Bytes are those of what is learnt, in UTF-8;
marks and ends have none, though their nats are paid.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from karat.material.metrics.scores import Interval, Resampling, interval
from karat.values.passages import Passage, normal
from karat.values.spaces import Space


@dataclass(frozen=True)
class Windows:
    """Rows of ids (W, N) filled up with 0, which ids of each are counted (W, N), and the passage that each row is of (W,)."""

    ids_WN: Tensor
    counted_WN: Tensor
    passage_W: Tensor

    def __len__(self) -> int:
        return len(self.ids_WN)

    def first(self, most: int) -> "Windows":
        """Give the windows of the first passages that have no more than `most` together, or of the first alone."""
        if len(self) <= most:
            return self
        end = int((self.passage_W < max(1, int(self.passage_W[most]))).sum())
        return Windows(self.ids_WN[:end], self.counted_WN[:end], self.passage_W[:end])


def windows_of(written: Sequence[tuple[NDArray[np.int32], NDArray[np.bool_]]], length: int, *, stride: int) -> Windows:
    """Cut the ids of passages, as `TextCodec.written` gives them, into windows of `length` that begin `stride` apart."""
    assert 1 <= stride <= length
    rows, counted, passages = [], [], []
    for number, (ids, learnt) in enumerate(written):
        done = 0
        for first in range(0, max(1, len(ids) - length + stride), stride):
            here = ids[first : first + length]
            counts = learnt[first : first + length].copy()
            counts[: done - first] = False
            done = first + len(here)
            if counts.any():
                rows.append(np.pad(here, (0, length - len(here))))
                counted.append(np.pad(counts, (0, length - len(here))))
                passages.append(number)
    if not rows:
        return Windows(torch.zeros(0, length, dtype=torch.long), torch.zeros(0, length, dtype=torch.bool), torch.zeros(0, dtype=torch.long))
    return Windows(torch.from_numpy(np.stack(rows)).long(), torch.from_numpy(np.stack(counted)), torch.tensor(passages))


def learnt_bytes(passage: Passage) -> int:
    """Give how many bytes of a passage a model is to learn to write, in UTF-8 and Unicode's composed form."""
    said = [turn.text for turn in passage.turns if turn.role == "assistant"] if passage.turns else [passage.text]
    return sum(len(normal(text).encode()) for text in said)


@dataclass(frozen=True)
class Cost:
    """What pieces of text (windows, or whole passages) cost: nats, how many ids, and how many bytes each has; from how many passages."""

    nats: Tensor
    ids: Tensor
    bytes: Tensor
    passages: int

    @classmethod
    def of(cls, nats_W: Tensor, windows: Windows, bytes_of_passage: Sequence[int]) -> "Cost":
        """Take the nats of what each window counts. A passage's bytes are shared out among its windows by the number of their ids."""
        ids_W = windows.counted_WN.sum(1).double()
        all_ids_P = torch.zeros(len(bytes_of_passage)).double().index_add(0, windows.passage_W, ids_W)
        bytes_P = torch.tensor(bytes_of_passage, dtype=torch.float64)
        bytes_W = (bytes_P / all_ids_P.clamp(min=1))[windows.passage_W] * ids_W
        return cls(nats_W.double(), ids_W, bytes_W, int(windows.passage_W[-1]) + 1 if len(windows) else 0)

    def bits_per_byte(self, resampling: Resampling) -> Interval:
        """Measure bits for each byte; pieces are drawn again."""
        return self._share(self.bytes * math.log(2), resampling, lambda x: x)

    def perplexity(self, resampling: Resampling) -> Interval:
        """Measure the perplexity of an id: how many equally likely ones it is chosen from."""
        return self._share(self.ids, resampling, torch.exp)

    def _share(self, by: Tensor, resampling: Resampling, form: Callable[[Tensor], Tensor]) -> Interval:
        weights = resampling.weights(len(self.nats), "pieces")
        draws = form((weights @ self.nats) / (weights @ by).clamp(min=1e-9))
        value = float(form(self.nats.sum() / by.sum().clamp(min=1e-9)))
        return interval(value, draws, (len(self.nats), int(self.bytes.sum().round())), (0.0, math.inf))


def total_chance(space: Space, nats: Callable[[Tensor], Tensor], *, batch: int = 4096) -> float:
    """Sum the chances that `nats` (B, *S) → (B,) gives to all values of a tiny space of ids.

    An exact likelihood gives 1; an upper bound of the nats, as diffusion models have, at most 1. More than 1 is no bound: bits per byte
    from it mean nothing.
    """
    assert space.vocab is not None, "a space of ids"
    assert space.vocab**space.positions <= 1_000_000, "a tiny space"
    everything = torch.tensor(list(product(range(space.vocab), repeat=space.positions))).reshape(-1, *space.shape)
    return float(sum(torch.exp(-nats(rows).double()).sum() for rows in everything.split(batch)))
