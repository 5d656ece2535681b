"""Copying: the longest span that each text shares with the training texts, and how much of it stands there in runs of thirteen units.

The training texts are gone through once, in blocks, so that they may be larger than memory. Runs are compared by the difference of running
hashes (Karp & Rabin 1987) in whole numbers of 64 bits. Units are words and marks, for Chinese, Japanese and Korean characters.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from karat.material.metrics.texts.units import places

RUN = 13
"""Units in a run that is counted as copied: what Lee et al. 2022 and others take for more than chance."""
SEED = 8
"""Up to here the longest span is found by trying each length, beyond it by going on from the places of runs of this length."""
BLOCK = 2_000_000
"""Characters of training text that are looked at together."""
BASE = np.uint64(0x9E3779B97F4A7C15)

Hashes = NDArray[np.uint64]


@dataclass(frozen=True)
class Copied:
    """What of a text stands in training: its longest span, where (characters), where in which training text; runs of thirteen units."""

    longest: int
    at: tuple[int, int]
    source: int | None
    source_at: tuple[int, int]
    runs: int
    copied_runs: int
    marked: tuple[tuple[int, int], ...]


def find_copies(texts: Sequence[str], training: Iterable[str]) -> list[Copied]:
    """Compare texts with all training texts. Longest spans are exact; `source` is the number of one training text that has it."""
    search = _Search(texts)
    for block in _blocks(training):
        search.compare(block)
    return search.found()


class Rolled:
    """Texts in a row: their units' places, the text each unit belongs to, and running hashes by which equal runs are told."""

    def __init__(self, texts: Sequence[str], first: int = 0) -> None:
        self.texts, self.first = texts, first
        each = [places(text) for text in texts]
        self.counts = np.array([len(found) for found in each], np.int64)
        self.starts = np.concatenate([[0], np.cumsum(self.counts)])
        self.text = np.repeat(np.arange(len(texts)), self.counts)
        self.places = np.array([place for found in each for place in found], np.int64).reshape(-1, 2)
        coded = np.array([_code(text[a:b]) for text, found in zip(texts, each, strict=True) for a, b in found], np.uint64)
        self.powers = np.concatenate([[np.uint64(1)], np.multiply.accumulate(np.full(len(coded), BASE, np.uint64))]).astype(np.uint64)
        self.sums = np.concatenate([[np.uint64(0)], np.cumsum(coded * self.powers[:-1], dtype=np.uint64)])
        self.left = self.starts[1:][self.text] - np.arange(len(coded)) if len(coded) else np.zeros(0, np.int64)

    def __len__(self) -> int:
        return len(self.text)

    def hashes(self, length: int) -> tuple[NDArray[np.int64], Hashes]:
        """Give the places at which a run of `length` stands within one text, and each run's hash."""
        at = np.flatnonzero(self.left >= length)
        return at, self.hash_at(at, np.full(len(at), length))

    def hash_at(self, at: NDArray[np.int64], length: NDArray[np.int64]) -> Hashes:
        """Give the hashes of runs that begin at some places, brought to a common power."""
        # BASE is odd, so its powers have inverses modulo 2^64: dividing by the first one makes a run's hash the same wherever it stands.
        return (self.sums[at + length] - self.sums[at]) * _inverse_powers(len(self.powers))[at]


@lru_cache(maxsize=2)
def _inverse_powers(count: int) -> Hashes:
    inverse = np.uint64(pow(int(BASE), -1, 2**64))
    return np.concatenate([[np.uint64(1)], np.multiply.accumulate(np.full(count - 1, inverse, np.uint64))]).astype(np.uint64)


@lru_cache(maxsize=200_000)
def _code(unit: str) -> int:
    return int.from_bytes(hashlib.blake2b(unit.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


def _blocks(training: Iterable[str]) -> Iterator[Rolled]:
    texts: list[str] = []
    first = size = 0
    for text in training:
        texts.append(text)
        size += len(text)
        if size >= BLOCK:
            yield Rolled(texts, first)
            first, size, texts = first + len(texts), 0, []
    if texts:
        yield Rolled(texts, first)


class _Search:
    def __init__(self, texts: Sequence[str]) -> None:
        self.asked = Rolled(texts)
        count = len(texts)
        self.longest, self.at = np.zeros(count, np.int64), np.zeros(count, np.int64)
        self.source = np.full(count, -1, np.int64)
        self.source_at = np.zeros((count, 2), np.int64)
        self.in_run = np.zeros(len(self.asked), np.bool_)

    def compare(self, block: Rolled) -> None:
        """Take one block of training texts into account."""
        at, asked = self.asked.hashes(RUN)
        self.in_run[at[np.isin(asked, block.hashes(RUN)[1])]] = True
        for length in range(1, SEED + 1):
            if not self._tried(block, length):
                return
        self._gone_on(block)

    def _tried(self, block: Rolled, length: int) -> bool:
        """Look for runs of one length; say whether any text has one."""
        at, asked = self.asked.hashes(length)
        there, hashes = block.hashes(length)
        order = np.argsort(hashes, kind="stable")
        if not len(order):
            return False
        spot = np.minimum(np.searchsorted(hashes, asked, sorter=order), len(order) - 1)
        found = hashes[order[spot]] == asked
        self._keep(at[found], there[order[spot[found]]], np.full(int(found.sum()), length), block)
        return bool(found.any())

    def _gone_on(self, block: Rolled) -> None:
        """Lengthen each meeting of equal runs of SEED units as far as both texts agree."""
        at, asked = self.asked.hashes(SEED)
        there, hashes = block.hashes(SEED)
        order = np.argsort(hashes, kind="stable")
        first, last = (np.searchsorted(hashes, asked, side=side, sorter=order) for side in ("left", "right"))
        meetings = last - first
        if not meetings.sum():
            return
        mine = np.repeat(at, meetings)
        step = np.arange(len(mine)) - np.repeat(np.cumsum(meetings) - meetings, meetings)
        theirs = there[order[np.repeat(first, meetings) + step]]
        low = np.full(len(mine), SEED)
        high = np.minimum(self.asked.left[mine], block.left[theirs])
        while (low < high).any():
            middle = (low + high + 1) // 2
            same = self.asked.hash_at(mine, middle) == block.hash_at(theirs, middle)
            low, high = np.where(same, middle, low), np.where(same, high, middle - 1)
        self._keep(mine, theirs, low, block)

    def _keep(self, mine: NDArray[np.int64], theirs: NDArray[np.int64], length: NDArray[np.int64], block: Rolled) -> None:
        """Remember for each text its longest meeting, the first of equals."""
        order = np.lexsort((mine, -length, self.asked.text[mine]))
        rows, best = np.unique(self.asked.text[mine][order], return_index=True)
        best = order[best]
        better = length[best] > self.longest[rows]
        rows, best = rows[better], best[better]
        spot, size = theirs[best], length[best]
        self.longest[rows], self.at[rows], self.source[rows] = size, mine[best], block.first + block.text[spot]
        self.source_at[rows] = np.stack([block.places[spot, 0], block.places[spot + size - 1, 1]], 1)

    def found(self) -> list[Copied]:
        return [self._of(row) for row in range(len(self.asked.texts))]

    def _of(self, row: int) -> Copied:
        first, last = int(self.asked.starts[row]), int(self.asked.starts[row + 1])
        where, longest, at = self.asked.places, int(self.longest[row]), int(self.at[row])
        runs = max(0, last - first - RUN + 1)
        copied = np.flatnonzero(self.in_run[first : first + runs]) + first
        marked: list[tuple[int, int]] = []
        for place in copied.tolist():
            begin, end = int(where[place, 0]), int(where[place + RUN - 1, 1])
            if marked and begin <= marked[-1][1]:
                marked[-1] = (marked[-1][0], end)
            else:
                marked.append((begin, end))
        span = (int(where[at, 0]), int(where[at + longest - 1, 1])) if longest else (0, 0)
        source = int(self.source[row]) if longest else None
        source_at = int(self.source_at[row, 0]), int(self.source_at[row, 1])
        return Copied(longest, span, source, source_at, runs, len(copied), tuple(marked))
