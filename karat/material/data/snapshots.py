"""Snapshots: an immutable, cleaned and split set of samples. The same sources and the same spec give the same snapshot, to the byte.

Its blob is an index in JSON, which names one blob of samples for each split and the ledger: a line for every sample that was left out,
with the reason. Within a split the order is drawn from the seed, so that the first hundred samples are any hundred.
"""

import hashlib
import json
from array import array
from collections import Counter
from collections.abc import Iterator
from typing import Any, BinaryIO, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from karat.material.data.checks import Survey, surveyed
from karat.material.data.policy import CheckPolicy
from karat.material.data.samples import Sample, sample_line, samples_of
from karat.material.data.split import SPLIT_NAMES, Fractions, split
from karat.material.data.texts.altering import Augmenting
from karat.store.records import Record
from karat.store.store import Store
from karat.words.errors import DataError, SpecError
from karat.words.events import Event, Finding, Finished, Started, Warned
from karat.words.specs import Spec, canonical

LEFT_OUT = -1


class SnapshotSpec(Spec):
    """All that decides what a snapshot holds."""

    sources: tuple[str, ...] = Field(min_length=1, description="ids of the sources")
    policy: CheckPolicy = CheckPolicy()
    fractions: Fractions = Fractions()
    apart: tuple[str, ...] = Field(default=(), description="columns whose equal values stay on one side of the split, such as author")
    seed: int = Field(default=0, ge=0, description="the split and the order are drawn from it")
    altered: Augmenting | None = Field(default=None, description="how the copies differ that `karat data augment` added to what is learnt")


class LeftOut(Spec):
    """A line of the ledger: a sample that is not in the snapshot, and why."""

    id: str
    name: str
    check: str
    message: str


class Snapshot:
    """A snapshot in a store, read as a stream."""

    def __init__(self, store: Store, record: Record) -> None:
        assert record.made is not None, "a snapshot has an index"
        self._store = store
        self._index: dict[str, Any] = json.loads(store.read(record.made))
        self.record = record
        self.id = record.id
        self.spec = SnapshotSpec.from_values(record.spec)
        self.counts: dict[str, int] = {name: self._index["counts"][name] for name in SPLIT_NAMES}
        self.labels: list[str] = self._index["labels"]

    @classmethod
    def open(cls, store: Store, ref: str) -> Self:
        """Open a snapshot by its id, the start of its id, or an alias."""
        record = store.get(ref)
        if record.kind != "snapshot":
            raise DataError(f"{ref} is a {record.kind}, no snapshot.", repair="Give what `karat data snapshot` named.")
        return cls(store, record)

    def samples(self, split: str) -> Iterator[Sample]:
        """Stream the samples of one split, always in the same order."""
        if split not in SPLIT_NAMES:
            raise SpecError(f"There is no split called {split!r}.", repair=f"Known are: {', '.join(SPLIT_NAMES)}.")
        for line in self._store.blobs.lines(self._index["splits"][split]):
            yield Sample.from_json(line)

    def ledger(self) -> Iterator[LeftOut]:
        """Stream what was left out, with the reasons."""
        for line in self._store.blobs.lines(self._index["ledger"]):
            yield LeftOut.from_json(line)


def make_snapshot(store: Store, spec: SnapshotSpec) -> Iterator[Event]:
    """Check, clean and split some sources. Ends in Finished, whose result is the snapshot's id."""
    sources = tuple(store.get(ref).id for ref in spec.sources)
    if len(set(sources)) < len(sources):
        raise SpecError("A source is given twice.", repair="Give each source once.")
    spec = spec.changed(sources=sources)
    yield Started(what="snapshot", unit="samples")
    survey = Survey(spec.policy, apart=spec.apart)
    checks: Counter[str] = Counter()
    for event in surveyed(store, sources, survey):
        checks.update([event.check] if isinstance(event, Finding) else ())
        yield event
    places = _places(survey, spec)
    index = _write(store, spec, survey, places)
    facts = {"counts": index["counts"], "left_out": len(survey.dropped), "findings": dict(checks), "licences": index.pop("licences")}
    facts |= {"figures": survey.figures()} if survey.figures() else {}
    snapshot = store.record("snapshot", made=store.put(canonical(index)), made_from=sources, spec=spec, facts=facts)
    yield from _empty_splits(index["counts"], spec)
    counts = ", ".join(f"{count} {name}" for name, count in index["counts"].items())
    yield Finished(
        what="snapshot",
        result=snapshot,
        summary=f"Snapshot {snapshot[:12]} holds {counts}; {len(survey.dropped)} left out.",
        figures={**{name: float(count) for name, count in index["counts"].items()}, "left_out": float(len(survey.dropped))},
    )


def _places(survey: Survey, spec: SnapshotSpec) -> NDArray[np.int8]:
    """Give for each surveyed sample the number of its split, or LEFT_OUT."""
    kept = np.array([number for number in range(len(survey.ids)) if number not in survey.dropped], np.intp)
    if not len(kept):
        raise DataError(
            "No sample is left after the checks.", repair="See `karat data check`, repair the data or drop fewer kinds of findings."
        )
    places = np.full(len(survey.ids), LEFT_OUT, np.int8)
    labels = [survey.labels[number] for number in kept.tolist()]
    places[kept] = split(survey.groups()[kept], labels, fractions=spec.fractions, seed=spec.seed)
    return places


def _write(store: Store, spec: SnapshotSpec, survey: Survey, places: NDArray[np.int8]) -> dict[str, Any]:
    """Write the splits and the ledger as blobs, and give the index of them."""
    with store.spool() as all_lines:
        starts, licences = _spool(store, spec, all_lines)
        order = sorted(range(len(places)), key=lambda number: hashlib.sha256(f"{spec.seed}:{survey.ids[number]}".encode()).digest())
        splits, counts = {}, {}
        for place, name in enumerate(SPLIT_NAMES):
            with store.spool() as lines:
                chosen = [number for number in order if places[number] == place]
                for number in chosen:
                    all_lines.seek(starts[number])
                    lines.write(all_lines.readline())
                lines.seek(0)
                splits[name], counts[name] = store.put(lines), len(chosen)
    labels = sorted({label for label, place in zip(survey.labels, places.tolist(), strict=True) if label is not None and place != LEFT_OUT})
    return {"splits": splits, "counts": counts, "labels": labels, "ledger": _ledger(store, survey), "licences": licences}


def _spool(store: Store, spec: SnapshotSpec, lines: BinaryIO) -> "tuple[array[int], list[str]]":
    """Write all samples of the sources one after another; give where each begins, and the licences among them."""
    starts = array("q")
    licences: set[str] = set()
    for source in spec.sources:
        for sample in samples_of(store, source):
            starts.append(lines.tell())
            lines.write(sample_line(sample))
            licences.add(sample.licence or "unknown")
    return starts, sorted(licences)


def _ledger(store: Store, survey: Survey) -> str:
    with store.spool() as lines:
        for number, finding in sorted(survey.dropped.items()):
            left = LeftOut(id=survey.ids[number], name=finding.sample, check=finding.check, message=finding.message)
            lines.write(canonical(left.model_dump()) + b"\n")
        lines.seek(0)
        return store.put(lines)


def _empty_splits(counts: dict[str, int], spec: SnapshotSpec) -> Iterator[Warned]:
    shares = dict(zip(SPLIT_NAMES, spec.fractions.shares().tolist(), strict=True))
    empty = [name for name, count in counts.items() if count == 0 and shares[name] > 0]
    if empty:
        yield Warned(message=f"Too few samples for all splits: nothing is in {', '.join(empty)}. Add samples, or raise their fractions.")
