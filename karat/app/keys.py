"""Keys: made, shown once, checked, followed by another, ended. And how fast and for how much money may be asked with one.

A key is 256 random bits, so a plain SHA-256 of it can be stored: there is nothing to guess that a slow hash would protect.
"""

import hashlib
import secrets
import time
from collections.abc import Callable, Iterable
from typing import get_args

from karat.app.serving.asking import Scope
from karat.app.serving.desk import TooManyError
from karat.store.accounts import Key
from karat.store.store import Store
from karat.words.errors import KaratError, NotFoundError, SpecError
from karat.words.specs import Spec

__all__ = ["Caller", "Key", "Keyring", "NewKey"]

SCOPES: tuple[Scope, ...] = get_args(Scope)
PREFIX = "kt_"
REMEMBERED = 2.0
"""Seconds for which a key that was looked up is taken as it was: how long another server on the same store may honour a revoked one."""


class UnknownKeyError(KaratError):
    """No key came, or one that opens nothing (any more)."""

    code = "key"


class ScopeError(KaratError):
    """The key is good, but not for this."""

    code = "scope"


class HastyError(TooManyError):
    """A key is used more often than it may be."""

    code = "rate"


class BudgetError(KaratError):
    """What is asked for would cost more than is left."""

    code = "budget"


class Caller(Spec):
    """Who asks: the owner of a key, or a person."""

    owner: str
    name: str
    scopes: tuple[str, ...]
    per_minute: float | None = None
    budget: float | None = None

    def need(self, *scopes: Scope) -> None:
        """Raise ScopeError unless the caller has one of some scopes; who administers may do everything."""
        if not {*scopes, "admin"} & set(self.scopes):
            problem = f"This needs the scope {' or '.join(scopes)}; {self.name} has {', '.join(self.scopes)}."
            raise ScopeError(problem, repair="Ask with another key.")


class NewKey(Spec):
    """A key that was made, and the secret itself, which is shown this once."""

    key: Key
    secret: str


class Keyring:
    """The keys of a store."""

    def __init__(self, store: Store, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._accounts, self._clock = store.accounts, clock
        self._known: dict[str, tuple[float, Key | None]] = {}
        self._buckets: dict[str, tuple[float, float]] = {}

    def make(
        self,
        name: str,
        scopes: Iterable[str],
        *,
        seconds: float | None = None,
        per_minute: float | None = None,
        budget: float | None = None,
        owner: str | None = None,
    ) -> NewKey:
        """Make a key that holds for some seconds, or until it is revoked. Raises SpecError for what is no scope."""
        asked = tuple(dict.fromkeys(scopes))
        wrong = [scope for scope in asked if scope not in SCOPES]
        if wrong or not asked:
            raise SpecError(f"{wrong[0]!r} is no scope." if wrong else "The key has no scope.", repair=f"Scopes are {', '.join(SCOPES)}.")
        if not name.strip():
            raise SpecError("The key has no name.", repair="Name it after who uses it.")
        now, secret = self._accounts.clock(), PREFIX + secrets.token_urlsafe(32)
        key = Key(
            id=secrets.token_hex(8),
            owner=owner or secrets.token_hex(8),
            name=name.strip()[:200],
            scopes=asked,
            made=now,
            expires=None if seconds is None else now + seconds,
            per_minute=per_minute,
            budget=budget,
        )
        self._accounts.add_key(key, _hash(secret))
        return NewKey(key=key, secret=secret)

    def first(self) -> NewKey | None:
        """Make a key for administering if there is no key at all."""
        return None if self._accounts.all_keys() else self.make("first", ["admin"])

    def all(self) -> list[Key]:
        return self._accounts.all_keys()

    def rotate(self, id: str, *, grace: float = 3600.0) -> NewKey:
        """Make a key that follows another, which ends in `grace` seconds. They share limits and budget."""
        old = self._get(id)
        now = self._accounts.clock()
        if old.revoked is not None or (old.expires is not None and old.expires <= now):
            raise SpecError(f"The key {id} has ended.", repair="Make a new one.")
        seconds = None if old.expires is None else old.expires - now
        made = self.make(old.name, old.scopes, seconds=seconds, per_minute=old.per_minute, budget=old.budget, owner=old.owner)
        ends = now + grace if old.expires is None else min(old.expires, now + grace)
        self._accounts.end_key(id, at=ends, revoked=False)
        self._known.clear()
        return made

    def revoke(self, id: str) -> Key:
        """End a key at once."""
        self._accounts.end_key(id, at=self._accounts.clock(), revoked=True)
        self._known.clear()
        return self._get(id)

    def caller(self, secret: str) -> Caller:
        """Say who asks with a key. Raises UnknownKeyError."""
        hash, now = _hash(secret), self._clock()
        at, key = self._known.get(hash, (-REMEMBERED, None))
        if now - at >= REMEMBERED:
            key = self._accounts.key_of(hash)
            if key is not None:  # forged ones must not fill the memory
                self._known[hash] = (now, key)
        if key is None:
            raise UnknownKeyError("The key is not known here.", repair="Check it; an administrator can make another.")
        if key.revoked is not None or (key.expires is not None and key.expires <= self._accounts.clock()):
            raise UnknownKeyError("The key has ended.", repair="Ask an administrator for another.")
        return Caller(owner=key.owner, name=key.name, scopes=key.scopes, per_minute=key.per_minute, budget=key.budget)

    def remembers(self, secret: str) -> bool:
        """Say whether `caller` answers without asking the store."""
        at, _ = self._known.get(_hash(secret), (-REMEMBERED, None))
        return self._clock() - at < REMEMBERED

    def count(self, caller: Caller) -> None:
        """Take a call from what the caller may ask in a minute. Raises HastyError."""
        if caller.per_minute is None:
            return
        now = self._clock()
        left, at = self._buckets.get(caller.owner, (caller.per_minute, now))
        left = min(caller.per_minute, left + (now - at) * caller.per_minute / 60)
        if left < 1:
            retry = max(1.0, round((1 - left) * 60 / caller.per_minute, 1))
            problem = f"This key may ask {caller.per_minute:g} times a minute."
            raise HastyError(problem, repair=f"Try again in {retry:g} seconds.", retry_after=min(120.0, retry))
        self._buckets[caller.owner] = (left - 1, now)

    def _get(self, id: str) -> Key:
        for key in self._accounts.all_keys():
            if key.id == id:
                return key
        raise NotFoundError(f"There is no key {id!r}.", repair="Look at the list of keys.")


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
