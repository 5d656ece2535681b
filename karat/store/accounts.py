"""Keys and people: who may ask a server for what. Of a key only its hash is here, of a password what argon2 made of it."""

from collections.abc import Callable
from typing import Any

from sqlalchemy import Row, insert, select, update

from karat.store.database import Database
from karat.store.tables import keys, people
from karat.words.errors import NotFoundError, SpecError
from karat.words.specs import Spec


class Key(Spec):
    """A key as the store knows it. Keys that follow each other have one `owner`, whose jobs and spending they share.

    `per_minute` calls on average and `budget` in money bound what is asked with it; None: nothing does.
    """

    id: str
    owner: str
    name: str
    scopes: tuple[str, ...]
    made: float
    expires: float | None = None
    revoked: float | None = None
    per_minute: float | None = None
    budget: float | None = None


class Person(Spec):
    """A person with a password. `left` is when they were sent away; sessions from before `since` hold no longer."""

    name: str
    password: str
    role: str
    made: float
    left: float | None = None
    since: float = 0.0


class Accounts:
    """The keys and people of a store."""

    def __init__(self, database: Database, clock: Callable[[], float]) -> None:
        self._database, self.clock = database, clock

    def add_key(self, key: Key, hash: str) -> None:
        with self._database.writing() as connection:
            values = key.model_dump(exclude={"scopes"})
            connection.execute(insert(keys).values(**values, scopes=" ".join(key.scopes), hash=hash))

    def key_of(self, hash: str) -> Key | None:
        """Give the key of a hash, whatever has become of it."""
        with self._database.reading() as connection:
            row = connection.execute(select(keys).where(keys.c.hash == hash)).first()
        return None if row is None else _key(row)

    def all_keys(self) -> list[Key]:
        """Give all keys, oldest first."""
        with self._database.reading() as connection:
            return [_key(row) for row in connection.execute(select(keys).order_by(keys.c.made, keys.c.id))]

    def end_key(self, id: str, *, at: float, revoked: bool) -> None:
        """Let a key end at a time; `revoked`: by somebody's will. Raises NotFoundError."""
        values = {"revoked": at} if revoked else {"expires": at}
        with self._database.writing() as connection:
            if not connection.execute(update(keys).where(keys.c.id == id).values(**values)).rowcount:
                raise NotFoundError(f"There is no key {id!r}.", repair="Look at the list of keys.")

    def add_person(self, person: Person) -> None:
        """Add a person. Raises SpecError when there is one of this name."""
        with self._database.writing() as connection:
            new = self._database.upsert(people).values(**person.model_dump()).returning(people.c.name)
            if connection.execute(new).first() is None:
                raise SpecError(f"There is a person called {person.name!r} already.", repair="Choose another name.")

    def person(self, name: str) -> Person | None:
        with self._database.reading() as connection:
            row = connection.execute(select(people).where(people.c.name == name)).first()
        return None if row is None else Person(**row._mapping)

    def people(self) -> list[Person]:
        with self._database.reading() as connection:
            return [Person(**row._mapping) for row in connection.execute(select(people).order_by(people.c.name))]

    def change_person(self, person: Person) -> None:
        """Keep a person's new password, role or leaving. Raises NotFoundError."""
        with self._database.writing() as connection:
            change = update(people).where(people.c.name == person.name).values(**person.model_dump(exclude={"name"}))
            if not connection.execute(change).rowcount:
                raise NotFoundError(f"There is no person called {person.name!r}.", repair="Look at the list of people.")


def _key(row: Row[Any]) -> Key:
    values = {name: row._mapping[name] for name in Key.model_fields}
    return Key(**{**values, "scopes": tuple(values["scopes"].split())})
