"""Verdicts on answers: which of two is better, or whether one is liked; and the rows of ids from which models learn them.

A pair's sample holds the better answer, its fact `rejected` the other one. A thumb is the fact `verdict`. Where thumbs are wanted, a pair
is one up and one down.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from karat.material.data.batches import made_once
from karat.material.data.rows import Rows, RowWriter
from karat.material.data.samples import Sample, source_of
from karat.material.data.snapshots import Snapshot
from karat.store.store import Store
from karat.values.given import Given
from karat.values.passages import Passage, Turn
from karat.words.errors import DataError
from karat.words.specs import digest_of

Form = Literal["pairs", "thumbs"]


@dataclass(frozen=True)
class Judged:
    """An answer to what was said before, and the other one that it was preferred to, or whether it was liked by itself."""

    opening: Passage
    answer: str
    rejected: str | None = None
    liked: bool = True

    def passage(self, answer: str) -> Passage:
        """Give the conversation with some answer."""
        return Passage(turns=(*self.opening.turns, Turn(role="assistant", text=answer)))

    def thumbs(self) -> "list[Judged]":
        """Give it as thumbs: a pair is one up and one down."""
        if self.rejected is None:
            return [self]
        return [Judged(self.opening, self.answer), Judged(self.opening, self.rejected, liked=False)]


class Speaking(Protocol):
    """What rows of verdicts need of a codec of conversations."""

    kind: str
    length: int

    def written(self, source: str | Passage) -> tuple[NDArray[np.int32], NDArray[np.bool_]]: ...

    def state(self) -> dict[str, object]: ...


def verdicts_of(store: Store, snapshot: Snapshot, split: str) -> Iterator[Judged]:
    """Stream the verdicts of a split; samples without one are passed over."""
    for sample in snapshot.samples(split):
        if (found := _judged(store, sample)) is not None:
            yield found


def _judged(store: Store, sample: Sample) -> Judged | None:
    rejected, verdict = sample.facts.get("rejected"), sample.facts.get("verdict")
    if not sample.in_turns or not (isinstance(rejected, str) or isinstance(verdict, bool)):
        return None
    passage = source_of(store, sample)
    assert isinstance(passage, Passage), "a sample in turns is a passage"
    opening = passage.opening()
    answer = passage.turns[len(opening.turns)].text if len(passage.turns) > len(opening.turns) else ""
    return Judged(opening, answer, rejected if isinstance(rejected, str) else None, verdict is not False)


def encode_verdicts(store: Store, snapshot: Snapshot, split: str, made: Speaking, form: Form) -> Path:
    """Encode the verdicts of a split once, and give the folder of their rows. Raises DataError where there are none."""
    folder = store.folder / "encoded" / f"{snapshot.id[:16]}-{split}-{form}-{digest_of([made.kind, made.state()])[:16]}"

    def write(temporary: Path) -> None:
        judged = list(verdicts_of(store, snapshot, split))
        if form == "pairs":
            rows = [(each.passage(each.answer), each.passage(each.rejected), 1.0) for each in judged if each.rejected is not None]
        else:
            thumbs = [thumb for each in judged for thumb in each.thumbs()]
            strange = [*thumbs[1:], *thumbs[:1]]
            worth = _worth([thumb.liked for thumb in thumbs])
            rows = [(a.passage(a.answer), a.passage(b.answer), w) for a, b, w in zip(thumbs, strange, worth, strict=True)]
        if not rows:
            wanted = "prompt, chosen and rejected" if form == "pairs" else "prompt, completion and thumb"
            raise DataError(
                f"The {split} part of the snapshot has no {form} in it.",
                repair=f"Import rows with {wanted}, or give that part a larger share.",
            )
        _write(rows, made, temporary)

    return made_once(folder, write)


def _worth(liked: list[bool]) -> list[float]:
    """Say how much each thumb counts, below 0 for those down: both kinds count alike in all."""
    ups = sum(liked)
    share = {True: len(liked) / (2 * max(1, ups)), False: -len(liked) / (2 * max(1, len(liked) - ups))}
    return [share[each] for each in liked]


def _write(rows: list[tuple[Passage, Passage, float]], made: Speaking, folder: Path) -> None:
    blank = np.zeros((2, made.length), np.int32)
    with (
        RowWriter(folder / "made.npy", blank) as ids,
        RowWriter(folder / "weight.npy", blank.astype(np.uint8)) as weights,
        RowWriter(folder / "worth.npy", np.zeros((), np.float32)) as worths,
    ):
        for *sides, worth in rows:
            pieces = [_piece(made, side) for side in sides]
            ids.write(np.stack([piece[0] for piece in pieces]))
            weights.write(np.stack([piece[1] for piece in pieces]))
            worths.write(np.array(worth, np.float32))


def _piece(made: Speaking, passage: Passage) -> tuple[np.ndarray, np.ndarray]:
    """Give a row of ids (N,), and which of them are the last answer. Of what is too long, the front is left out."""
    ids, learnt = made.written(passage)
    end = int(np.flatnonzero(learnt).max(initial=-1)) + 1
    begin = int(np.flatnonzero(~learnt[:end]).max(initial=-1)) + 1
    answer = (np.arange(len(ids)) >= begin) & learnt
    ids, answer = ids[-made.length :], answer[-made.length :]
    room = (0, made.length - len(ids))
    return np.pad(ids, room).astype(np.int32), np.pad(answer, room).astype(np.uint8)


class JudgedSplit:
    """The verdicts of a split as rows, with what the start thinks of them: `reference` (M, 2)."""

    reach = 1

    def __init__(self, folder: Path, reference: Tensor | None = None) -> None:
        self._made, self._weight, self._worth = (Rows(folder / f"{name}.npy") for name in ("made", "weight", "worth"))
        self.reference = torch.zeros(len(self._made), 2) if reference is None else reference

    def __len__(self) -> int:
        return len(self._made)

    def values(self, indices: list[int] | range, shift: int = 0) -> Tensor:
        """Give the ids of both answers: (B, 2, N)."""
        return torch.from_numpy(np.array(self._made.take(indices))).long()

    def conditions(self, indices: list[int] | range, shift: int = 0) -> Given:
        """Give what stands beside them: which ids are answers, what a row is worth, what the start thinks of it."""
        weight = torch.from_numpy(np.array(self._weight.take(indices))).float()
        worth = torch.from_numpy(np.array(self._worth.take(indices)))
        return Given({"reference": self.reference[list(indices)], "worth": worth}, {}, weight)

    def batches(self, size: int = 64) -> Iterator[tuple[Tensor, Given]]:
        """Go through the split once, in its own order."""
        for first in range(0, len(self), size):
            indices = range(first, min(first + size, len(self)))
            yield self.values(indices), self.conditions(indices)
