"""Shards: the passages of many samples in one blob, and the listing that says which sample lies where.

A listing holds, for one file after the other, a line that names the file, a line for each of its samples, and a line that sums them up.
It is a blob as well; a file of an import is kept when the store has noted its listing.
"""

import json
from collections import Counter
from collections.abc import Iterator
from typing import BinaryIO

from pydantic import Field

from karat.material.data.samples import Sample
from karat.store.files import SeenFile
from karat.store.store import Store
from karat.words.specs import Spec, canonical

SHARD = 64 << 20
"""Bytes of text at which a shard ends."""
WAITING = 32 << 20
"""Bytes of lines that wait in memory for the digest of their shard, at most."""
UNKNOWN = "0" * 64
BEGIN = b'{"blob":"'
OPEN = 32
"""Listings that are read at the same time, at most."""


class Sums(Spec):
    """What the samples of a file add up to, and what was wrong with rows that are no samples: where, message, repair."""

    counts: Counter[str] = Field(default_factory=Counter)
    labels: Counter[str] = Field(default_factory=Counter)
    encodings: Counter[str] = Field(default_factory=Counter)
    forms: Counter[str] = Field(default_factory=Counter)
    problems: list[tuple[str, str, str]] = []

    def add(self, sample: Sample, *, size: int = 0, form: str = "") -> None:
        """Count a sample of so many bytes."""
        counts = self.counts
        counts["samples"] += 1
        counts["bytes"] += size
        counts["with_captions"] += bool(sample.captions)
        counts["with_problems"] += "problem" in sample.facts
        if sample.label is not None:
            self.labels[sample.label] += 1
        if "encoding" in sample.facts:
            self.encodings[sample.facts["encoding"]] += 1
        if form:
            self.forms[form] += 1

    def take(self, other: "Sums") -> None:
        """Add what another file adds up to."""
        self.counts.update(other.counts)
        self.labels.update(other.labels)
        self.encodings.update(other.encodings)
        self.forms.update(other.forms)


class ShardWriter:
    """Packs samples into shards, one file after the other. `shard` and `listing` are files to write in that vanish afterwards."""

    def __init__(self, store: Store, shard: BinaryIO, listing: BinaryIO) -> None:
        self._store, self._shard, self._listing = store, shard, listing
        self._filled, self._waiting = 0, 0
        self._lines: list[bytes] = []
        self.shards: dict[str, int] = {}

    def begin(self, file: SeenFile) -> None:
        """Go on to another file."""
        self._write(_head(file))

    def add(self, sample: Sample, content: bytes) -> None:
        """Pack a sample with its bytes."""
        values = sample.model_dump(exclude_defaults=True)
        self._write(canonical({**values, "blob": UNKNOWN, "span": (self._filled, len(content))}) + b"\n")
        self._shard.write(content)
        self._filled += len(content)
        if self._filled >= SHARD or self._waiting >= WAITING:
            self._end_shard()

    def end(self, sums: Sums) -> None:
        """End a file with what it adds up to."""
        self._write(end_line(sums))

    def close(self) -> tuple[str, dict[str, int]]:
        """End the listing; give its digest, and the sizes of its shards by their digests."""
        self._end_shard()
        listing, shards = self._put(self._listing), self.shards
        self.shards = {}
        return listing, shards

    def _write(self, line: bytes) -> None:
        self._lines.append(line)
        self._waiting += len(line)

    def _end_shard(self) -> None:
        """Keep the shard and write the lines that waited for its digest."""
        size = self._filled
        digest = self._put(self._shard)
        self.shards[digest] = size
        begin = BEGIN + digest.encode()
        for line in self._lines:
            self._listing.write(begin + line[len(begin) :] if line.startswith(BEGIN) else line)
        self._lines.clear()
        self._filled = self._waiting = 0

    def _put(self, file: BinaryIO) -> str:
        file.seek(0)
        digest = self._store.blobs.put(file, wait=False)
        file.seek(0)
        file.truncate()
        return digest


class Listings:
    """The listings of an import, read in the order of its files, so that each is read about once."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._open: dict[str, Iterator[bytes]] = {}

    def of(self, file: SeenFile) -> Iterator[bytes]:
        """Stream the lines of a file's samples; the last line is what they add up to."""
        assert file.blob is not None
        if file.blob not in self._open and len(self._open) == OPEN:
            del self._open[next(iter(self._open))]
        lines = self._open.pop(file.blob, None) or self._store.blobs.lines(file.blob)
        self._open[file.blob] = lines
        head = _head(file)
        for line in lines:
            if line == head:
                break
        for line in lines:
            yield line
            if not line.startswith(BEGIN):
                return
        raise AssertionError("a listing has every file that the store notes it for")


def end_line(sums: Sums) -> bytes:
    """Write what a file adds up to."""
    return canonical({"end": sums.model_dump()}) + b"\n"


def sums_of(line: bytes) -> Sums | None:
    """Give what a file adds up to, if this is the line that says it."""
    return None if line.startswith(BEGIN) else Sums.from_values(json.loads(line)["end"])


def _head(file: SeenFile) -> bytes:
    return canonical({"file": file.raw.hex()}) + b"\n"
