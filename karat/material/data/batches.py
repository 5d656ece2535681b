"""Batches: the samples of a split as packed values on disk, and the order in which training sees them.

The order is a permutation for each pass through the data, drawn from (seed, pass), so a step's batch depends on nothing but its number.
"""

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from karat.learning.families.family import stream_seed
from karat.material.data.packing import fitted, streamed
from karat.material.data.rows import Rows, RowWriter
from karat.material.data.samples import Sample, source_of
from karat.material.data.snapshots import Snapshot
from karat.store.store import Store
from karat.values.augment import AugmentSpec, augment
from karat.values.codecs.codec import Codec
from karat.values.given import Given
from karat.words.errors import DataError, StoreError
from karat.words.specs import digest_of


class EncodedSplit:
    """One split of a snapshot, encoded: what is to be made, what is given, and which samples have it."""

    def __init__(self, folder: Path, made: Codec, given: Mapping[str, Codec]) -> None:
        self.made, self.given = made, dict(given)
        self._made = Rows(folder / "made.npy")
        self._given = {name: Rows(folder / f"given-{name}.npy") for name in given}
        self._keep = {name: Rows(folder / f"keep-{name}.npy") for name in given}
        self._weight = Rows(folder / "weight.npy") if (folder / "weight.npy").exists() else None

    def __len__(self) -> int:
        return len(self._made)

    @property
    def reach(self) -> int:
        """How far each row may be shifted: rows of a stream may begin anywhere."""
        return int(self._made.shape[1]) if packing_of(self.made) == "stream" and len(self) > 1 else 1

    def values(self, indices: Any, shift: int = 0) -> Tensor:
        """Give what is to be made at some positions: (B, *S[, C])."""
        rows = self._made.windows(indices, shift) if shift else self._made.take(indices)
        return self.made.value(torch.from_numpy(np.array(rows)))

    def conditions(self, indices: Any, shift: int = 0) -> Given:
        """Give what is given there, and how much each position counts."""
        weight = None
        if self._weight is not None:
            rows = self._weight.windows(indices, shift) if shift else self._weight.take(indices)
            weight = torch.from_numpy(np.array(rows)).float()
            if packing_of(self.made) == "stream":  # a row that begins inside a passage does not say how passages begin
                weight[:, 0] *= torch.from_numpy(self._made.before(indices, shift) == 0)
        values = {name: codec.value(torch.from_numpy(np.array(self._given[name].take(indices)))) for name, codec in self.given.items()}
        return Given(values, {name: torch.from_numpy(np.array(rows.take(indices))) for name, rows in self._keep.items()}, weight)

    def batches(self, size: int = 64) -> Iterator[tuple[Tensor, Given]]:
        """Go through the split once, in its own order."""
        for first in range(0, len(self), size):
            indices = range(first, min(first + size, len(self)))
            yield self.values(indices), self.conditions(indices)


def encode_split(store: Store, snapshot: Snapshot, split: str, made: Codec, given: Mapping[str, Codec]) -> EncodedSplit:
    """Encode a split once and keep it; the same snapshot and codecs find it again.

    Raises DataError for an empty split, StoreError when the disk refuses.
    """
    states = {name: [codec.kind, codec.state()] for name, codec in {**given, "": made}.items()}
    folder = store.folder / "encoded" / f"{snapshot.id[:16]}-{split}-{digest_of(states)[:16]}"

    def write(temporary: Path) -> None:
        if snapshot.counts.get(split, 0) == 0:
            raise DataError(f"The {split} part of the snapshot is empty.", repair="Bring more samples, or give that part a larger share.")
        if packing_of(made) == "single":
            _encode(store, snapshot.samples(split), temporary, made=made, given=given)
        else:
            _pack(store, snapshot.samples(split), temporary, made)

    return EncodedSplit(made_once(folder, write), made, given)


def made_once(folder: Path, write: Callable[[Path], None]) -> Path:
    """Give a folder, which `write` fills the first time; it appears whole or not at all. Raises StoreError when the disk refuses."""
    if folder.exists():
        return folder
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir(parents=True)
        write(temporary)
        if not folder.exists():  # another process may have been first
            temporary.rename(folder)
    except OSError as error:
        raise StoreError(f"The data cannot be encoded into {folder}: {error.strerror}.", repair="Free some space.") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def packing_of(codec: Codec) -> str:
    """Say how a codec's values fill rows: `single`, one to a row, unless its options say otherwise."""
    return getattr(getattr(codec, "options", None), "packing", "single")


def _pack(store: Store, samples: Iterator[Sample], folder: Path, made: Any) -> None:
    """Write rows that passages share, with their weights."""
    pieces = (made.written(source_of(store, sample)) for sample in samples)
    rows = (streamed if packing_of(made) == "stream" else fitted)(pieces, made.length)
    first = next(rows)
    with RowWriter(folder / "made.npy", first[0]) as ids, RowWriter(folder / "weight.npy", first[1]) as weights:
        for row, weight in chain([first], rows):
            ids.write(row)
            weights.write(weight)


def _encode(store: Store, samples: Iterator[Sample], folder: Path, *, made: Codec, given: Mapping[str, Codec]) -> None:
    """Write the rows. A condition that its codec cannot take (a label that only held-out samples have) is left out of its sample."""
    blanks = {name: codec.encode(_any_source(codec)) * 0 for name, codec in given.items()}
    with ExitStack() as files:
        writers: dict[str, RowWriter] = {}

        def put(name: str, row: np.ndarray) -> None:
            if name not in writers:
                writers[name] = files.enter_context(RowWriter(folder / f"{name}.npy", row))
            writers[name].write(row)

        for sample in samples:
            put("made", made.encode(source_of(store, sample)))
            for name, codec in given.items():
                row = _condition_row(codec, condition_of(sample, name))
                put(f"given-{name}", blanks[name] if row is None else row)
                put(f"keep-{name}", np.array(row is not None))


def _condition_row(codec: Codec, source: Any) -> np.ndarray | None:
    try:
        return None if source is None else codec.encode(source)
    except DataError:
        return None


def condition_of(sample: Sample, name: str) -> Any:
    """Give what a sample offers as the condition `name`: its label, its numbers, or the caption of that column; None when it has none."""
    if name == "label":
        return sample.label
    if name == "numbers":
        return sample.numbers or None
    return sample.captions.get(name)


def condition_kind(name: str) -> str:
    """Give the kind of codec that reads the condition `name`."""
    return name if name in ("label", "numbers") else "text"


def _any_source(codec: Codec) -> Any:
    """Give some source that the codec can encode, for the shape of its rows."""
    return codec.decode(codec.space.random(1, torch.Generator().manual_seed(0))[0])


class Split(Protocol):
    """Rows of one split, by their positions."""

    @property
    def reach(self) -> int: ...

    def __len__(self) -> int: ...

    def values(self, indices: Any, shift: int = 0) -> Tensor: ...

    def conditions(self, indices: Any, shift: int = 0) -> Given: ...

    def batches(self, size: int = 64) -> Iterator[tuple[Tensor, Given]]: ...


class TrainingData:
    """What the training loop asks for."""

    def __init__(self, train: Split, validation: Split, augmentation: AugmentSpec, *, seed: int) -> None:
        self.train, self.validation, self.augmentation, self.seed = train, validation, augmentation, seed
        self._orders: dict[int, Tensor] = {}

    def __len__(self) -> int:
        return len(self.train)

    def batch(self, step: int, size: int, generator: torch.Generator) -> tuple[Tensor, Given]:
        indices, shift = self._indices(step * size, size), self._shift(step * size // len(self.train))
        return augment(self.train.values(indices, shift), self.augmentation, generator), self.train.conditions(indices, shift)

    def held_out(self) -> Iterator[tuple[Tensor, Given]]:
        return self.validation.batches()

    def _indices(self, first: int, size: int) -> list[int]:
        count = len(self.train)
        return [int(self._order(place // count)[place % count]) for place in range(first, first + size)]

    def _shift(self, passing: int) -> int:
        """Draw where the rows begin in one pass through the data."""
        return stream_seed(self.seed, -passing - (1 << 42)) % self.train.reach

    def _order(self, passing: int) -> Tensor:
        if passing not in self._orders:
            generator = torch.Generator().manual_seed(stream_seed(self.seed, -passing - (1 << 41)))
            self._orders = {p: o for p, o in self._orders.items() if p == passing - 1}
            self._orders[passing] = torch.randperm(len(self.train), generator=generator)
        return self._orders[passing]
