"""Aliases: names that point at records, with their history."""

from karat.app.chain import LATEST, about
from karat.store.store import AliasError, Store
from karat.words.specs import Spec


class AliasLine(Spec):
    """A name and what it points at, or pointed at from `at` on."""

    name: str
    record: str
    kind: str
    about: str
    at: float | None = None


def aliases(store: Store) -> list[AliasLine]:
    """Give every alias with what it points at now."""
    return [_line(store, name, id) for name, id in sorted(store.aliases().items())]


def history(store: Store, name: str) -> list[AliasLine]:
    """Give all that a name has pointed at, the newest first."""
    return [_line(store, name, entry.record, entry.at) for entry in reversed(store.alias_history(name))]


def point(store: Store, name: str, ref: str) -> AliasLine:
    """Let a name point at a record from now on."""
    if name == LATEST:
        raise AliasError(f"{LATEST!r} always means the newest and cannot be an alias.", repair="Choose another name, as in `digits:live`.")
    store.alias(name, ref)
    return _line(store, name, store.get(name).id)


def roll_back(store: Store, name: str) -> AliasLine:
    """Let a name point at what it pointed at before."""
    return _line(store, name, store.rollback(name))


def _line(store: Store, name: str, id: str, at: float | None = None) -> AliasLine:
    record = store.get(id)
    return AliasLine(name=name, record=id, kind=record.kind, about=about(record), at=at)
