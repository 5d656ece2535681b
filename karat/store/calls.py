"""The calls that a server was asked, one line each: who, what, when and how it ended. Lines are added and read, never changed;
old ones are forgotten where the house says so."""

from collections.abc import Sequence

from sqlalchemy import delete, insert, select

from karat.store.database import Database
from karat.store.tables import calls
from karat.words.specs import Spec


class Call(Spec):
    """One call. `who` is the owner of the key or the name of the person, `request` the id that the answer carried."""

    at: float
    who: str | None
    address: str | None
    method: str
    path: str
    status: int
    seconds: float
    request: str
    number: int | None = None


class Calls:
    """The calls of a store."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, some: Sequence[Call]) -> None:
        if some:
            with self._database.writing() as connection:
                connection.execute(insert(calls), [call.model_dump(exclude={"number"}) for call in some])

    def forget(self, *, before: float) -> int:
        """Forget the calls before a moment, and give how many these were."""
        with self._database.writing() as connection:
            return connection.execute(delete(calls).where(calls.c.at < before)).rowcount

    def latest(self, *, who: str | None = None, before: int | None = None, limit: int = 50) -> list[Call]:
        """Give calls, newest first; `before` is the number of the last one that was seen."""
        query = select(calls).order_by(calls.c.number.desc()).limit(limit)
        query = query.where(calls.c.who == who) if who is not None else query
        query = query.where(calls.c.number < before) if before is not None else query
        with self._database.reading() as connection:
            return [Call(**row._mapping) for row in connection.execute(query)]
