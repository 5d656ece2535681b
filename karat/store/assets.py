"""The index of assets: found by words, release and date among a hundred thousand, newest first."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, select

from karat.store import tables
from karat.store.database import Database
from karat.store.finding import words_of
from karat.words.specs import Spec

FEW = 2_000
"""A word of fewer assets than this is looked up first; of one that is common, the newest assets are looked through."""


class Wanted(Spec):
    """Which assets: all of whose `words` begin a word of theirs, of one release, made in a time; `before` is the last one seen."""

    words: str = ""
    release: str | None = None
    since: float | None = None
    until: float | None = None
    before: int | None = None


class Assets:
    """The assets of a store."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def search(self, wanted: Wanted, *, limit: int = 50) -> list[tuple[int, str]]:
        """Give the numbers and ids of the assets that are wanted, newest first."""
        own, words = tables.assets.c, tables.asset_words.c
        query: Select[Any] = select(own.number, tables.records.c.id).join(tables.records, tables.records.c.number == own.number)
        query = query.where(own.release == wanted.release) if wanted.release is not None else query
        query = query.where(own.at >= wanted.since) if wanted.since is not None else query
        query = query.where(own.at <= wanted.until) if wanted.until is not None else query
        query = query.where(own.number < wanted.before) if wanted.before is not None else query
        with self._database.reading() as connection:
            for word in sorted(words_of(wanted.words)):
                begins = _begins(words.word, word)
                few: Sequence[int] = connection.scalars(select(words.asset).where(begins).distinct().limit(FEW)).all()
                if len(few) < FEW:
                    query = query.where(own.number.in_(few))
                else:
                    query = query.where(select(words.asset).where(words.asset == own.number, begins).exists())
            return [(row.number, row.id) for row in connection.execute(query.order_by(own.number.desc()).limit(limit))]


def _begins(column: Any, word: str) -> ColumnElement[bool]:
    """Say that a column begins with a word, in a form that an index answers."""
    return and_(column >= word, column < word + "\U0010ffff")
