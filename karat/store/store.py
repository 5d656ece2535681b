"""The store: blobs by digest, records of how each thing was made, aliases with history. It remembers where everything came from.

One folder holds it all: `blobs/`, `locks/` and `records.sqlite`, unless its `store.yaml` names another database or a bucket for the
blobs. Several processes may use it at once.
"""

import difflib
import fcntl
import json
import re
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Self

from karat.store.accounts import Accounts
from karat.store.answers import Answers
from karat.store.assets import Assets
from karat.store.blobs import Blobs, store_error
from karat.store.calls import Calls
from karat.store.database import Database
from karat.store.files import Files
from karat.store.queue import Queue
from karat.store.records import AliasEntry, Record, Records, record_id
from karat.store.whereabouts import blobs, database, whereabouts
from karat.words.errors import BusyError, NotFoundError, StoreError
from karat.words.specs import Spec, canonical

HEX = re.compile(r"[0-9a-f]{6,64}")
NAME = re.compile(r"[\w][\w.-]*(:[\w.-]+)?")


class AliasError(StoreError):
    """A name that cannot be an alias."""

    code = "alias"


class Store:
    """Blobs, the records about them, and a folder for what is under way."""

    def __init__(self, folder: Path, database: Database, blobs: Blobs, clock: Callable[[], float]) -> None:
        self.folder = folder
        self.blobs = blobs
        self.files = Files(database)
        self.queue = Queue(database, clock)
        self.accounts = Accounts(database, clock)
        self.calls = Calls(database)
        self.answers = Answers(database, clock)
        self.assets = Assets(database)
        self._database = database
        self._records = Records(database)
        self._clock = clock

    @classmethod
    def open(cls, path: Path | str, *, clock: Callable[[], float] = time.time) -> Self:
        """Open the store in a folder, and make it if there is none. Raises StoreError for a store that a newer Karat wrote."""
        folder = Path(path)
        try:
            (folder / "locks").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise store_error(error, folder) from None
        place = whereabouts(folder)
        return cls(folder, database(folder, place), blobs(folder, place), clock)

    def put(self, source: bytes | Path | BinaryIO) -> str:
        """Keep bytes, a file or a stream for good, and give their digest."""
        return self.blobs.put(source)

    def read(self, digest: str) -> bytes:
        """Give the bytes of a digest. Raises NotFoundError, or DamageError when they have changed."""
        return self.blobs.read(digest)

    def path(self, digest: str) -> Path:
        """Give the file that holds a blob; whoever reads it directly verifies nothing."""
        return self.blobs.path(digest)

    def has(self, digest: str) -> bool:
        return self.blobs.has(digest)

    def record(
        self,
        kind: str,
        *,
        made: str | None = None,
        made_from: Sequence[str] = (),
        spec: Spec | dict[str, Any] | None = None,
        facts: dict[str, Any] | None = None,
    ) -> str:
        """Remember that something was made, and give the record's id: the digest of what is said, so saying it twice is saying it once."""
        if made is not None and not self.has(made):
            raise NotFoundError(f"The store holds no blob {made[:12]} to make a record of.", repair="Put the bytes before the record.")
        said = json.loads(spec.model_dump_json()) if isinstance(spec, Spec) else json.loads(canonical(spec or {}))
        known = json.loads(canonical(facts or {}))
        id = record_id(kind, made, made_from, said, known)
        self._records.add(Record(id=id, kind=kind, made=made, made_from=tuple(made_from), spec=said, facts=known, at=self._clock()))
        return id

    def get(self, ref: str) -> Record:
        """Give the record of an id, of the first six or more digits of one, or of an alias."""
        id = self._records.current(ref)
        found = self._records.starting_with(id or ref) if id or HEX.fullmatch(ref) else []
        if len(found) == 1:
            return found[0]
        if found:
            several = ", ".join(f"{record.id[:12]} ({record.kind})" for record in found)
            raise NotFoundError(f"{ref!r} is the start of several ids.", repair=f"Give more digits: {several}.")
        raise NotFoundError(f"The store holds nothing called {ref!r}.", repair=self._near(ref))

    def several(self, ids: Sequence[str]) -> list[Record]:
        """Give the records of some whole ids, in their order; those that there are not are left out."""
        return self._records.several(ids)

    def find(self, kind: str, *, limit: int = 100, newest_first: bool = True, before: str | None = None) -> list[Record]:
        """Give the records of one kind; `before` is the id of the last one that was seen, newest first."""
        return self._records.find(kind, limit=limit, newest_first=newest_first, before=before)

    def remove(self, ids: Sequence[str]) -> None:
        """Take records off the chain, by their whole ids. Raises BusyError where something was made from one, or a name has meant it."""
        self._records.remove(ids)

    def named(self) -> Iterator[str]:
        """Stream every digest that a record speaks of."""
        return self._records.named()

    def made(self, digest: str) -> list[Record]:
        """Give the records of what made a blob, newest first."""
        return self._records.making(digest)

    def ancestry(self, id: str) -> list[Record]:
        """Give everything that a record was made from, at any distance, nearest first."""
        return self._records.walk(self.get(id).id, upwards=True)

    def descendants(self, id: str) -> list[Record]:
        """Give everything that was made from a record, at any distance, nearest first."""
        return self._records.walk(self.get(id).id, upwards=False)

    def alias(self, name: str, id: str) -> None:
        """Let a name such as `digits:live` point at a record; what it pointed at before stays in its history."""
        if not NAME.fullmatch(name) or HEX.fullmatch(name):
            repair = "Use letters, digits, . and -, as in `digits:live`, and nothing that looks like an id."
            raise AliasError(f"{name!r} cannot be an alias.", repair=repair)
        self._records.point(name, self.get(id).id, at=self._clock())

    def alias_history(self, name: str) -> list[AliasEntry]:
        """Give every record that a name has pointed at, oldest first."""
        history = self._records.history(name)
        if not history:
            raise NotFoundError(f"There is no alias {name!r}.", repair=self._near(name))
        return history

    def aliases(self) -> dict[str, str]:
        """Give every alias with the id that it points at."""
        return self._records.aliases()

    def rollback(self, name: str) -> str:
        """Let a name point at what it pointed at before, and give that id; again goes back further."""
        self.alias_history(name)
        return self._records.point_back(name, at=self._clock())

    @contextmanager
    def lock(self, what: str) -> Iterator[None]:
        """Hold a name against other processes. Raises BusyError when one holds it; a killed process holds nothing."""
        place = self.folder / "locks" / re.sub(r"[^\w.-]", "-", what)
        try:
            held = place.open("w")
        except OSError as error:
            raise store_error(error, place) from None
        with held:
            for pause in (0.01, 0.04, 0.1, None):  # whoever only looks whether it is held lets go at once
                try:
                    fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if pause is None:
                        repair = "Let it end, or stop it, then try again."
                        raise BusyError(f"Another process is at work on {what}.", repair=repair) from None
                    time.sleep(pause)
            yield

    @contextmanager
    def spool(self) -> Iterator[BinaryIO]:
        """Give a file that vanishes afterwards, for what is too long for memory and will be a blob."""
        try:
            with tempfile.TemporaryFile(dir=self.folder) as file:
                yield file
        except OSError as error:
            raise store_error(error, self.folder) from None

    def close(self) -> None:
        self._database.close()

    def _near(self, ref: str) -> str:
        near = difflib.get_close_matches(ref, self.aliases(), n=3)
        if not near and HEX.fullmatch(ref):
            near = [record.id[:12] for record in self._records.starting_with(ref[:4])]
        return f"Near it are: {', '.join(near)}." if near else "Give an alias, an id, or at least the first six digits of one."
