"""Moving a store: its records to another database, its blobs to a bucket, or either back into its folder, as they are.

What was copied is left where it was, under another name. Killed at any moment, the store still is where it was, and moving it again goes
on: blobs that are there are not sent again, records come in one transaction, and the last thing written is where to look from then on.
"""

import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from sqlalchemy import func, insert, select

from karat.store.database import Database
from karat.store.placing import write_whole
from karat.store.tables import now, version
from karat.store.whereabouts import BLOBS, FILE, RECORDS, Whereabouts, blobs, database, whereabouts
from karat.words.errors import BusyError, StoreError
from karat.words.events import Event, Finished, Progress, Started

BATCH = 500
LEFT = ".moved"
TABLES = [table for table in now.sorted_tables if table is not version]


def move(folder: Path, to: Whereabouts) -> Iterator[Event]:
    """Carry a store over to where it is to be. Raises BusyError when another process has it open, StoreError when the place is taken."""
    here = whereabouts(folder)
    if here == to:
        raise StoreError("The store is there already.", repair="Name another database or another bucket.")
    if here.database is None and to.database is not None:
        _alone(folder / RECORDS)
    yield Started(what="moving the store")
    if here.blobs != to.blobs:
        old_blobs = blobs(folder, here)
        for done in blobs(folder, to).take((digest, old_blobs.path(digest)) for digest in old_blobs.digests()):
            yield Progress(done=done)
    if here.database != to.database:
        with closing(database(folder, here)) as old, closing(database(folder, to)) as new:
            yield from _carry_records(old, new)
    said = [f"{name}: {json.dumps(value)}" for name, value in to.model_dump(exclude_none=True).items()]
    write_whole(folder / FILE, "\n".join([*(said or ["{}"]), ""]).encode())
    if to.database is not None and here.database is None:
        _alone(folder / RECORDS)
        os.replace(folder / RECORDS, folder / (RECORDS + LEFT))
    if to.blobs is not None and here.blobs is None:
        os.replace(folder / BLOBS, folder / (BLOBS + LEFT))
    yield Finished(what="moving", result=str(folder), summary=f"{folder / FILE} says where the store is from now on.")


def _carry_records(old: Database, new: Database) -> Iterator[Event]:
    """Copy the rows of all tables, in one transaction."""
    with old.reading() as reading, new.writing() as writing:
        if any(writing.scalar(select(func.count()).select_from(table)) for table in TABLES):
            raise StoreError(f"There are records already: {new.place}.", repair="Name an empty database.")
        total, done = sum(reading.scalar(select(func.count()).select_from(table)) or 0 for table in TABLES), 0
        for table in TABLES:
            rows = reading.execute(select(table).order_by(*table.primary_key).execution_options(yield_per=BATCH))
            for some in rows.mappings().partitions():
                writing.execute(insert(table), [dict(row) for row in some])
                done += len(some)
                yield Progress(done=done, total=total)
        new.count_on(writing)


def _alone(records: Path) -> None:
    """Raise BusyError when another process has the records of a folder open: it would go on writing to what was left behind."""
    with closing(sqlite3.connect(records, timeout=1, isolation_level=None)) as connection:
        try:
            connection.execute("PRAGMA journal_mode = DELETE")
        except sqlite3.OperationalError:
            raise BusyError(
                f"Another process has {records} open.", repair="End servers, workers and trainings of this store first."
            ) from None
