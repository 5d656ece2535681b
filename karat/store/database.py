"""The connection to a store's records: SQLite in WAL mode, or PostgreSQL by its URL. All that is particular to a dialect is here.

SQLite lets one transaction write at a time. PostgreSQL lets many, each of which sees what the others have finished (READ COMMITTED), so
whoever writes what it decided by reading either says in its update what must still hold, or names what it wants to be alone at.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import BigInteger, Connection, Engine, Table, create_engine, event, func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, DisconnectionError, SQLAlchemyError

from karat.store.tables import migrate, now
from karat.words.errors import StoreError

BUSY_MILLISECONDS = 60_000
CONNECTING_SECONDS = 10


class Database:
    """Transactions on a store's tables. Every error of the database leaves here as a StoreError."""

    def __init__(self, url: str | Path) -> None:
        where = _read(url)
        self.place = str(url) if isinstance(url, Path) else f"the database {where.database or ''} on {where.host or 'this machine'}"
        self._engine = _engine(where)
        self._own = self._engine.dialect.name == "sqlite"
        event.listen(self._engine, "connect", _remember_process)
        event.listen(self._engine, "checkout", _refuse_other_process)
        event.listen(self._engine, "connect", _set_up_sqlite if self._own else _check_postgres)
        if self._own:
            event.listen(self._engine, "begin", _begin_sqlite)
        apart: dict[str, Any] = {} if self._own else {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
        self._readers = self._engine.execution_options(**apart)
        with self.writing(alone="tables") as connection:
            migrate(connection)

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Give a connection that sees one state of the store throughout."""
        with self._said(), self._readers.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def writing(self, *, alone: str | None = None, lasting: bool = True) -> Iterator[Connection]:
        """Give a connection whose changes are all kept when the block ends, or none of them.

        Those that give the same name in `alone` come one after the other. What is not `lasting` outlives every program, but may be lost
        when the machine itself stops: nobody waits until the disk has it.
        """
        with self._said(), self._engine.connect().execution_options(writes=True, lasting=lasting) as connection, connection.begin():
            if not lasting and not self._own:
                connection.exec_driver_sql("SET LOCAL synchronous_commit = OFF")
            if alone is not None and not self._own:
                lock = func.hashtextextended(func.concat(func.current_schema(), " ", alone), 0, type_=BigInteger)
                connection.execute(select(func.pg_advisory_xact_lock(lock)))
            yield connection

    def upsert(self, table: Table, *, update: tuple[str, ...] = ()) -> Any:
        """Give an insert that, where the key is there already, changes the columns `update` (none: leaves the row as it is)."""
        statement = (sqlite if self._own else postgresql).insert(table)
        if not update:
            return statement.on_conflict_do_nothing()
        keys = [column.name for column in table.primary_key]
        return statement.on_conflict_do_update(index_elements=keys, set_={name: statement.excluded[name] for name in update})

    def count_on(self, connection: Connection) -> None:
        """Let the numbers of new rows follow on those that were copied here, as SQLite does by itself."""
        for table in [] if self._own else now.sorted_tables:
            column = table.autoincrement_column
            if column is not None:
                last = connection.scalar(select(func.max(column)))
                if last is not None:
                    connection.execute(select(func.setval(func.pg_get_serial_sequence(table.name, column.name), last)))

    def close(self) -> None:
        self._engine.dispose()

    @contextmanager
    def _said(self) -> Iterator[None]:
        try:
            yield
        except SQLAlchemyError as error:
            raise _in_words(error, self.place) from error


def _read(url: str | Path) -> URL:
    """Read where a database is. Raises StoreError for what is neither a file nor PostgreSQL."""
    if isinstance(url, Path):
        return URL.create("sqlite", database=str(url))
    try:
        read = make_url(url)
    except (ArgumentError, ValueError):
        read = URL.create("")
    if read.drivername not in ("postgresql", "postgres", "postgresql+psycopg"):
        named = read.drivername or "no URL"
        raise StoreError(f"Records cannot be kept in such a database: {named}.", repair="Write it as postgresql://USER@HOST/DATABASE.")
    return read.set(drivername="postgresql+psycopg")


def _engine(url: URL) -> Engine:
    if url.get_backend_name() == "sqlite":
        return create_engine(url)
    usual = {"connect_timeout": CONNECTING_SECONDS, "application_name": "karat", "client_encoding": "utf8"}
    usual["options"] = f"{url.query.get('options', '')} -c lock_timeout={BUSY_MILLISECONDS}"
    try:
        # A connection that died with the database's server is replaced by a new one before it is used.
        return create_engine(url, pool_pre_ping=True, connect_args={**usual, **url.difference_update_query(["options"]).query})
    except ImportError:
        raise StoreError("Records in PostgreSQL need psycopg, which is missing.", repair="pip install 'karat[postgres]'") from None


def _remember_process(connection: Any, record: Any) -> None:
    record.info["process"] = os.getpid()


def _refuse_other_process(connection: Any, record: Any, proxy: Any) -> None:
    """Drop a connection that was opened before a fork: neither SQLite's locks nor a talk with a server survive it."""
    if record.info["process"] != os.getpid():
        record.dbapi_connection = proxy.dbapi_connection = None
        raise DisconnectionError("opened by another process")


def _set_up_sqlite(connection: Any, record: Any) -> None:
    connection.isolation_level = None  # transactions begin where `_begin_sqlite` says, not where the driver guesses
    connection.execute(f"PRAGMA busy_timeout = {BUSY_MILLISECONDS}")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA foreign_keys = ON")


def _check_postgres(connection: Any, record: Any) -> None:
    encoding = connection.info.parameter_status("server_encoding")
    if encoding != "UTF8":
        connection.close()
        repair = "Make one for it: createdb --encoding UTF8 --template template0 NAME."
        raise StoreError(f"The database keeps its texts as {encoding}, which cannot hold all that Karat writes.", repair=repair)


def _begin_sqlite(connection: Connection) -> None:
    """Take the write lock at the start: a transaction that turns from reading to writing would fail at once instead of waiting."""
    options = connection.get_execution_options()
    if options.get("writes"):
        connection.exec_driver_sql(f"PRAGMA synchronous = {'FULL' if options['lasting'] else 'NORMAL'}")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if options.get("writes") else "BEGIN")


def _in_words(error: SQLAlchemyError, place: str) -> StoreError:
    text = " ".join(str(error.orig if isinstance(error, DBAPIError) else error).split())
    for sign, problem, repair in _SAYINGS:
        if sign in text:
            return StoreError(f"{problem}: {place}.", repair=repair)
    return StoreError(f"The records of the store cannot be used ({text}): {place}.", repair="Check the disk, and the store's permissions.")


_LOGIN = "Check the name and the password: in the URL, in PGPASSWORD or in ~/.pgpass."
_SAYINGS = (
    ("disk is full", "The disk is full, the records cannot be written", "Free some space, or give a store on another disk."),
    ("disk I/O error", "The records cannot be written, the disk is full or failing", "Free some space, or give a store on another disk."),
    ("No space left", "The disk of the database is full, the records cannot be written", "Free some space there."),
    ("readonly", "The records may not be written", "Change the permissions of the store's folder, or give another store."),
    ("read-only", "The records may not be written", "Give the URL of the database that takes changes, not of a copy that follows it."),
    ("unable to open", "The records cannot be opened", "Check the store's path and its permissions."),
    ("locked", "Another process has been writing to the store for more than a minute", "Let it end, or stop it, then try again."),
    ("lock timeout", "Another process has been writing to the store for more than a minute", "Let it end, or stop it, then try again."),
    ("malformed", "The records are damaged", "Restore the store from a backup."),
    ("not a database", "The records are damaged or were never a store's", "Restore the store from a backup, or give another path."),
    ("password", "The database does not let this user in", _LOGIN),
    ("authentication failed", "The database does not let this user in", _LOGIN),
    ("role ", "The database does not know this user", "Make the user: createuser NAME; or name another one in the URL."),
    ("permission denied", "The user may not use this database", "Let the user own the database: createdb --owner NAME DATABASE."),
    ("does not exist", "There is no such database", "Make it: createdb --encoding UTF8 --template template0 NAME."),
    ("too many clients", "The database takes no more connections", "Raise its max_connections, or let fewer workers run."),
    ("connection slots", "The database takes no more connections", "Raise its max_connections, or let fewer workers run."),
    ("index row", "A name is too long for the records", "Shorten the name: 2,000 bytes are never too many."),
    ("starting up", "The database is starting", "Try again in a moment."),
    ("connection", "The database cannot be reached", "Start it, and check host and port in the store's store.yaml."),
    ("resolve host", "The database cannot be reached", "Check host and port in the store's store.yaml."),
)
