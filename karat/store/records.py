"""Records: what was made, of what kind, from what, by which spec; and aliases, names for records with their history."""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from pydantic import Field
from sqlalchemy import Connection, Row, delete, func, insert, select

from karat.store import tables
from karat.store.database import Database
from karat.words.errors import BusyError, NotFoundError
from karat.words.specs import Spec, canonical, digest_of

BATCH = 500
DIGEST = re.compile("[0-9a-f]{64}")


class Record(Spec):
    """One thing on the chain. `made` is the blob that it made, `made_from` are the records it was made from, in their order."""

    id: str
    kind: str
    made: str | None = None
    made_from: tuple[str, ...] = ()
    spec: dict[str, Any] = Field(default_factory=dict)
    facts: dict[str, Any] = Field(default_factory=dict)
    at: float


class AliasEntry(Spec):
    """One line in the history of a name: which record it pointed at from `at` on, and which entry stood before it."""

    number: int
    name: str
    record: str
    before: int | None
    at: float


class Records:
    """The tables of records, edges and aliases."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, record: Record) -> bool:
        """Keep a record; False when it was there already."""
        with self._database.writing() as connection:
            if _one(connection, record.id) is not None:
                return False
            missing = [parent for parent in record.made_from if _one(connection, parent) is None]
            if missing:
                raise NotFoundError(f"The store holds no record {missing[0][:12]} to be made from.", repair="Give the id of a record.")
            row = {"spec": canonical(record.spec).decode(), "facts": canonical(record.facts).decode()}
            plain = record.model_dump(include={"id", "kind", "made", "at"})
            added = self._database.upsert(tables.records).values(**plain, **row).returning(tables.records.c.number)
            number = connection.execute(added).scalar_one_or_none()
            if number is None:
                return False  # another process added it at this moment
            if record.kind == "asset":
                release = record.made_from[0] if record.made_from else None
                tables.index_asset(connection, number, release, record.at, record.spec, record.facts)
            edges = [{"child": record.id, "place": place, "parent": parent} for place, parent in enumerate(record.made_from)]
            if edges:
                connection.execute(insert(tables.edges), edges)
            return True

    def remove(self, ids: Sequence[str]) -> None:
        """Take records off the chain, all or none. Raises BusyError where something was made from them, or a name has pointed at one."""
        edges, aliases = tables.edges.c, tables.aliases.c
        with self._database.writing() as connection:
            below = select(edges.child).where(edges.parent.in_(ids), edges.child.not_in(ids)).limit(1)
            if (
                connection.execute(below).first()
                or connection.execute(select(aliases.name).where(aliases.record.in_(ids)).limit(1)).first()
            ):
                raise BusyError("Something was made from it, or a name points at it or once did.", repair="Keep it.")
            connection.execute(delete(tables.edges).where(edges.child.in_(ids)))
            connection.execute(delete(tables.records).where(tables.records.c.id.in_(ids)))

    def named(self) -> Iterator[str]:
        """Stream every digest that a record speaks of, some of them several times."""
        number = 0
        columns = (tables.records.c.number, tables.records.c.made, tables.records.c.spec, tables.records.c.facts)
        while True:
            with self._database.reading() as connection:
                query = select(*columns).where(tables.records.c.number > number).order_by(tables.records.c.number).limit(BATCH)
                rows = connection.execute(query).all()
            for row in rows:
                yield from ([row.made] if row.made else [])
                yield from DIGEST.findall(row.spec)
                yield from DIGEST.findall(row.facts)
            if len(rows) < BATCH:
                return
            number = rows[-1].number

    def starting_with(self, prefix: str, *, limit: int = 5) -> list[Record]:
        """Give the records whose id starts with some hex digits."""
        column = tables.records.c.id
        with self._database.reading() as connection:
            return _read(connection, select(tables.records).where(column >= prefix, column < prefix + "g").order_by(column).limit(limit))

    def several(self, ids: Sequence[str]) -> list[Record]:
        """Give the records of some ids, in their order; those that there are not are left out."""
        with self._database.reading() as connection:
            found = [
                record
                for some in _batches(list(ids))
                for record in _read(connection, select(tables.records).where(tables.records.c.id.in_(some)))
            ]
        by_id = {record.id: record for record in found}
        return [by_id[id] for id in ids if id in by_id]

    def making(self, digest: str) -> list[Record]:
        """Give the records of what made a blob, newest first."""
        with self._database.reading() as connection:
            return _read(connection, select(tables.records).where(tables.records.c.made == digest).order_by(tables.records.c.number.desc()))

    def find(self, kind: str, *, limit: int, newest_first: bool = True, before: str | None = None) -> list[Record]:
        """Give the records of a kind; `before` is the id of the last one that was seen, newest first."""
        order = tables.records.c.number.desc() if newest_first else tables.records.c.number
        query = select(tables.records).where(tables.records.c.kind == kind).order_by(order).limit(limit)
        if before is not None:
            last = select(tables.records.c.number).where(tables.records.c.id == before).scalar_subquery()
            query = query.where(tables.records.c.number < last)
        with self._database.reading() as connection:
            return _read(connection, query)

    def walk(self, start: str, *, upwards: bool) -> list[Record]:
        """Give everything that a record was made from (or that was made from it), nearest first, each once."""
        near, far = ("child", "parent") if upwards else ("parent", "child")
        edges = tables.edges.c
        seen, level, found = {start}, [start], []
        with self._database.reading() as connection:
            while level:
                step: list[str] = []
                for some in _batches(level):
                    query = select(edges[far]).where(edges[near].in_(some)).order_by(edges[near], edges.place, edges[far])
                    step += connection.scalars(query)
                level = [id for id in dict.fromkeys(step) if id not in seen]
                seen.update(level)
                for some in _batches(level):
                    by_id = {record.id: record for record in _read(connection, select(tables.records).where(tables.records.c.id.in_(some)))}
                    found += [by_id[id] for id in some]
        return found

    def point(self, name: str, record: str, *, at: float) -> None:
        """Let a name point at a record from now on."""
        with self._database.writing(alone=f"alias {name}") as connection:
            current = _current(connection, name)
            if current is None or current.record != record:
                before = current.number if current else None
                connection.execute(insert(tables.aliases).values(name=name, record=record, before=before, at=at))

    def point_back(self, name: str, *, at: float) -> str:
        """Let a name point at what it pointed at before its current record; the history only grows."""
        with self._database.writing(alone=f"alias {name}") as connection:
            current = _current(connection, name)
            if current is None or current.before is None:
                raise NotFoundError(f"The alias {name!r} has nothing to go back to.", repair="See its history with `karat alias`.")
            before = connection.execute(select(tables.aliases).where(tables.aliases.c.number == current.before)).one()
            connection.execute(insert(tables.aliases).values(name=name, record=before.record, before=before.before, at=at))
            return str(before.record)

    def current(self, name: str) -> str | None:
        """Give the id of the record that a name points at."""
        with self._database.reading() as connection:
            entry = _current(connection, name)
        return entry.record if entry else None

    def history(self, name: str) -> list[AliasEntry]:
        """Give all entries of a name, oldest first."""
        with self._database.reading() as connection:
            rows = connection.execute(select(tables.aliases).where(tables.aliases.c.name == name).order_by(tables.aliases.c.number))
            return [AliasEntry(**row._mapping) for row in rows]

    def aliases(self) -> dict[str, str]:
        """Give every name with the id of the record that it points at."""
        newest = select(func.max(tables.aliases.c.number)).group_by(tables.aliases.c.name)
        query = select(tables.aliases).where(tables.aliases.c.number.in_(newest)).order_by(tables.aliases.c.name)
        with self._database.reading() as connection:
            return {row.name: row.record for row in connection.execute(query)}


def record_id(kind: str, made: str | None, made_from: Sequence[str], spec: dict[str, Any], facts: dict[str, Any]) -> str:
    """Give the digest of what a record says, which leaves out when it was said."""
    return digest_of({"kind": kind, "made": made, "made_from": list(made_from), "spec": spec, "facts": facts})


def _one(connection: Connection, id: str) -> Row[Any] | None:
    return connection.execute(select(tables.records.c.id).where(tables.records.c.id == id)).first()


def _current(connection: Connection, name: str) -> Row[Any] | None:
    return connection.execute(
        select(tables.aliases).where(tables.aliases.c.name == name).order_by(tables.aliases.c.number.desc()).limit(1)
    ).first()


def _read(connection: Connection, query: Any) -> list[Record]:
    rows = connection.execute(query).all()
    parents: dict[str, list[str]] = {row.id: [] for row in rows}
    edges = tables.edges.c
    for some in _batches(list(parents)):
        for edge in connection.execute(select(tables.edges).where(edges.child.in_(some)).order_by(edges.child, edges.place)):
            parents[edge.child].append(edge.parent)
    return [
        Record(
            id=row.id,
            kind=row.kind,
            made=row.made,
            made_from=tuple(parents[row.id]),
            spec=json.loads(row.spec),
            facts=json.loads(row.facts),
            at=row.at,
        )
        for row in rows
    ]


def _batches(ids: list[str]) -> Iterable[list[str]]:
    return (ids[start : start + BATCH] for start in range(0, len(ids), BATCH))
