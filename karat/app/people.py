"""People: who signs in with a name and a password, and what their role lets them do."""

from typing import Literal, get_args

from karat.app.keys import Caller, UnknownKeyError
from karat.store.accounts import Person
from karat.store.store import Store
from karat.words.errors import NotFoundError, SpecError
from karat.words.specs import Spec

Role = Literal["creator", "reviewer", "trainer", "admin"]
SHORTEST = 10
SCOPES_OF: dict[str, tuple[str, ...]] = {
    "creator": ("generate",),
    "reviewer": ("generate", "review"),
    "trainer": ("generate", "review", "train"),
    "admin": ("generate", "review", "train", "admin"),
}


class PersonLine(Spec):
    """A person as others see them."""

    name: str
    role: str
    made: float
    left: float | None


class People:
    """The people of a store."""

    def __init__(self, store: Store) -> None:
        from argon2 import PasswordHasher

        self._accounts, self._hasher = store.accounts, PasswordHasher()
        self._nobody = self._hasher.hash("nobody has this password")

    def add(self, name: str, password: str, role: str) -> PersonLine:
        """Add a person. Raises SpecError for a short password, an unknown role or a name that is taken."""
        if not name.strip() or role not in get_args(Role):
            raise SpecError(f"{name!r} cannot be a {role!r}.", repair=f"Give a name and one of {', '.join(get_args(Role))}.")
        self._accounts.add_person(Person(name=name.strip(), password=self._hashed(password), role=role, made=self._accounts.clock()))
        return self._line(self._get(name.strip()))

    def all(self) -> list[PersonLine]:
        return [self._line(person) for person in self._accounts.people()]

    def change(self, name: str, *, password: str | None = None, role: str | None = None, left: bool | None = None) -> PersonLine:
        """Change a person's password or role, or let them leave or come back. All but another role ends the sessions that they have."""
        person = self._get(name)
        if role is not None and role not in get_args(Role):
            raise SpecError(f"There is no role {role!r}.", repair=f"Roles are {', '.join(get_args(Role))}.")
        changes: dict[str, object] = {"role": role or person.role}
        changes |= {} if password is None else {"password": self._hashed(password)}
        changes |= {} if left is None else {"left": self._accounts.clock() if left else None}
        changes |= {} if password is None and left is None else {"since": self._accounts.clock()}
        self._accounts.change_person(person.changed(**changes))
        return self._line(self._get(name))

    def sign_in(self, name: str, password: str) -> Caller:
        """Say who signs in. Raises UnknownKeyError, after the same time whether the name or the password is wrong."""
        from argon2.exceptions import VerificationError

        person = self._accounts.person(name)
        try:
            self._hasher.verify(self._nobody if person is None else person.password, password)
        except VerificationError:
            person = None
        if person is None or person.left is not None:
            raise UnknownKeyError("The name and the password do not belong together.", repair="Try again, or ask an administrator.")
        return self.caller(name)

    def caller(self, name: str, *, since: float | None = None) -> Caller:
        """Give a person who has signed in (at the moment `since`), as they are now.

        Raises UnknownKeyError for one who has left, and for one whose password was changed after they signed in.
        """
        person = self._accounts.person(name)
        if person is None or person.left is not None:
            raise UnknownKeyError(f"{name} may not come in any more.", repair="Ask an administrator.")
        if since is not None and since < person.since:
            raise UnknownKeyError("The password was changed since.", repair="Sign in again.")
        return Caller(owner=f"person {person.name}"[:64], name=person.name, scopes=SCOPES_OF[person.role])

    def now(self) -> float:
        """Give the time as the store keeps it, from which a session counts."""
        return self._accounts.clock()

    def _hashed(self, password: str) -> str:
        if len(password) < SHORTEST:
            raise SpecError(f"The password is shorter than {SHORTEST} characters.", repair="Take a few words.")
        return self._hasher.hash(password)

    def _get(self, name: str) -> Person:
        person = self._accounts.person(name)
        if person is None:
            raise NotFoundError(f"There is no person called {name!r}.", repair="Look at the list of people.")
        return person

    def _line(self, person: Person) -> PersonLine:
        return PersonLine(name=person.name, role=person.role, made=person.made, left=person.left)
