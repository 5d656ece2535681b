"""The tables of a store as they are now, and the forward-only steps that bring an older store to them.

A step is a plain function under the number of the version that it makes; all of them run inside one transaction. Alembic would bring a
configuration, a folder of scripts and a quarter of a second of imports to each command, for stores that a library opens where no one
can run `alembic upgrade`.
"""

import json
from collections.abc import Callable
from typing import Any, cast

from sqlalchemy import (
    DDL,
    BigInteger,
    Boolean,
    Column,
    Connection,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    insert,
    inspect,
    select,
    update,
)
from sqlalchemy.types import TypeEngine

from karat.store.finding import words_of
from karat.words.errors import StoreError


class Words(TypeDecorator[str]):
    """A text that any database keeps whole, of any length, and compares by its code points, whatever language it was set up for."""

    impl = String
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[str]:
        if dialect.name == "postgresql":
            return Text(collation="C")
        length = cast(String, self.impl_instance).length
        return Text() if length is None else String(length)

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """PostgreSQL takes no character of number 0, which a client may put into a path or a name; its picture stands for it."""
        return value.replace("\0", "\N{SYMBOL FOR NULL}") if value and dialect.name == "postgresql" else value


NUMBER = BigInteger().with_variant(Integer(), "sqlite")
"""SQLite counts rows in columns that are called INTEGER alone."""

now = MetaData()

records = Table(
    "records",
    now,
    Column("number", NUMBER, primary_key=True, autoincrement=True),
    Column("id", Words(64), unique=True, nullable=False),
    Column("kind", Words(32), nullable=False, index=True),
    Column("made", Words(64), index=True),
    Column("spec", Words(), nullable=False),
    Column("facts", Words(), nullable=False),
    Column("at", Float, nullable=False),
)
edges = Table(
    "edges",
    now,
    Column("child", Words(64), ForeignKey("records.id"), primary_key=True),
    Column("place", Integer, primary_key=True),
    Column("parent", Words(64), ForeignKey("records.id"), nullable=False, index=True),
)
aliases = Table(
    "aliases",
    now,
    Column("number", NUMBER, primary_key=True, autoincrement=True),
    Column("name", Words(200), nullable=False, index=True),
    Column("record", Words(64), ForeignKey("records.id"), nullable=False),
    Column("before", NUMBER),
    Column("at", Float, nullable=False),
)
files = Table(
    "files",
    now,
    Column("location", Words(64), primary_key=True),
    Column("raw", LargeBinary, primary_key=True),
    Column("name", Words(), nullable=False),
    Column("seen", Words(32), nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("stamp", Words(32), nullable=False),
    Column("blob", Words(64)),
    Column("fields", Words()),
    Index("files_in_order", "location", "seen", "name", "raw").ddl_if(dialect="sqlite"),
    Index("files_by_name", "location", "seen", "name").ddl_if(dialect="postgresql"),  # a row of an index has room for one long name there
)
looks = Table(
    "looks",
    now,
    Column("blob", Words(64), primary_key=True),
    Column("look", Words(32), primary_key=True),
    Column("facts", Words(), nullable=False),
    Column("print", LargeBinary),
)
jobs = Table(
    "jobs",
    now,
    Column("number", NUMBER, primary_key=True, autoincrement=True),
    Column("id", Words(24), unique=True, nullable=False),
    Column("kind", Words(32), nullable=False),
    Column("state", Words(12), nullable=False),
    Column("lane", Words(12), nullable=False),
    Column("owner", Words(64), nullable=False),
    Column("mates", Words(128)),
    Column("spec", Words(), nullable=False),
    Column("once", Words(128)),
    Column("webhook", Words()),
    Column("done", NUMBER, nullable=False, default=0),
    Column("total", NUMBER),
    Column("figures", Words()),
    Column("result", Words()),
    Column("error", Words()),
    Column("seconds", Float, nullable=False, default=0.0),
    Column("submitted", Float, nullable=False),
    Column("started", Float),
    Column("ended", Float),
    Column("worker", Words(64)),
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
    Column("job", Words(24), primary_key=True),
    Column("tries", Integer, nullable=False, default=0),
    Column("due", Float, nullable=False, index=True),
)
keys = Table(
    "keys",
    now,
    Column("id", Words(24), primary_key=True),
    Column("owner", Words(24), nullable=False, index=True),
    Column("name", Words(200), nullable=False),
    Column("hash", Words(64), unique=True, nullable=False),
    Column("scopes", Words(100), nullable=False),
    Column("made", Float, nullable=False),
    Column("expires", Float),
    Column("revoked", Float),
    Column("per_minute", Float),
    Column("budget", Float),
)
people = Table(
    "people",
    now,
    Column("name", Words(100), primary_key=True),
    Column("password", Words(200), nullable=False),
    Column("role", Words(20), nullable=False),
    Column("made", Float, nullable=False),
    Column("left", Float),
    Column("since", Float, nullable=False, default=0.0, server_default="0"),
)
calls = Table(
    "calls",
    now,
    Column("number", NUMBER, primary_key=True, autoincrement=True),
    Column("at", Float, nullable=False),
    Column("who", Words(100), index=True),
    Column("address", Words(64)),
    Column("method", Words(10), nullable=False),
    Column("path", Words(500), nullable=False),
    Column("status", Integer, nullable=False),
    Column("seconds", Float, nullable=False),
    Column("request", Words(64), nullable=False),
)
assets = Table(
    "assets",
    now,
    Column("number", NUMBER, primary_key=True),
    Column("release", Words(64), index=True),
    Column("at", Float, nullable=False, index=True),
)
asset_words = Table(
    "asset_words",
    now,
    Column("word", Words(40), primary_key=True),
    Column("asset", NUMBER, primary_key=True),
    Index("words_of_asset", "asset", "word"),
)
answers = Table(
    "answers",
    now,
    Column("owner", Words(64), primary_key=True),
    Column("once", Words(128), primary_key=True),
    Column("asked", Words(64), nullable=False),
    Column("answer", Words()),
    Column("at", Float, nullable=False, index=True),
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


def _add_answers(connection: Connection) -> None:
    """Add the answers to requests, and the moment from which a person's sessions hold."""
    now.create_all(connection, tables=[answers])
    if "since" not in {column["name"] for column in inspect(connection).get_columns("people")}:
        connection.execute(DDL("ALTER TABLE people ADD COLUMN since FLOAT NOT NULL DEFAULT 0"))


STEPS: dict[int, Callable[[Connection], None]] = {2: _add_jobs, 3: _add_accounts, 4: _add_answers}
VERSION = 4


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
