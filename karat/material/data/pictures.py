"""Importing pictures: each file is a blob of its own, looked at once; rows of metadata and text files beside them describe them."""

import hashlib
import posixpath
import time
import unicodedata
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from functools import partial
from pathlib import PurePosixPath
from typing import Any, BinaryIO

from karat.material.data.looking import LOOK, Lookers
from karat.material.data.metadata import described, metadata_rows
from karat.material.data.samples import Sample, batches, sample_line
from karat.material.data.scanning import SETTLE, Visit, folders
from karat.material.data.sources import Place
from karat.material.data.texts.encodings import decoded
from karat.store.files import Look, SeenFile
from karat.store.store import Store
from karat.words.errors import DataError
from karat.words.events import Event, Finding, Progress

BATCH = 32
EMPTY = hashlib.sha256(b"").hexdigest()
NO_FILE = "Give it a column file_name, or rename one with --column."
UNREADABLE = {"problem": {"check": "unreadable", "message": "The file could not be opened or read."}}
Listed = tuple[str, dict[str, Any]]


def import_pictures(visit: Visit) -> Generator[Event, None, Listed]:
    """Keep the pictures of a place; give the digest of the list of its samples, and what they add up to."""
    yield from describe(visit)
    _forget_lost(visit)
    yield from _keep(visit)
    return _list(visit)


def describe(visit: Visit) -> Iterator[Event]:
    """Join the rows of the metadata files to the files that they name."""
    for described_by in visit.scan.metadata:
        name, below, named = described_by.name, PurePosixPath(described_by.name).parent, False
        reopen: Callable[[], BinaryIO] = partial(visit.place.open, described_by.raw)
        for rows in batches(metadata_rows(name, reopen), SETTLE):
            said = []
            for number, row in rows:
                file, fields = described(row, visit.columns)
                if file is None:
                    yield Finding(check="row-without-file", sample=f"{name}, line {number}", message="It names no file.", repair=NO_FILE)
                    continue
                named = True
                said.append((_normal(str(below / file)), fields))
            for file, problem in visit.store.files.describe(visit.location, visit.scan.id, said):
                message = "A row describes it, but it is not there." if problem == "missing" else "More than one row describes it."
                repair = "Add the file or delete the row." if problem == "missing" else "Keep one row; the last one counts."
                yield Finding(check=f"{problem}-row", sample=file, message=message, repair=repair)
        if not named:
            raise DataError(f"No row of {name} names a file.", repair=NO_FILE)


def _forget_lost(visit: Visit) -> None:
    """Forget the blobs that were deleted or cut short, so that they are kept anew."""
    store, location, scan = visit.store, visit.location, visit.scan
    for files in batches(store.files.all(location, scan.id), SETTLE):
        lost = [file.raw for file in files if file.blob and not store.blobs.holds(file.blob, file.size)]
        if lost:
            store.files.forget(location, lost)


def _keep(visit: Visit) -> Iterator[Event]:
    """Keep the blobs of all files that are new or changed, and look at each; commit every few hundred of them."""
    store, location, scan = visit.store, visit.location, visit.scan
    began, done, total = time.monotonic(), 0, scan.files
    pending: list[tuple[bytes, str]] = []
    looks: dict[str, Look] = {}
    asked: list[list[tuple[bytes, str]]] = []
    left = sum(1 for _ in store.files.missing(location, scan.id, look=LOOK))
    if left == 0:
        return
    with Lookers(visit.workers) as lookers:

        def take() -> None:
            kept = asked.pop(0)
            pending.extend(kept)
            for (_, blob), (facts, print) in zip(kept, lookers.answer(), strict=True):
                looks[blob] = Look(facts, print)

        def commit() -> None:
            store.blobs.settle()
            store.files.keep(location, pending, looks, look=LOOK)
            pending.clear()
            looks.clear()

        for files in batches(store.files.missing(location, scan.id, look=LOOK), BATCH):
            kept = _put(store, visit.place, files)
            if lookers.full:
                take()
            asked.append(kept)
            lookers.ask([store.path(blob) for _, blob in kept])
            done += len(files)
            if len(pending) >= SETTLE:
                commit()
            rate = done / max(time.monotonic() - began, 1e-9)
            figures = {"pictures_per_second": rate}
            yield Progress(done=total - left + done, total=total, seconds_left=(left - done) / rate, figures=figures)
        while lookers.waiting:
            take()
        commit()


def _put(store: Store, place: Place, files: list[SeenFile]) -> list[tuple[bytes, str]]:
    """Keep some files, but not those that cannot be read: they become samples with a problem."""
    kept = []
    for file in files:
        try:
            with place.open(file.raw) as reading:
                reading.read(0)
                content = _Reading(reading)
                kept.append((file.raw, store.blobs.put(content, wait=False)))  # type: ignore[arg-type]
        except (OSError, _UnreadableError):
            continue
    return kept


class _UnreadableError(Exception):
    """A file of the user's could not be read, which is a finding and no failure of the store."""


class _Reading:
    """A stream that tells its own failures from those of the store that it is copied to."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def read(self, size: int) -> bytes:
        try:
            return self._stream.read(size)
        except OSError as error:
            raise _UnreadableError(str(error)) from error


def _list(visit: Visit) -> Listed:
    """Write the list of samples as a blob, line by line in the order of names; give its digest and what it adds up to."""
    labels: Counter[str] = Counter()
    sums = Counter({"samples": 0, "bytes": 0, "with_captions": 0, "with_problems": 0})
    visit.store.put(b"")
    with visit.store.spool() as listing:
        for sample, size in _samples(visit):
            listing.write(sample_line(sample))
            labels.update([sample.label] if sample.label is not None else ())
            sums.update(samples=1, bytes=size, with_captions=bool(sample.captions), with_problems="problem" in sample.facts)
        listing.seek(0)
        made = visit.store.put(listing)
    return made, {**sums, "labels": len(labels)}


def _samples(visit: Visit) -> Iterator[tuple[Sample, int]]:
    store, scan = visit.store, visit.scan
    for files in batches(named_apart(store.files.all(visit.location, scan.id)), SETTLE):
        looks = store.files.looks({file.blob for file, _ in files if file.blob}, look=LOOK)
        for file, name in files:
            look = looks.get(file.blob or "")
            sample = _sample(file, name=name, look=look, by_folder=scan.labels_by_folder)
            yield sample if not scan.documents else _captioned(visit.place, file, sample), file.size


def named_apart(files: Iterator[SeenFile]) -> Iterator[tuple[SeenFile, str]]:
    """Give files with their names, a number behind all but the first of those that have the same one."""
    last, times = "", 1
    for file in files:
        times = times + 1 if file.name == last else 1
        last = file.name
        yield file, file.name if times == 1 else f"{file.name} ({times})"


def _sample(file: SeenFile, *, name: str, look: Look | None, by_folder: bool) -> Sample:
    said = dict(file.fields or {})
    split, folder = folders(file.name)
    facts = {**said.pop("facts", {}), **({"split": split} if split else {})}
    facts |= look.facts if look else UNREADABLE
    label = said.pop("label", folder if by_folder else None)
    return Sample(id="", source="", name=name, blob=file.blob or EMPTY, label=label, facts=facts, **said)


def _captioned(place: Place, file: SeenFile, sample: Sample) -> Sample:
    """Add the text of the file of the same name, where no row of metadata has a text."""
    if "text" in sample.captions:
        return sample
    name = str(PurePosixPath(file.name).with_suffix(".txt"))
    try:
        caption = place.caption_of(file.raw)
    except OSError as error:
        raise DataError(f"The caption {name} cannot be read: {error.strerror or error}.", repair="Repair or delete it.") from None
    text = "" if caption is None else decoded(caption, name).strip()
    return sample.changed(captions={**sample.captions, "text": text}) if text else sample


def _normal(name: str) -> str:
    return unicodedata.normalize("NFC", posixpath.normpath(name.replace("\\", "/")))
