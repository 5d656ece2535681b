"""Jobs that are steps of the chain: each is the same use case as the command of its name."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from karat.app import data, evaluating, releasing, training
from karat.app.serving.doing import Bench, Doer, Done, doers
from karat.store.queue import Job
from karat.store.store import Store
from karat.words.errors import Cancelled, KaratError
from karat.words.events import Event, Finished
from karat.words.specs import Spec


class Importing(Spec):
    """Import a place: a folder or file that the server itself put there."""

    path: str
    options: data.ImportOptions = data.ImportOptions()


class Checking(Spec):
    refs: tuple[str, ...]
    policy: dict[str, Any] = {}


class Snapping(Spec):
    refs: tuple[str, ...]
    wish: data.SnapshotWish = data.SnapshotWish()
    alias: str | None = None


class Training(Spec):
    """Train on a snapshot; `made` and everything else that dials cannot say goes into their `changes`."""

    snapshot: str
    dials: training.Dials = training.Dials()
    given: tuple[str, ...] = ()
    through: str | None = None


class Evaluating(Spec):
    run: str
    options: evaluating.EvaluatingOptions = evaluating.EvaluatingOptions()


class Releasing(Spec):
    run: str
    title: str = ""
    alias: str | None = None


Stop = Callable[[], bool]


def _train(store: Store, asked: Training, stop: Stop) -> Iterator[Event]:
    plan = training.plan(store, asked.snapshot, asked.dials, given=asked.given, through=asked.through)
    yield from training.run(store, plan, stop=stop)


def _chore(kind: str, spec: type[Spec], work: Callable[[Store, Any, Stop], Iterator[Event]]) -> Doer:
    """Make a doer of a use case: its events pass on, and the result of its `Finished` is the job's."""

    def do(bench: Bench, jobs: Sequence[Job]) -> Iterator[tuple[Job, Event | KaratError]]:
        (job,) = jobs
        for event in work(bench.store, spec.from_values(job.spec), lambda: bench.stopped(job.id)):
            if isinstance(event, Finished):
                yield job, Done(result={"id": event.result, "summary": event.summary, "figures": event.figures})
                return
            yield job, event
            if bench.stopped(job.id):
                raise Cancelled(f"The {kind} was stopped.", repair="Ask again: it goes on where it was.")

    return do


CHORES: dict[str, tuple[type[Spec], Callable[[Store, Any, Stop], Iterator[Event]]]] = {
    "import": (Importing, lambda store, asked, stop: data.import_source(store, Path(asked.path), options=asked.options)),
    "check": (Checking, lambda store, asked, stop: data.check(store, asked.refs, changes=asked.policy)),
    "snapshot": (Snapping, lambda store, asked, stop: data.snapshot(store, asked.refs, asked.wish, alias=asked.alias)),
    "train": (Training, _train),
    "evaluate": (Evaluating, lambda store, asked, stop: evaluating.evaluate_run(store, asked.run, asked.options)),
    "release": (Releasing, lambda store, asked, stop: releasing.release_run(store, asked.run, title=asked.title, alias=asked.alias)),
}
for _kind, (_spec, _work) in CHORES.items():
    doers.add(_kind)(_chore(_kind, _spec, _work))
