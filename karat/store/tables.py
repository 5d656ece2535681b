"""The tables of a store as they are now, and the forward-only steps that bring an older store to them.

A step is a plain function under the number of the version that it makes; all of them run inside one transaction. Alembic would bring a
configuration, a folder of scripts and a quarter of a second of imports to each command, for stores that a library opens where no one
can run `alembic upgrade`.
"""

import json
from collections.abc import Callable
from typing import Any

from sqlalchemy import (
    DDL,
    BigInteger,
    Boolean,
    Column,
    Connection,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    insert,
    inspect,
    select,
    update,
)

from karat.store.finding import words_of
from karat.words.errors import StoreError

now = MetaData()

records = Table(
    "records",
    now,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("id", String(64), unique=True, nullable=False),
    Column("kind", String(32), nullable=False, index=True),
    Column("made", String(64), index=True),
    Column("spec", Text, nullable=False),
    Column("facts", Text, nullable=False),
    Column("at", Float, nullable=False),
)
edges = Table(
    "edges",
    now,
    Column("child", String(64), ForeignKey("records.id"), primary_key=True),
    Column("place", Integer, primary_key=True),
    Column("parent", String(64), ForeignKey("records.id"), nullable=False, index=True),
)
aliases = Table(
    "aliases",
    now,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("name", String(200), nullable=False, index=True),
    Column("record", String(64), ForeignKey("records.id"), nullable=False),
    Column("before", Integer),
    Column("at", Float, nullable=False),
)
files = Table(
    "files",
    now,
    Column("location", String(64), primary_key=True),
    Column("raw", LargeBinary, primary_key=True),
    Column("name", Text, nullable=False),
    Column("seen", String(32), nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("stamp", String(32), nullable=False),
    Column("blob", String(64)),
    Column("fields", Text),
    Index("files_in_order", "location", "seen", "name", "raw"),
)
looks = Table(
    "looks",
    now,
    Column("blob", String(64), primary_key=True),
    Column("look", String(32), primary_key=True),
    Column("facts", Text, nullable=False),
    Column("print", LargeBinary),
)
jobs = Table(
    "jobs",
    now,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("id", String(24), unique=True, nullable=False),
    Column("kind", String(32), nullable=False),
    Column("state", String(12), nullable=False),
    Column("lane", String(12), nullable=False),
    Column("owner", String(64), nullable=False),
    Column("mates", String(128)),
    Column("spec", Text, nullable=False),
    Column("once", String(128)),
    Column("webhook", Text),
    Column("done", Integer, nullable=False, default=0),
    Column("total", Integer),
    Column("figures", Text),
    Column("result", Text),
    Column("error", Text),
    Column("seconds", Float, nullable=False, default=0.0),
    Column("submitted", Float, nullable=False),
    Column("started", Float),
    Column("ended", Float),
    Column("worker", String(64)),
    Column("attempt", Integer, nullable=False, default=0),
    Column("beat", Float),
    Column("cancelling", Boolean, nullable=False, default=False),
    Column("reserved", Float, nullable=False, default=0.0, server_default="0"),
    Index("jobs_waiting", "state", "lane", "number"),
    Index("jobs_of_owner", "owner", "number"),
    Index("jobs_once", "owner", "once", unique=True),
)
tellings = Table(
    "tellings",
    now,
    Column("job", String(24), primary_key=True),
    Column("tries", Integer, nullable=False, default=0),
    Column("due", Float, nullable=False, index=True),
)
keys = Table(
    "keys",
    now,
    Column("id", String(24), primary_key=True),
    Column("owner", String(24), nullable=False, index=True),
    Column("name", String(200), nullable=False),
    Column("hash", String(64), unique=True, nullable=False),
    Column("scopes", String(100), nullable=False),
    Column("made", Float, nullable=False),
    Column("expires", Float),
    Column("revoked", Float),
    Column("per_minute", Float),
    Column("budget", Float),
)
people = Table(
    "people",
    now,
    Column("name", String(100), primary_key=True),
    Column("password", String(200), nullable=False),
    Column("role", String(20), nullable=False),
    Column("made", Float, nullable=False),
    Column("left", Float),
)
calls = Table(
    "calls",
    now,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("at", Float, nullable=False),
    Column("who", String(100), index=True),
    Column("address", String(64)),
    Column("method", String(10), nullable=False),
    Column("path", String(500), nullable=False),
    Column("status", Integer, nullable=False),
    Column("seconds", Float, nullable=False),
    Column("request", String(64), nullable=False),
)
assets = Table(
    "assets",
    now,
    Column("number", Integer, primary_key=True),
    Column("release", String(64), index=True),
    Column("at", Float, nullable=False, index=True),
)
asset_words = Table(
    "asset_words",
    now,
    Column("word", String(40).with_variant(String(40, collation="C"), "postgresql"), primary_key=True),  # in the order of code points
    Column("asset", Integer, primary_key=True),
    Index("words_of_asset", "asset", "word"),
)
version = Table("store_version", now, Column("version", Integer, nullable=False))


def _add_jobs(connection: Connection) -> None:
    jobs.create(connection)


def _add_accounts(connection: Connection) -> None:
    """Add keys, people and calls, an index of the assets that are there, and what a job reserves of its owner's budget."""
    now.create_all(connection, tables=[tellings, keys, people, calls, assets, asset_words])
    if "reserved" not in {column["name"] for column in inspect(connection).get_columns("jobs")}:
        connection.execute(DDL("ALTER TABLE jobs ADD COLUMN reserved FLOAT NOT NULL DEFAULT 0"))
    parent = select(edges.c.parent).where(edges.c.child == records.c.id, edges.c.place == 0).scalar_subquery()
    known = select(records.c.number, records.c.spec, records.c.facts, records.c.at, parent.label("release"))
    for row in connection.execute(known.where(records.c.kind == "asset", records.c.number.not_in(select(assets.c.number)))).all():
        index_asset(connection, row.number, row.release, row.at, json.loads(row.spec), json.loads(row.facts))


def index_asset(connection: Connection, number: int, release: str | None, at: float, spec: dict[str, Any], facts: dict[str, Any]) -> None:
    """Let an asset be found by the words of its request."""
    connection.execute(insert(assets).values(number=number, release=release, at=at))
    words = words_of([spec, facts.get("title")])
    if words:
        connection.execute(insert(asset_words), [{"word": word, "asset": number} for word in sorted(words)])


STEPS: dict[int, Callable[[Connection], None]] = {2: _add_jobs, 3: _add_accounts}
VERSION = 3


def version_of(connection: Connection) -> int:
    """Give the version of the tables that a store has; 0 for an empty one."""
    if not inspect(connection).has_table(version.name):
        return 0
    return connection.scalar(select(version.c.version)) or 0


def migrate(connection: Connection) -> None:
    """Bring a store to the tables of now: an empty one at once, an older one by the steps from its version on."""
    found = version_of(connection)
    if found > VERSION:
        raise StoreError(
            f"This store was written by a newer Karat: its version is {found}, this Karat knows {VERSION}.",
            repair="Update Karat, or give another store.",
        )
    if found == 0:
        now.create_all(connection)
        connection.execute(insert(version).values(version=VERSION))
        return
    for number in range(found + 1, VERSION + 1):
        STEPS[number](connection)
        connection.execute(update(version).values(version=number))
