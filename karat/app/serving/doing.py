"""What a worker can do: one generator for each kind of job.

A generator is given jobs that are done together (one, unless their `mates` are equal), and yields each one's events. A job ends with its
`Done`, or with the error that was its own; an error that is raised is that of all jobs that have not ended.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from karat.app.serving.loaded import LoadedReleases
from karat.store.queue import Job
from karat.store.store import Store
from karat.words.errors import KaratError
from karat.words.events import Event
from karat.words.registry import Registry


class Done(Event):
    """A job is done; `result` is what its owner gets."""

    kind: Literal["done"] = "done"
    result: dict[str, Any]


@dataclass(frozen=True)
class Bench:
    """What a worker works with: the store, the loaded releases, whether a job is to stop, and who may join one that runs.

    What joins is held as if it had been there from the beginning.
    """

    store: Store
    releases: LoadedReleases
    stopped: Callable[[str], bool]
    join: Callable[[Job], Sequence[Job]] = lambda job: ()


Doer = Callable[[Bench, Sequence[Job]], Iterator[tuple[Job, Event | KaratError]]]
doers: Registry[Doer] = Registry("kind of job")
