"""Importing: from a folder or zip file to a source record, whose blob lists the samples.

What has been seen and kept is noted in the store as it goes, so an import that was killed goes on where it was, and a later import of the
same place only reads what has changed. Blobs become durable in batches, always before the notes that name them.
"""

import hashlib
import posixpath
import time
import unicodedata
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from pydantic import Field

from karat.material.data.looking import LOOK, Lookers
from karat.material.data.metadata import described, metadata_rows
from karat.material.data.samples import Sample, batches, sample_line
from karat.material.data.sources import Place, decoded, is_licence, is_metadata, is_picture, open_place
from karat.store.files import Look, SeenFile
from karat.store.store import Store
from karat.words.errors import DataError
from karat.words.events import Event, Finding, Finished, Progress, Started, Warned
from karat.words.specs import Spec, digest_of

SPLITS = frozenset(("train", "training", "test", "testing", "validation", "valid", "val", "dev", "eval"))
BATCH = 32
SETTLE = 512
EMPTY = hashlib.sha256(b"").hexdigest()
NO_FILE = "Give it a column file_name, or rename one with --column."


class ImportOptions(Spec):
    """What the user says about a place that is imported."""

    name: str | None = Field(default=None, description="what to call the source; the folder's name if not given")
    origin: str | None = Field(default=None, description="where the data comes from: an address, a person, a contract")
    licence: str | None = Field(
        default=None, description="the licence of all of it, where its rows say no other; read from a LICENSE file if not given"
    )
    columns: dict[str, str] = Field(default_factory=dict, description="columns to rename, as in category=label")


@dataclass
class _Scan:
    """What a first pass over the names of a place has found."""

    id: str
    pictures: int = 0
    texts: int = 0
    metadata: list[tuple[str, bytes]] = field(default_factory=list)
    licences: list[tuple[str, bytes]] = field(default_factory=list)
    ignored: Counter[str] = field(default_factory=Counter)
    classes: set[str] = field(default_factory=set)
    splits: set[str] = field(default_factory=set)


def import_source(store: Store, path: Path, *, options: ImportOptions | None = None, workers: int = 2) -> Iterator[Event]:
    """Import a folder or zip file. Ends in Finished, whose result is the id of the source's record."""
    options = options or ImportOptions()
    place = open_place(path)
    location = digest_of(place.location)
    with store.lock(f"import-{location[:16]}"), _said(path):
        scan = _scan(store, place, location)
        if scan.pictures == 0:
            raise DataError(f"{path} holds no pictures.", repair=f"Give a folder or zip of pictures. {_ignored_sentence(scan)}".strip())
        yield Started(what=f"import of {path}", total=scan.pictures, unit="pictures")
        yield from _warnings(scan)
        yield from _describe(store, place, location, scan=scan, columns=options.columns)
        _forget_lost(store, location, scan)
        yield from _keep(store, place, location, scan=scan, workers=workers)
        made, facts = _list(store, place, location, scan=scan)
        spec = _source_spec(store, place, scan, options)
        source = store.record("source", made=made, spec=spec, facts=facts)
        store.files.forget_others(location, scan.id)
    yield Finished(
        what="import",
        result=source,
        summary=f"Imported {facts['samples']} pictures as source {source[:12]}.",
        figures={name: float(value) for name, value in facts.items() if isinstance(value, int)},
    )


@contextmanager
def _said(path: Path) -> Iterator[None]:
    """Say in a sentence that the place cannot be read; the store says its own failures itself."""
    try:
        yield
    except OSError as error:
        problem = f"{path} cannot be read to its end: {error}."
        raise DataError(problem, repair="Check the disk and the permissions, and import again: it goes on where it was.") from None


def _scan(store: Store, place: Place, location: str) -> _Scan:
    scan = _Scan(uuid.uuid4().hex)
    for files in batches(place.scan(), SETTLE):
        pictures = []
        for file in files:
            if is_picture(file.name):
                pictures.append(file)
                split, label = _folders(file.name)
                scan.classes.update([label] if label else ())
                scan.splits.update([split] if split else ())
            elif is_metadata(file.name):
                scan.metadata.append((file.name, file.raw))
            elif is_licence(file.name):
                scan.licences.append((file.name, file.raw))
            elif file.name.lower().endswith(".txt"):
                scan.texts += 1
            else:
                scan.ignored[PurePosixPath(file.name).suffix.lower() or "no suffix"] += 1
        scan.pictures += len(pictures)
        if pictures:
            store.files.see(location, scan.id, pictures)
    scan.metadata.sort()
    scan.licences.sort()
    return scan


def _warnings(scan: _Scan) -> Iterator[Event]:
    if scan.ignored:
        yield Warned(message=_ignored_sentence(scan))
    if scan.splits:
        names = ", ".join(sorted(scan.splits))
        yield Warned(message=f"The folders {names} are kept as facts; a snapshot splits anew, so that near duplicates stay together.")


def _ignored_sentence(scan: _Scan) -> str:
    if not scan.ignored:
        return ""
    kinds = ", ".join(f"{count} of {suffix}" for suffix, count in scan.ignored.most_common(5))
    return f"Passed over {scan.ignored.total()} files that are no pictures: {kinds}."


def _describe(store: Store, place: Place, location: str, *, scan: _Scan, columns: dict[str, str]) -> Iterator[Event]:
    """Join the rows of the metadata files to the files that they name."""
    for name, raw in scan.metadata:
        below, named = PurePosixPath(name).parent, False
        reopen: Callable[[], BinaryIO] = partial(place.open, raw)
        for rows in batches(metadata_rows(name, reopen), SETTLE):
            said = []
            for number, row in rows:
                file, fields = described(row, columns)
                if file is None:
                    yield Finding(check="row-without-file", sample=f"{name}, line {number}", message="It names no file.", repair=NO_FILE)
                    continue
                named = True
                said.append((_normal(str(below / file)), fields))
            for file, problem in store.files.describe(location, scan.id, said):
                message = "A row describes it, but it is not there." if problem == "missing" else "More than one row describes it."
                repair = "Add the file or delete the row." if problem == "missing" else "Keep one row; the last one counts."
                yield Finding(check=f"{problem}-row", sample=file, message=message, repair=repair)
        if not named:
            raise DataError(f"No row of {name} names a file.", repair=NO_FILE)


def _forget_lost(store: Store, location: str, scan: _Scan) -> None:
    """Forget the blobs that were deleted or cut short, so that they are kept anew."""
    for files in batches(store.files.all(location, scan.id), SETTLE):
        lost = [file.raw for file in files if file.blob and not store.blobs.holds(file.blob, file.size)]
        if lost:
            store.files.forget(location, lost)


def _keep(store: Store, place: Place, location: str, *, scan: _Scan, workers: int) -> Iterator[Event]:
    """Keep the blobs of all files that are new or changed, and look at each; commit every few hundred of them."""
    began, done, total = time.monotonic(), 0, scan.pictures
    pending: list[tuple[bytes, str]] = []
    looks: dict[str, Look] = {}
    asked: list[list[tuple[bytes, str]]] = []
    left = sum(1 for _ in store.files.missing(location, scan.id, look=LOOK))
    if left == 0:
        return
    with Lookers(workers) as lookers:

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
            kept = _put(store, place, files)
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


def _list(store: Store, place: Place, location: str, *, scan: _Scan) -> tuple[str, dict[str, Any]]:
    """Write the list of samples as a blob, line by line in the order of names; give its digest and what it adds up to."""
    by_folder = len(scan.classes) >= 2 and not scan.metadata
    labels: Counter[str] = Counter()
    sums = Counter({"samples": 0, "bytes": 0, "with_captions": 0, "with_problems": 0})
    store.put(b"")
    with store.spool() as listing:
        for sample, size in _samples(store, place, location, scan=scan, by_folder=by_folder):
            listing.write(sample_line(sample))
            labels.update([sample.label] if sample.label is not None else ())
            sums.update(samples=1, bytes=size, with_captions=bool(sample.captions), with_problems="problem" in sample.facts)
        listing.seek(0)
        made = store.put(listing)
    facts = {**sums, "labels": len(labels)}
    return made, facts


def _samples(store: Store, place: Place, location: str, *, scan: _Scan, by_folder: bool) -> Iterator[tuple[Sample, int]]:
    last, times = "", 1
    for files in batches(store.files.all(location, scan.id), SETTLE):
        looks = store.files.looks({file.blob for file in files if file.blob}, look=LOOK)
        for file in files:
            times = times + 1 if file.name == last else 1
            last = file.name
            name = file.name if times == 1 else f"{file.name} ({times})"
            look = looks.get(file.blob or "")
            sample = _sample(file, name=name, look=look, by_folder=by_folder)
            yield sample if not scan.texts else _captioned(place, file, sample), file.size


def _sample(file: SeenFile, *, name: str, look: Look | None, by_folder: bool) -> Sample:
    said = dict(file.fields or {})
    split, folder = _folders(file.name)
    facts = {**said.pop("facts", {}), **({"split": split} if split else {})}
    facts |= look.facts if look else {"problem": {"check": "unreadable", "message": "The file could not be opened or read."}}
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


def _source_spec(store: Store, place: Place, scan: _Scan, options: ImportOptions) -> dict[str, Any]:
    licence, text = options.licence, None
    for _, raw in scan.licences[:1]:
        with place.open(raw) as reading:
            content = reading.read(1 << 20)
        text = store.put(content)
        lines = [line.strip() for line in content.decode("utf-8", "replace").splitlines() if line.strip()]
        licence = licence or (lines[0][:200] if lines else None)
    name = options.name or place.title
    return {
        "name": name,
        "origin": options.origin or name,
        "licence": licence,
        "licence_text": text,
        "columns": options.columns,
        "modality": "image",
    }


def _folders(name: str) -> tuple[str | None, str | None]:
    """Give the split (`train`, `test` …) and the class that the folders of a name say."""
    folders = list(PurePosixPath(name).parts[:-1])
    split = next((folder for folder in folders if folder.lower() in SPLITS), None)
    classes = [folder for folder in folders if folder != split]
    return split, classes[-1] if classes else None


def _normal(name: str) -> str:
    return unicodedata.normalize("NFC", posixpath.normpath(name.replace("\\", "/")))
