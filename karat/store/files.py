"""Files: what an import has seen at a place and what it has kept already, so that it can be stopped, resumed and repeated.

It is kept in tables, and streamed in the order of names, so that a hundred thousand files never live in memory.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, and_, bindparam, delete, or_, select, tuple_, update

from karat.store import tables
from karat.store.database import Database
from karat.words.specs import canonical

BATCH = 500


@dataclass(frozen=True)
class SeenFile:
    """A file at an import's place. `raw` is what the place itself calls it; `stamp` changes when its content does."""

    raw: bytes
    name: str
    size: int
    stamp: str
    blob: str | None = None
    fields: dict[str, Any] | None = None


@dataclass(frozen=True)
class Look:
    """What a look at a blob found: facts about it, and a print by which to find others that look alike."""

    facts: dict[str, Any]
    print: bytes | None


class Files:
    """The tables of files seen by imports and of looks at blobs."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def see(self, location: str, scan: str, files: Sequence[SeenFile]) -> None:
        """Note files of a scan. One that is as it was keeps its blob; one that has changed loses it."""
        t = tables.files
        here = {"location": location, "seen": scan, "blob": None, "fields": None}
        rows = [{**here, "raw": f.raw, "name": f.name, "size": f.size, "stamp": f.stamp} for f in files]
        same = [bindparam("b_location") == t.c.location, bindparam("b_raw") == t.c.raw]
        changed = or_(t.c.size != bindparam("b_size"), t.c.stamp != bindparam("b_stamp"))
        forget = update(t).where(*same, changed).values(blob=None)
        with self._database.writing() as connection:
            connection.execute(forget, [{"b_location": location, "b_raw": f.raw, "b_size": f.size, "b_stamp": f.stamp} for f in files])
            connection.execute(self._database.upsert(t, update=("name", "seen", "size", "stamp", "fields")), rows)

    def describe(self, location: str, scan: str, said: Sequence[tuple[str, dict[str, Any]]]) -> list[tuple[str, str]]:
        """Give fields to the files of the given names; give back the names that are "missing" or "repeated". The last one counts."""
        t = tables.files
        problems = []
        with self._database.writing() as connection:
            for name, fields in said:
                here = and_(t.c.location == location, t.c.seen == scan, t.c.name == name)
                found = connection.execute(select(t.c.fields).where(here)).first()
                if found is None or found.fields is not None:
                    problems.append((name, "missing" if found is None else "repeated"))
                if found is not None:
                    connection.execute(update(t).where(here).values(fields=canonical(fields).decode()))
        return problems

    def keep(self, location: str, kept: Sequence[tuple[bytes, str]], looks: dict[str, Look], *, look: str) -> None:
        """Note the blobs of files (by raw name) and what a look at them found, in one step."""
        t = tables.files
        with self._database.writing() as connection:
            rows = [{"blob": blob, "look": look, "facts": canonical(s.facts).decode(), "print": s.print} for blob, s in looks.items()]
            if rows:
                connection.execute(self._database.upsert(tables.looks, update=("facts", "print")), rows)
            note = update(t).where(t.c.location == bindparam("b_location"), t.c.raw == bindparam("b_raw")).values(blob=bindparam("b_blob"))
            if kept:
                connection.execute(note, [{"b_location": location, "b_raw": raw, "b_blob": blob} for raw, blob in kept])

    def forget(self, location: str, raws: Sequence[bytes]) -> None:
        """Note that the blobs of some files are gone."""
        t = tables.files
        with self._database.writing() as connection:
            connection.execute(update(t).where(t.c.location == location, t.c.raw.in_(raws)).values(blob=None))

    def forget_blobs(self, blobs: set[str]) -> set[str]:
        """Drop all notes about blobs that are to be removed; give those that only listed some of them, to be removed as well."""
        t, k = tables.files, tables.looks
        with self._database.writing() as connection:
            listing = connection.execute(select(k.c.blob, k.c.facts).where(k.c.facts.like('%"blobs":%')))
            lists = {row.blob for row in listing if blobs & json.loads(row.facts).get("blobs", {}).keys()}
            gone = sorted(blobs | lists)
            for some in (gone[start : start + BATCH] for start in range(0, len(gone), BATCH)):
                connection.execute(delete(t).where(t.c.blob.in_(some)))
                connection.execute(delete(k).where(k.c.blob.in_(some)))
        return lists - blobs

    def missing(self, location: str, scan: str, *, look: str) -> Iterator[SeenFile]:
        """Stream the files that have no blob yet, or a blob at which no such look was taken."""
        t, k = tables.files, tables.looks
        joined = t.outerjoin(k, and_(k.c.blob == t.c.blob, k.c.look == look))
        yield from self._stream(select(t).select_from(joined).where(t.c.location == location, t.c.seen == scan, k.c.blob.is_(None)))

    def all(self, location: str, scan: str) -> Iterator[SeenFile]:
        """Stream all files of a scan."""
        t = tables.files
        yield from self._stream(select(t).where(t.c.location == location, t.c.seen == scan))

    def forget_others(self, location: str, scan: str) -> None:
        """Drop the notes about files that this scan no longer saw."""
        t = tables.files
        with self._database.writing() as connection:
            connection.execute(delete(t).where(t.c.location == location, t.c.seen != scan))

    def looks(self, blobs: Iterable[str], *, look: str) -> dict[str, Look]:
        """Give what was found at some blobs (some hundreds at most); blobs never looked at are left out."""
        k = tables.looks
        with self._database.reading() as connection:
            rows = connection.execute(select(k).where(k.c.blob.in_(list(blobs)), k.c.look == look))
            return {row.blob: Look(json.loads(row.facts), row.print) for row in rows}

    def _stream(self, query: Select[Any]) -> Iterator[SeenFile]:
        """Read page by page, each in its own short transaction, so that writers between the pages are not held up."""
        t = tables.files
        after: tuple[str, bytes] | None = None
        while True:
            page = query.order_by(t.c.name, t.c.raw).limit(BATCH)
            if after is not None:
                page = page.where(tuple_(t.c.name, t.c.raw) > after)
            with self._database.reading() as connection:
                rows = connection.execute(page).all()
            for row in rows:
                yield SeenFile(row.raw, row.name, row.size, row.stamp, row.blob, json.loads(row.fields) if row.fields else None)
            if len(rows) < BATCH:
                return
            after = (rows[-1].name, rows[-1].raw)
