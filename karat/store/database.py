"""The connection to a store's records: SQLite in WAL mode, or another database by its URL. All that is particular to a dialect is here."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Table, create_engine, event
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError, DisconnectionError, SQLAlchemyError

from karat.store.tables import migrate
from karat.words.errors import StoreError

BUSY_MILLISECONDS = 60_000


class Database:
    """Transactions on a store's tables. Every error of the database leaves here as a StoreError."""

    def __init__(self, url: str | Path) -> None:
        self.place = str(url)
        self._engine = create_engine(f"sqlite:///{url}" if isinstance(url, Path) else url)
        event.listen(self._engine, "connect", _remember_process)
        event.listen(self._engine, "checkout", _refuse_other_process)
        if self._engine.dialect.name == "sqlite":
            event.listen(self._engine, "connect", _set_up_sqlite)
            event.listen(self._engine, "begin", _begin_sqlite)
        with self.writing() as connection:
            migrate(connection)

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Give a connection that sees one state of the store throughout."""
        with self._said(), self._engine.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Give a connection whose changes are all kept when the block ends, or none of them."""
        with self._said(), self._engine.connect().execution_options(writes=True) as connection, connection.begin():
            yield connection

    def upsert(self, table: Table, *, update: tuple[str, ...] = ()) -> Any:
        """Give an insert that, where the key is there already, changes the columns `update` (none: leaves the row as it is)."""
        dialect: Any = sqlite if self._engine.dialect.name == "sqlite" else postgresql
        statement = dialect.insert(table)
        if not update:
            return statement.on_conflict_do_nothing()
        keys = [column.name for column in table.primary_key]
        return statement.on_conflict_do_update(index_elements=keys, set_={name: statement.excluded[name] for name in update})

    def close(self) -> None:
        self._engine.dispose()

    @contextmanager
    def _said(self) -> Iterator[None]:
        try:
            yield
        except SQLAlchemyError as error:
            raise _in_words(error, self.place) from error


def _remember_process(connection: Any, record: Any) -> None:
    record.info["process"] = os.getpid()


def _refuse_other_process(connection: Any, record: Any, proxy: Any) -> None:
    """Drop a connection that was opened before a fork: SQLite's locks do not survive it."""
    if record.info["process"] != os.getpid():
        record.dbapi_connection = proxy.dbapi_connection = None
        raise DisconnectionError("opened by another process")


def _set_up_sqlite(connection: Any, record: Any) -> None:
    connection.isolation_level = None  # transactions begin where `_begin_sqlite` says, not where the driver guesses
    connection.execute(f"PRAGMA busy_timeout = {BUSY_MILLISECONDS}")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")


def _begin_sqlite(connection: Connection) -> None:
    """Take the write lock at the start: a transaction that turns from reading to writing would fail at once instead of waiting."""
    writes = connection.get_execution_options().get("writes")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _in_words(error: SQLAlchemyError, place: str) -> StoreError:
    text = str(error.orig if isinstance(error, DBAPIError) else error)
    for sign, problem, repair in _SAYINGS:
        if sign in text:
            return StoreError(f"{problem}: {place}.", repair=repair)
    return StoreError(f"The records of the store cannot be used ({text}): {place}.", repair="Check the disk, and the store's permissions.")


_SAYINGS = (
    ("disk is full", "The disk is full, the records cannot be written", "Free some space, or give a store on another disk."),
    ("disk I/O error", "The records cannot be written, the disk is full or failing", "Free some space, or give a store on another disk."),
    ("readonly", "The records may not be written", "Change the permissions of the store's folder, or give another store."),
    ("unable to open", "The records cannot be opened", "Check the store's path and its permissions."),
    ("locked", "Another process has been writing to the store for more than a minute", "Let it end, or stop it, then try again."),
    ("malformed", "The records are damaged", "Restore the store from a backup."),
    ("not a database", "The records are damaged or were never a store's", "Restore the store from a backup, or give another path."),
)
