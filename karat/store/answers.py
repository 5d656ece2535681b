"""Answers to requests that make something, by the key that their owner gave each: one that is sent again is answered, not done again."""

from collections.abc import Callable

from sqlalchemy import and_, delete, or_, select, update

from karat.store.database import Database
from karat.store.tables import answers
from karat.words.errors import BusyError

KEPT = 86_400.0
"""Seconds for which an answer is kept."""
LONGEST = 3_600.0
"""Seconds after which a request that has no answer is taken to have died."""


class Answers:
    """The answers of a store."""

    def __init__(self, database: Database, clock: Callable[[], float]) -> None:
        self._database, self._clock = database, clock

    def begin(self, owner: str, once: str, asked: str) -> str | None:
        """Begin a request, `asked` being a digest of it; give its answer where it was answered before.

        Raises BusyError when the key stands for another request, or for one that is being done.
        """
        same, now = and_(answers.c.owner == owner, answers.c.once == once), self._clock()
        old = or_(answers.c.at < now - KEPT, and_(answers.c.answer.is_(None), answers.c.at < now - LONGEST))
        with self._database.writing() as connection:
            connection.execute(delete(answers).where(same, old))
            new = self._database.upsert(answers).values(owner=owner, once=once, asked=asked, at=now).returning(answers.c.once)
            if connection.execute(new).first() is not None:
                return None
            known = connection.execute(select(answers).where(same)).one()
        if known.asked != asked:
            raise BusyError("This idempotency key stands for another request.", repair="Take a new one for each request.")
        if known.answer is None:
            raise BusyError("This request is being done.", repair="Send it again in a moment.")
        return str(known.answer)

    def end(self, owner: str, once: str, answer: str) -> None:
        """Keep the answer to a request."""
        with self._database.writing() as connection:
            connection.execute(update(answers).where(answers.c.owner == owner, answers.c.once == once).values(answer=answer))

    def drop(self, owner: str, once: str) -> None:
        """Forget a request that failed, so that it can be sent again."""
        with self._database.writing() as connection:
            connection.execute(delete(answers).where(answers.c.owner == owner, answers.c.once == once))

    def forget(self) -> None:
        """Forget all answers that are no longer kept."""
        with self._database.writing() as connection:
            connection.execute(delete(answers).where(answers.c.at < self._clock() - KEPT))
