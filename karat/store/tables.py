"""The tables of a store as they are now, and the forward-only steps that bring an older store to them.

A step is a plain function under the number of the version that it makes; all of them run inside one transaction. Alembic would bring a
configuration, a folder of scripts and a quarter of a second of imports to each command, for stores that a library opens where no one
can run `alembic upgrade`.
"""

from collections.abc import Callable

from sqlalchemy import (
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
    Index("jobs_waiting", "state", "lane", "number"),
    Index("jobs_of_owner", "owner", "number"),
    Index("jobs_once", "owner", "once", unique=True),
)
version = Table("store_version", now, Column("version", Integer, nullable=False))


def _add_jobs(connection: Connection) -> None:
    jobs.create(connection)


STEPS: dict[int, Callable[[Connection], None]] = {2: _add_jobs}
VERSION = 2


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
