"""Importing texts: a document is a sample, and so is each row of a table; their bytes lie together in shards.

A shard ends after so many bytes or files, never after so much time, so an import that was killed and went on ends as one that was not.
What went on is a file at a time: of a file that was half read nothing is noted.
"""

import shutil
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import PurePosixPath
from typing import Any, BinaryIO

from karat.material.data.metadata import WORDS
from karat.material.data.pictures import EMPTY, UNREADABLE, Listed, describe, named_apart
from karat.material.data.samples import Sample, batches, sample_line
from karat.material.data.scanning import SETTLE, Each, Visit, folders, problem
from karat.material.data.tables import Reopen, is_table, table_rows
from karat.material.data.texts.columns import MAIN, Understood, understood
from karat.material.data.texts.documents import docx_text, lines_of, paragraphs_of, pieces
from karat.material.data.texts.encodings import Encoding, characters, found_encoding, lines_in
from karat.material.data.texts.shards import SHARD, Listings, ShardWriter, Sums, end_line, sums_of
from karat.store.files import Look, SeenFile
from karat.words.errors import DataError
from karat.words.events import Event, Finding, Progress, Warned
from karat.words.specs import digest_of

FORM = 2
"""The version of what is kept; another one reads everything anew."""
FILES = 4096
"""Files after which what was read is noted, at most."""
PACKED = (".parquet", ".docx")
"""Files that are read at any place, not from the beginning to the end."""
SAID = 20
"""Rows that are no samples of which a file says what is wrong; the others are counted."""
EVERY_SECONDS = 0.5


@dataclass(frozen=True)
class Text:
    """A sample that was read, its bytes, the form that it came in, and which of the columns to be renamed its row has."""

    sample: Sample
    content: bytes
    form: str = ""
    renamed: tuple[str, ...] | None = None


@dataclass(frozen=True)
class LeftOut:
    """A row that is no sample, and why."""

    where: str
    error: DataError


Reading = Iterator[Text | LeftOut]


def import_texts(visit: Visit) -> Generator[Event, None, Listed]:
    """Keep the texts of a place; give the digest of the list of its samples, and what they add up to."""
    yield from describe(visit)
    look = f"text-{FORM}-{digest_of([visit.columns, visit.each])[:12]}"
    _forget_lost(visit, look)
    yield from _keep(visit, look)
    return (yield from _list(visit))


def _forget_lost(visit: Visit, look: str) -> None:
    """Forget the files of which a shard or the listing was deleted or cut short, so that they are kept anew."""
    blobs, files = visit.store.blobs, visit.store.files
    whole: dict[str, bool] = {}
    for some in batches(files.all(visit.location, visit.scan.id), SETTLE):
        new = {file.blob for file in some if file.blob} - set(whole)
        for listing, known in files.looks(new, look=look).items():
            whole[listing] = all(blobs.holds(blob, size) for blob, size in known.facts["blobs"].items())
        lost = [file.raw for file in some if file.blob and not whole.get(file.blob, True)]
        if lost:
            files.forget(visit.location, lost)


def _keep(visit: Visit, look: str) -> Iterator[Event]:
    """Pack all files that are new or changed, and note them whenever a shard is full."""
    store, scan = visit.store, visit.scan
    left = sum(file.size for file in store.files.missing(visit.location, scan.id, look=look))
    progress = _Pace(total=scan.size, left=left)
    pending: list[bytes] = []
    with store.spool() as shard, store.spool() as listing:
        writer = ShardWriter(store, shard, listing)

        def commit() -> None:
            made, blobs = writer.close()
            blobs[made] = store.path(made).stat().st_size
            store.blobs.settle()
            store.files.keep(visit.location, [(raw, made) for raw in pending], {made: Look({"blobs": blobs}, None)}, look=look)
            pending.clear()

        for file in store.files.missing(visit.location, scan.id, look=look):
            if pending and (file.size >= SHARD or writer.shards or len(pending) >= FILES):
                commit()
            opened = _opened(visit, file)
            if opened is None:
                continue
            yield from _pack(writer, file, _texts(visit, file, opened), progress)
            pending.append(file.raw)
        if pending:
            commit()
    if left:
        yield progress.event()


class _Pace:
    """How far the reading is, in bytes of files."""

    def __init__(self, *, total: int, left: int) -> None:
        self._began = self._said = time.monotonic()
        self._total, self._left, self._done, self._samples = total, left, 0, 0

    def read(self, size: int, samples: int) -> Iterator[Progress]:
        """Count bytes and samples; say so from time to time."""
        self._done, self._samples = self._done + size, self._samples + samples
        if time.monotonic() - self._said > EVERY_SECONDS:
            self._said = time.monotonic()
            yield self.event()

    def event(self) -> Progress:
        seconds = max(time.monotonic() - self._began, 1e-9)
        done = min(self._done, self._left)
        figures = {"megabytes_per_second": self._done / seconds / 1e6, "samples_per_second": self._samples / seconds}
        waiting = (self._left - done) * seconds / done if done else None
        return Progress(done=self._total - self._left + done, total=self._total, seconds_left=waiting, figures=figures)


def _pack(writer: ShardWriter, file: SeenFile, reading: Reading, pace: _Pace) -> Iterator[Event]:
    """Pack the samples of one file, and say how far it is."""
    sums, counted = Sums(), 0
    problems: list[tuple[str, str, str]] = []
    writer.begin(file)
    for item in reading:
        if isinstance(item, LeftOut):
            sums.counts["left_out"] += 1
            problems += [(item.where, item.error.problem, item.error.repair)] if len(problems) < SAID else []
            continue
        writer.add(item.sample, item.content)
        sums.add(item.sample, size=len(item.content), form=item.form)
        sums.counts.update(() if item.renamed is None else ("rows", *(f"with column {name}" for name in item.renamed)))
        step = min(len(item.content), file.size - counted)
        counted += step
        yield from pace.read(step, 1)
    writer.end(sums.changed(problems=problems))
    yield from pace.read(file.size - counted, 0)


def _opened(visit: Visit, file: SeenFile) -> Callable[[], BinaryIO] | None:
    """Give a way to open a file again and again; None if it cannot be opened at all."""
    reopen: Callable[[], BinaryIO] = partial(visit.place.open, file.raw)
    try:
        with reopen() as reading:
            reading.read(0)
    except OSError:
        return None
    return reopen


def _texts(visit: Visit, file: SeenFile, reopen: Callable[[], BinaryIO]) -> Reading:
    """Read the samples of one file. One of which nothing can be read is a sample with a problem."""
    any_read = False
    try:
        with visit.store.spool() as spool:
            again = partial(_seekable, reopen, spool) if file.name.lower().endswith(PACKED) else reopen
            for item in _rows(visit, file, again) if is_table(file.name) else _document(visit, file, again):
                any_read = True
                yield item
    except (DataError, OSError) as error:
        if not isinstance(error, DataError):
            error = DataError(f"{file.name} cannot be read to its end: {error.strerror or error}.", repair="Copy the file again.")
        yield LeftOut(file.name, error) if any_read else Text(_sample(file.name, facts=problem("unreadable", error.problem)), b"")


@contextmanager
def _seekable(reopen: Callable[[], BinaryIO], spool: BinaryIO) -> Iterator[BinaryIO]:
    """Open a file that has to be read at any place; what lies packed in a zip file is copied first."""
    with reopen() as reading:
        if reading.seekable():
            yield reading
            return
        spool.seek(0)
        shutil.copyfileobj(reading, spool, 1 << 20)
        spool.seek(0)
        yield spool


def _document(visit: Visit, file: SeenFile, reopen: Reopen) -> Reading:
    """Read a document as one sample, or each of its lines or paragraphs as one."""
    form = PurePosixPath(file.name).suffix.lower().removeprefix(".")
    encoding = None if form == "docx" else found_encoding(reopen, file.name)
    facts = _encoding_facts(encoding)
    with reopen() as reading:
        chunks = characters(reading, encoding) if encoding else docx_text(reading, file.name)
        yield from _whole(file, chunks, facts, form) if visit.each == "file" else _parts(file, chunks, visit.each, facts)


def _whole(file: SeenFile, chunks: Iterator[str], facts: dict[str, Any], form: str) -> Reading:
    """Give a document as one sample; one of more than a megabyte becomes several of one group, so that no split parts them."""
    cut = pieces(chunks)
    first, second = next(cut, ""), next(cut, None)
    if second is not None:
        for number, piece in enumerate(chain((first, second), cut), 1):
            part = {**facts, "document": file.name, "piece": number}
            yield Text(_sample(f"{file.name}:{number}", facts=part, group=file.name), piece.encode(), form)
    elif first.strip():
        yield Text(_sample(file.name, facts=facts), first.encode(), form)
    else:
        yield Text(_sample(file.name, facts=facts | problem("empty", "It holds no text.")), b"", form)


def _parts(file: SeenFile, chunks: Iterator[str], each: Each, facts: dict[str, Any]) -> Reading:
    """Give each line or paragraph as a sample, named by the line that it begins in; a document without any is empty."""
    some = False
    for number, part in (lines_of if each == "line" else paragraphs_of)(lines_in(chunks)):
        name, some = f"{file.name}:{number}", True
        if part is None:
            yield LeftOut(name, DataError("The line is longer than 16 million characters.", repair="Import the file as it is, in pieces."))
        else:
            yield Text(_sample(name, facts={**facts, "document": file.name}), part.encode(), each)
    if not some:
        yield Text(_sample(file.name, facts=facts | problem("empty", "It holds no text.")), b"", each)


def _rows(visit: Visit, file: SeenFile, reopen: Reopen) -> Reading:
    """Read a table. A row that cannot be understood is left out, and said."""
    encoding = None if file.name.lower().endswith(".parquet") else found_encoding(reopen, file.name)
    facts = _encoding_facts(encoding)
    words = {*MAIN, *WORDS, *(old for old, new in visit.columns.items() if new in (*MAIN, *WORDS))}
    for number, row in table_rows(file.name, reopen, encoding=encoding or Encoding(), words=words):
        name = f"{file.name}:{number}"
        try:
            if isinstance(row, DataError):
                raise row
            renamed = tuple(column for column in visit.columns if column in row)
            yield replace(_row(name, understood(row, visit.columns), facts), renamed=renamed)
        except DataError as error:
            yield LeftOut(name, error)


def _row(name: str, read: Understood, facts: dict[str, Any]) -> Text:
    """Give the sample of a row. Raises DataError for characters that no text has."""
    said = dict(read.fields)
    facts = {**said.pop("facts", {}), **facts}
    if "\0" in read.passage.plain():
        raise DataError("It holds a NUL character, which no text has.", repair="Correct the row.")
    try:
        content = read.passage.to_bytes()
    except UnicodeEncodeError:
        raise DataError("It holds half of a character (a lone surrogate).", repair="Correct the row.") from None
    if not read.passage.plain().strip():
        facts |= problem("empty", "It holds no text.")
    return Text(_sample(name, in_turns=bool(read.passage.turns), facts=facts, **said), content, read.form)


def _encoding_facts(encoding: Encoding | None) -> dict[str, Any]:
    if encoding is None:
        return {}
    return {"encoding": encoding.name, **({"damaged": True} if encoding.damaged else {})}


def _sample(name: str, **values: Any) -> Sample:
    return Sample(id="", source="", name=name, blob=EMPTY, span=(0, 0), modality="text", **values)


def _list(visit: Visit) -> Generator[Event, None, Listed]:
    """Write the list of samples as a blob, in the order of the files' names; give its digest and what it adds up to."""
    store, scan, total, bad = visit.store, visit.scan, Sums(), ""
    listings = Listings(store)
    store.put(b"")
    with store.spool() as listing:
        for file, name in named_apart(store.files.all(visit.location, scan.id)):
            change = _change(file, name, by_folder=scan.labels_by_folder)
            own = Sums()
            for line in listings.of(file) if file.blob else _unread(file):
                sums = sums_of(line)
                if sums is not None:
                    yield from _findings(file, sums)
                    bad = bad or " ".join(sums.problems[0][1:] if sums.problems else ())
                    total.take(sums.changed(labels=own.labels) if change else sums)
                    continue
                if change:
                    sample = change(Sample.from_json(line))
                    own.add(sample)
                    line = sample_line(sample)
                listing.write(line)
                if not bad and b'"problem":' in line:
                    bad = Sample.from_json(line).facts["problem"]["message"]
        if total.counts["samples"] == total.counts["with_problems"]:
            raise DataError(f"Nothing of {visit.place.title} can be used: {bad}", repair="Repair it, and import it again.")
        yield from _unknown_columns(visit, total)
        listing.seek(0)
        made = store.put(listing)
    sums_up = {name: total.counts[name] for name in ("samples", "bytes", "with_captions", "with_problems", "left_out")}
    facts = {"files": scan.files, "labels": len(total.labels), "encodings": dict(total.encodings), "forms": dict(total.forms)}
    return made, {**sums_up, **facts}


def _unknown_columns(visit: Visit, total: Sums) -> Iterator[Warned]:
    """Say which columns no row has, where all samples are rows."""
    for column in visit.columns:
        if total.counts["rows"] == total.counts["samples"] and not total.counts[f"with column {column}"]:
            yield Warned(message=f"No row has the column {column!r}, so --column {column}={visit.columns[column]} renames nothing.")


def _unread(file: SeenFile) -> Iterator[bytes]:
    """Give the lines of a file that could not be opened, as a listing would have them."""
    sums, sample = Sums(), _sample(file.name, facts=UNREADABLE)
    sums.add(sample)
    yield from (sample_line(sample), end_line(sums))


def _findings(file: SeenFile, sums: Sums) -> Iterator[Finding]:
    """Say what was wrong with rows that were left out."""
    for where, message, repair in sums.problems:
        yield Finding(check="bad-row", sample=where, message=message, repair=repair, drops=True)
    if (more := sums.counts["left_out"] - len(sums.problems)) > 0:
        yield Finding(check="bad-row", sample=file.name, message=f"{more:,} more of its rows are left out.", repair=repair, drops=True)


def _change(file: SeenFile, name: str, *, by_folder: bool) -> Callable[[Sample], Sample] | None:
    """Give what a file's place and the rows about it change in its samples; None where that is nothing."""
    split, folder = folders(file.name)
    said = dict(file.fields or {})
    facts = {**said.pop("facts", {}), **({"split": split} if split else {})}
    label = folder if by_folder else None
    if name == file.name and not facts and not said and label is None:
        return None

    def change(sample: Sample) -> Sample:
        named = name + sample.name.removeprefix(file.name)
        return sample.changed(**{"label": sample.label or label, **said, "name": named, "facts": {**facts, **sample.facts}})

    return change
