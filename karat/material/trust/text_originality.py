"""Originality of a text: the longest span that it shares with a training text, beside what held-out texts share that nobody trained on.

The index holds no text: hashes of all runs of five units (words and marks; Chinese, Japanese and Korean characters) with their places, so
that a span of five or more is found by runs that follow one another in both texts. This is no secrecy: who knows a passage can ask whether
it was in training, and who guesses patiently can go on from there word by word. Of more than a million runs those are kept whose hashes end
in zeros, the same ones on both sides (Manber 1994, "Finding similar files in a large file system"): then spans come out a few units short.

A text counts as copied when its longest span is of thirteen units or more and longer than that of all but a few of the held-out pieces, or
when the whole of it stands in one training text while held-out ones seldom do. So the share of real texts that would be called copies is
known beforehand.
"""

import json
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray

from karat.material.metrics.texts.copying import BLOCK, RUN, Rolled
from karat.material.metrics.texts.units import places
from karat.material.trust.reservoir import Reservoir
from karat.values.tensors import TensorFile, tensor_bytes
from karat.words.errors import DataError, ReleaseError
from karat.words.events import Event, Progress, Started, Warned
from karat.words.specs import Spec, canonical

FORMAT = 1
TENSORS_FILE, FACTS_FILE = "originality-texts.safetensors", "originality-texts.json"
SHORT = 5
"""Units in the runs that the index holds: a shorter span is everybody's."""
MOST = 1_000_000
"""Runs that the index holds at most, of twelve bytes each."""
OFTEN = 1000
"""A run that stands in more places than this joins what is before and behind it wherever it stands, and alone proves nothing."""
PIECE = 128
"""Units to which held-out texts are cut: a longer text shares longer spans by chance."""
HELD_OUT, PLANTED = 2000, 128
QUANTILE = 0.01

Ints = NDArray[np.int64]


class TextVerdict(Spec):
    """One text against the training texts. Lengths are in units; `at` is the span in characters.

    `rank` is the share of held-out pieces that share as long a span or a longer one, `copied_runs` the share of the text's runs of
    thirteen that stand in training, `held_out_runs` that of the held-out pieces.
    """

    copied: bool
    nearest: str | None
    longest: int
    at: tuple[int, int]
    threshold: float
    rank: float
    copied_runs: float
    held_out_runs: float


@dataclass(frozen=True)
class Shared:
    """What a text shares with training texts: its longest span (first unit, how many, a place of it in training), its runs of thirteen."""

    units: int
    longest: int = 0
    first: int = 0
    place: int | None = None
    runs: int = 0
    copied_runs: int = 0

    @property
    def is_whole(self) -> bool:
        return self.longest == self.units > 0


class TextOriginality:
    """The training texts as hashes of their runs, with what held-out texts share with them; ships inside a release."""

    def __init__(self, arrays: Mapping[str, NDArray[Any]], facts: Mapping[str, Any], names: Sequence[str]) -> None:
        self.facts, self.names = dict(facts), list(names)
        self.hashes, self.places, self.often, self.starts = (arrays[name] for name in ("hashes", "places", "often", "starts"))
        self.held_out = arrays["held_out"]

    def threshold(self, units: int) -> float:
        """Give the longest span that a text of some units may share and be no copy; a longer text has more chances."""
        level = 1 - QUANTILE / max(1, -(-units // PIECE))
        return max(RUN - 1.0, float(np.quantile(self.held_out, level)))

    def verdict(self, text: str) -> TextVerdict:
        """Judge one text."""
        found = self.shared(text)
        where = places(text)[found.first : found.first + found.longest]
        row = None if found.place is None else int(np.searchsorted(self.starts, found.place, side="right")) - 1
        return TextVerdict(
            copied=self.is_copied(found),
            nearest=None if row is None else self.names[row],
            longest=found.longest,
            at=(where[0][0], where[-1][1]) if where else (0, 0),
            threshold=self.threshold(found.units),
            rank=float((self.held_out >= found.longest).mean()),
            copied_runs=found.copied_runs / max(1, found.runs),
            held_out_runs=self.facts["held_out_runs"],
        )

    def is_copied(self, found: Shared) -> bool:
        long = found.longest > self.threshold(found.units)
        return long or (found.is_whole and self.facts["held_out_wholes"] <= QUANTILE)

    def shared(self, text: str) -> Shared:
        """Find what a text shares with training texts."""
        rolled = Rolled([text])
        units = len(rolled)
        at, hashes = _kept(*rolled.hashes(SHORT), self.facts["level"])
        runs = max(0, units - RUN + 1)
        everywhere = np.isin(hashes, self.often)
        told = np.cumsum(~everywhere)  # runs that prove something, counted: neighbours differ by one
        before = np.where(told > 1, np.searchsorted(told, told - 1) + 1, 0)  # where what proves nothing begins, before a run that does
        behind = np.searchsorted(told, told + 1)
        first, last = (np.searchsorted(self.hashes, hashes, side=side) for side in ("left", "right"))
        meetings = np.where(everywhere, 0, last - first)
        if not meetings.sum():
            return Shared(units, runs=runs)
        mine = np.repeat(np.arange(len(at)), meetings)
        step = np.arange(len(mine)) - np.repeat(np.cumsum(meetings) - meetings, meetings)
        theirs = self.places[np.repeat(first, meetings) + step]
        apart = theirs - at[mine]
        order = np.lexsort((mine, apart))
        mine, apart = mine[order], apart[order]
        broken = (np.diff(apart) != 0) | (np.diff(told[mine]) != 1)
        begins = np.concatenate([[0], np.flatnonzero(broken) + 1])
        ends = np.concatenate([begins[1:] - 1, [len(mine) - 1]])
        starts = at[before[mine[begins]]]
        spans = at[behind[mine[ends]] - 1] - starts + SHORT
        best = int(spans.argmax())
        place = int(theirs[order][begins[best]])
        return Shared(units, int(spans[best]), int(starts[best]), place, runs, _covered(starts, spans, runs))

    def told(self) -> str:
        """Say how far the verdicts can be trusted."""
        found = ", ".join(f"{kind} {share:.0%}" for kind, share in self.facts["detected"].items())
        held_out = f"Of {len(self.held_out):,} held-out pieces {self.facts['false_alarms']:.0%} are called copies."
        return f"Planted copies of training texts that are called copies: {found}. {held_out}"

    def parts(self) -> dict[str, bytes]:
        """Give the index as files: name to bytes."""
        arrays = {"hashes": self.hashes, "places": self.places, "often": self.often, "starts": self.starts, "held_out": self.held_out}
        tensors = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}
        return {TENSORS_FILE: tensor_bytes(tensors), FACTS_FILE: canonical({"format": FORMAT, "names": self.names, **self.facts})}

    @classmethod
    def from_parts(cls, parts: Mapping[str, bytes]) -> Self:
        """Read what `parts` wrote. Raises ReleaseError when it is no index or a newer one."""
        try:
            facts, payload = json.loads(parts[FACTS_FILE]), parts[TENSORS_FILE]
            if facts.pop("format") != FORMAT:
                raise ReleaseError("The originality index has a format that this version does not know.", repair="Use a newer Karat.")
            tensors = TensorFile(lambda start, length: payload[start : start + length], len(payload))
            return cls({name: tensor.numpy() for name, tensor in tensors.items()}, facts, facts.pop("names"))
        except (KeyError, TypeError, ValueError, DataError) as error:
            raise ReleaseError(f"The originality index cannot be read: {error}.", repair="Make the release again.") from None


def build_text_index(
    train: Iterable[tuple[str, str]], held_out: Iterable[str], *, seed: int = 0
) -> Generator[Event, None, TextOriginality]:
    """Build an index from training texts with their names, in one pass. Yields progress, returns the index; no text is kept."""
    gathered = _Gathered()
    planted = Reservoir[str](PLANTED, seed)
    yield Started(what="indexing the training texts", unit="texts")
    for count, (name, text) in enumerate(train, 1):
        gathered.take(name, text)
        planted.offer([text])
        if count % 1000 == 0:
            yield Progress(done=count)
    arrays, level = gathered.arrays()
    if not gathered.names:
        raise DataError("An originality index needs training texts.", repair="Give the training split a share.")
    facts: dict[str, Any] = {"level": level, "count": len(gathered.names), "held_out_runs": 0.0, "held_out_wholes": 0.0}
    index = TextOriginality({**arrays, "held_out": np.zeros(1, np.int64)}, facts, gathered.names)
    pieces = Reservoir[str](HELD_OUT, seed)
    for text in held_out:
        pieces.offer(cut(text))
    found = [index.shared(piece) for piece in pieces.kept]
    honest = [each for each in found if not (each.is_whole and each.longest >= RUN)]
    if leaks := len(found) - len(honest):
        yield Warned(message=f"{leaks} held-out pieces stand in training texts as a whole; no verdict is read from them.")
    if not honest:
        raise DataError("There is no held-out text that is not in training too.", repair="Give the validation split a larger share.")
    index.held_out = np.array([each.longest for each in honest], np.int64)
    index.facts["held_out_runs"] = sum(each.copied_runs for each in honest) / max(1, sum(each.runs for each in honest))
    index.facts["held_out_wholes"] = float(np.mean([each.is_whole for each in honest]))
    index.facts["leaks"] = leaks
    index.facts["false_alarms"] = float(np.mean([index.is_copied(each) for each in honest]))
    index.facts["detected"] = detection(index, planted.kept, pieces.kept)
    return index


def cut(text: str) -> list[str]:
    """Cut a text into pieces of at most PIECE units."""
    where = places(text)
    return [text[where[first][0] : where[min(first + PIECE, len(where)) - 1][1]] for first in range(0, len(where), PIECE)]


def plant_texts(originals: Sequence[str], others: Sequence[str]) -> dict[str, list[str]]:
    """Give copies of training texts as a model might write them: a piece as it is, half of one inside another text, every 20th word lost.

    Texts too short to hold a span of RUN units then are copied as they are alone.
    """
    pieces = [cut(text)[0] for text in originals if cut(text)]
    long = [piece for piece in pieces if len(places(piece)) >= 2 * RUN]
    inside = []
    for number, piece in enumerate(long):
        where = places(piece)
        other = others[number % len(others)]
        inside.append(f"{other} {piece[where[len(where) // 4][0] : where[3 * len(where) // 4][1]]} {other}")
    edited = ["".join(part for number, part in enumerate(_parted(piece)) if number % 20 != 19) for piece in long]
    return {"exact": pieces, "inside another": inside, "edited": edited}


def detection(index: TextOriginality, originals: Sequence[str], others: Sequence[str]) -> dict[str, float]:
    """Measure the share of planted copies that the index calls copied, by kind; a kind that the texts are too short for is left out."""
    planted = plant_texts(originals, others)
    return {kind: float(np.mean([index.verdict(text).copied for text in texts])) for kind, texts in planted.items() if texts}


class _Gathered:
    """Hashes of runs with their places, gathered block by block; when there are too many, every second one is given up."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.level = self.units = self.size = 0
        self.found: list[tuple[NDArray[np.int32], Ints]] = []
        self.starts: list[Ints] = []
        self.waiting: list[str] = []

    def take(self, name: str, text: str) -> None:
        self.names.append(name)
        self.waiting.append(text)
        self.size += len(text)
        if self.size >= BLOCK:
            self._take()

    def _take(self) -> None:
        rolled = Rolled(self.waiting)
        at, hashes = _kept(*rolled.hashes(SHORT), self.level)
        self.found.append((hashes, at + self.units))
        self.starts.append(rolled.starts[:-1] + self.units)
        self.units += len(rolled)
        self.waiting, self.size = [], 0
        while sum(len(hashes) for hashes, _ in self.found) > MOST:
            self.level += 1
            self.found = [(hashes[keep := _sampled(hashes, self.level)], at[keep]) for hashes, at in self.found]

    def arrays(self) -> tuple[dict[str, NDArray[Any]], int]:
        """Give what was gathered, sorted by hash, what stands everywhere apart."""
        self._take()
        hashes, at = (np.concatenate(each) for each in zip(*self.found, strict=True))
        order = np.argsort(hashes, kind="stable")
        hashes, at = hashes[order], at[order]
        once, counts = np.unique(hashes, return_counts=True)
        often = once[counts > OFTEN]
        rare = ~np.isin(hashes, often)
        return {"hashes": hashes[rare], "places": at[rare], "often": often, "starts": np.concatenate(self.starts)}, self.level


def _kept(at: Ints, hashes: NDArray[np.uint64], level: int) -> tuple[Ints, NDArray[np.int32]]:
    """Give the runs that an index of a level knows, by the upper half of their hashes."""
    short = (hashes >> np.uint64(32)).astype(np.uint32).view(np.int32)
    keep = _sampled(short, level)
    return at[keep], short[keep]


def _sampled(hashes: NDArray[np.int32], level: int) -> NDArray[np.bool_]:
    return (hashes & ((1 << level) - 1)) == 0


def _covered(first: Ints, spans: Ints, runs: int) -> int:
    """Count the runs of thirteen units that lie within a span."""
    long = spans >= RUN
    marks = np.zeros(runs + 1, np.int64)
    np.add.at(marks, first[long], 1)
    np.add.at(marks, first[long] + spans[long] - RUN + 1, -1)
    return int((np.cumsum(marks)[:runs] > 0).sum())


def _parted(text: str) -> list[str]:
    """Cut a text into its units, each with what stands before the next."""
    where = places(text)
    ends = [start for start, _ in where[1:]] + [len(text)]
    return [text[start:end] for (start, _), end in zip(where, ends, strict=True)]
