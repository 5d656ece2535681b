"""A model of the next byte from the bytes before it: the trivial baseline for likelihood and for made text.

Counts of all runs up to five bytes (longer ones did worse on 0.1 and on 0.8 MB), each order mixed with the shorter one by how many
different bytes have followed (Witten & Bell 1991). Marks that stand in no UTF-8 (the end of a passage, the beginning of a turn) are bytes
like others, so that what it pays for a passage and its end compares with what a tokenised model pays.
"""

from collections.abc import Iterable, Sequence
from typing import Self

import numpy as np
from numpy.typing import NDArray

from karat.values.passages import ROLES, Passage, normal

CONTEXT = 4
MOST = 8_000_000
"""Bytes that are counted, at most."""
END = 0xFF
TURNS = {role: 0xF8 + place for place, role in enumerate(ROLES)}

Bytes = NDArray[np.uint8]


def bytes_of(passage: Passage) -> tuple[Bytes, NDArray[np.bool_]]:
    """Give a passage in bytes and marks to its end, and which of them are to be learnt: as `TextCodec.written` has them in ids."""
    if not passage.turns:
        said = normal(passage.text).encode() + bytes([END])
        return np.frombuffer(said, np.uint8), np.ones(len(said), np.bool_)
    parts, learnt, before = [], [], False
    for turn in passage.turns:
        said = normal(turn.text).encode()
        parts += [bytes([TURNS[turn.role]]), said]
        learnt += [before, *[turn.role == "assistant"] * len(said)]
        before = turn.role == "assistant"
    return np.frombuffer(b"".join([*parts, bytes([END])]), np.uint8), np.array([*learnt, before], np.bool_)


class NgramModel:
    """Sorted runs of 1 to CONTEXT + 1 bytes as whole numbers, the last byte lowest, and how many there are up to each."""

    def __init__(self, runs: Sequence[NDArray[np.uint64]], totals: Sequence[NDArray[np.int64]]) -> None:
        self.runs, self.totals = runs, totals

    @classmethod
    def fit(cls, passages: Iterable[Passage]) -> Self:
        """Count the runs of a training set, or of its first MOST bytes."""
        parts, left = [], MOST
        for passage in passages:
            parts.append(bytes_of(passage)[0][:left])
            left -= len(parts[-1])
            if left <= 0:
                break
        before = np.full(CONTEXT, END, np.uint8)
        everything = np.concatenate([each for part in parts for each in (before, part)])
        counted = np.concatenate([np.arange(-CONTEXT, len(part)) >= 0 for part in parts])
        runs, totals = [], []
        for order in range(CONTEXT + 1):
            found, counts = np.unique((_contexts(everything, order) << np.uint64(8) | everything)[counted], return_counts=True)
            runs.append(found)
            totals.append(np.concatenate([[0], np.cumsum(counts)]))
        return cls(runs, totals)

    def nats(self, passage: Passage) -> NDArray[np.float64]:
        """Give the nats that each byte of a passage to be learnt costs, its end included."""
        said, learnt = bytes_of(passage)
        padded = np.concatenate([np.full(CONTEXT, END, np.uint8), said])
        chance = np.full(len(said), 1 / 256)
        for order in range(CONTEXT + 1):
            context = _contexts(padded, order)[CONTEXT:]
            first, last = self._range(order, context)
            total = (self.totals[order][last] - self.totals[order][first]).astype(np.float64)
            own_first = np.searchsorted(self.runs[order], context << np.uint64(8) | said)
            own_last = np.searchsorted(self.runs[order], context << np.uint64(8) | said, side="right")
            own = self.totals[order][own_last] - self.totals[order][own_first]
            kinds = (last - first).astype(np.float64)
            chance = np.where(total > 0, (own + kinds * chance) / np.maximum(1, total + kinds), chance)
        return -np.log(chance[learnt])

    def write(self, prompts: Sequence[Passage], *, most: int, seed: int) -> list[str]:
        """Go on from the beginnings of passages, by at most `most` bytes each, drawing every byte from the model."""
        random = np.random.Generator(np.random.Philox(seed))
        rows = np.full((len(prompts), CONTEXT + most), END, np.uint8)
        for row, prompt in zip(rows, prompts, strict=True):
            said = _opened(prompt)[-CONTEXT:]
            row[CONTEXT - len(said) : CONTEXT] = said
        alive = np.arange(len(prompts))
        for place in range(CONTEXT, CONTEXT + most):
            rows[alive, place] = self._drawn(rows[alive, place - CONTEXT : place], random)
            alive = alive[rows[alive, place] < min(TURNS.values())]
            if not len(alive):
                break
        ended = [bytes(row[CONTEXT:]).split(bytes([END]))[0] for row in rows]
        return [bytes(byte for byte in said if byte < min(TURNS.values())).decode(errors="ignore") for said in ended]

    def _drawn(self, before_BK: Bytes, random: np.random.Generator) -> Bytes:
        """Draw the next bytes: from the longest context that is not left for the next shorter one by chance."""
        drawn = random.integers(0, 256, len(before_BK)).astype(np.uint8)
        open_rows = np.arange(len(before_BK))
        for order in range(CONTEXT, -1, -1):
            context = np.zeros(len(open_rows), np.uint64)
            for column in range(CONTEXT - order, CONTEXT):
                context = context << np.uint64(8) | before_BK[open_rows, column]
            first, last = self._range(order, context)
            total = self.totals[order][last] - self.totals[order][first]
            stays = random.random(len(open_rows)) * (total + last - first) < total
            picked = self.totals[order][first] + (random.random(len(open_rows)) * total).astype(np.int64)
            place = np.searchsorted(self.totals[order], picked, side="right") - 1
            found = self.runs[order][np.minimum(place, len(self.runs[order]) - 1)] & np.uint64(255)
            drawn[open_rows[stays]] = found[stays].astype(np.uint8)
            open_rows = open_rows[~stays]
        return drawn

    def _range(self, order: int, context: NDArray[np.uint64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Give where the runs that begin with each context lie."""
        first = np.searchsorted(self.runs[order], context << np.uint64(8))
        return first, np.searchsorted(self.runs[order], context << np.uint64(8) | np.uint64(255), side="right")


def _contexts(said: Bytes, order: int) -> NDArray[np.uint64]:
    """Give the `order` bytes before each byte as one number; what lies before the first is END."""
    context = np.zeros(len(said), np.uint64)
    for back in range(order, 0, -1):
        before = np.full(len(said), END, np.uint64)
        before[back:] = said[: len(said) - back]
        context = context << np.uint64(8) | before
    return context


def _opened(prompt: Passage) -> Bytes:
    """Give what a passage is gone on from: its text without an end, or its turns and the mark of the assistant's."""
    said = bytes_of(prompt)[0][:-1]
    return np.append(said, np.uint8(TURNS["assistant"])) if prompt.turns else said
