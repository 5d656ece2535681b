"""The library: what data there is, with some of its pictures, for looking it over."""

from itertools import islice

from karat.app.chain import find
from karat.material.data.samples import Sample, samples_of, source_of
from karat.material.data.snapshots import Snapshot
from karat.store.records import Record
from karat.store.store import Store
from karat.values.passages import Passage
from karat.words.specs import Spec

BEGINNING = 300
LOOKED_AT = 2_000
"""Samples among which those that are shown are spread."""


class Piece(Spec):
    """A sample as it is shown: its file where it is a picture, its beginning where it is a text."""

    name: str
    blob: str
    words: str
    text: str | None = None


class Shelf(Spec):
    """A source or a snapshot at a glance; `conditions` are the columns that a model may be told."""

    id: str
    kind: str
    name: str
    at: float
    counts: dict[str, int]
    left_out: int = 0
    licence: str | None = None
    conditions: tuple[str, ...] = ()
    pieces: tuple[Piece, ...] = ()


def library(store: Store, kind: str, *, limit: int = 60, pieces: int = 6) -> list[Shelf]:
    """Give the sources or the snapshots, newest first."""
    called = {id: name for name, id in store.aliases().items()}
    return [_shelf(store, record, called.get(record.id), pieces) for record in store.find(kind, limit=limit)]


def shelf(store: Store, ref: str, *, pieces: int = 48) -> Shelf:
    """Give one source or snapshot."""
    record = find(store, ref, "source", "snapshot")
    return _shelf(store, record, next((name for name, id in store.aliases().items() if id == record.id), None), pieces)


def _shelf(store: Store, record: Record, alias: str | None, pieces: int) -> Shelf:
    samples = Snapshot.open(store, record.id).samples("train") if record.kind == "snapshot" else samples_of(store, record.id)
    begun = [sample for sample in islice(samples, LOOKED_AT) if "problem" not in sample.facts]
    first = begun[:: max(1, len(begun) // max(pieces, 24))]
    conditions = {"label": any(s.label is not None for s in first), "numbers": any(s.numbers for s in first)}
    captions = dict.fromkeys(column for sample in first for column in sample.captions)
    return Shelf(
        id=record.id,
        kind=record.kind,
        name=alias or str(record.spec.get("name") or record.id[:12]),
        at=record.at,
        counts=record.facts["counts"] if record.kind == "snapshot" else {"all": int(record.facts["samples"])},
        left_out=int(record.facts.get("left_out", 0)),
        licence=record.spec.get("licence"),
        conditions=(*(name for name, known in conditions.items() if known), *captions),
        pieces=tuple(_piece(store, sample) for sample in first[:pieces]),
    )


def _piece(store: Store, sample: Sample) -> Piece:
    words = ", ".join(each for each in (sample.label, *sample.captions.values()) if each)
    passage = source_of(store, sample) if sample.modality == "text" else None
    text = passage.plain()[:BEGINNING] if isinstance(passage, Passage) else None
    return Piece(name=sample.name, blob=sample.blob, words=words, text=text)
