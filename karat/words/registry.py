"""One way to add a codec, a family, a solver, a metric …: built-ins and plug-ins register alike.

A plug-in package declares an entry point in the group `karat.<kind>`, whose value is the object itself.
"""

import difflib
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import entry_points
from typing import TypeVar

from karat.words.errors import SpecError

T = TypeVar("T")


class Registry(Mapping[str, T]):
    """Names to things of one kind, for example `Registry("solver")`."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._known: dict[str, T] = {}
        self._plugins_loaded = False

    def add(self, name: str) -> Callable[[T], T]:
        """Register the decorated thing under `name`; a name is taken once."""

        def register(thing: T) -> T:
            assert name not in self._known, f"two things of kind {self.kind} are called {name!r}"
            self._known[name] = thing
            return thing

        return register

    def __getitem__(self, name: str) -> T:
        self._load_plugins()
        if name not in self._known:
            near = difflib.get_close_matches(name, self._known, n=1)
            hint = f"Did you mean {near[0]!r}?" if near else f"Known are: {', '.join(sorted(self._known))}."
            raise SpecError(f"There is no {self.kind} called {name!r}.", repair=hint)
        return self._known[name]

    def __iter__(self) -> Iterator[str]:
        self._load_plugins()
        return iter(sorted(self._known))

    def __len__(self) -> int:
        self._load_plugins()
        return len(self._known)

    def _load_plugins(self) -> None:
        if self._plugins_loaded:
            return
        self._plugins_loaded = True
        for point in entry_points(group=f"karat.{self.kind}"):
            self.add(point.name)(point.load())
