"""Jobs that are steps of the chain: each is the same use case as the command of its name."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from karat.app import data, evaluating, releasing, training
from karat.app.checking import check_up
from karat.app.serving.asking import ASKED, Evaluating, Planning, Running, Training
from karat.app.serving.doing import Bench, Doer, Done, doers
from karat.app.watching import run_folder
from karat.store.queue import Job
from karat.store.store import Store
from karat.words.errors import Cancelled, KaratError
from karat.words.events import Event, Finished, Started

Stop = Callable[[], bool]


def _train(store: Store, asked: Training, stop: Stop) -> Iterator[Event]:
    plan = training.plan(store, asked.snapshot, asked.dials, given=asked.given, through=asked.through)
    yield from training.run(store, plan, stop=stop)


def _plan(store: Store, asked: Planning) -> Iterator[Event]:
    yield Started(what="plan")
    plan = training.plan(store, asked.snapshot, asked.dials, given=asked.given, through=asked.through)
    lines = [f"{line.name}: {line.value}" for line in training.summary(store, plan) if line.name != "folder"]
    advice = training.hint(store, plan)
    yield Finished(what="plan", result=training.keep(store, plan), summary="\n".join([*lines, *([advice] if advice else [])]))


def _run(store: Store, asked: Running, stop: Stop) -> Iterator[Event]:
    plan = training.read_plan(run_folder(store, asked.folder) / "spec.json")
    yield from training.run(store, plan, stop=stop)


def _chore(kind: str, work: Callable[[Store, Any, Stop], Iterator[Event]]) -> Doer:
    """Make a doer of a use case: its events pass on, and the result of its `Finished` is the job's."""

    def do(bench: Bench, jobs: Sequence[Job]) -> Iterator[tuple[Job, Event | KaratError]]:
        (job,) = jobs
        for event in work(bench.store, ASKED[kind][0].from_values(job.spec), lambda: bench.stopped(job.id)):
            if isinstance(event, Finished):
                yield job, Done(result={"id": event.result, "summary": event.summary, "figures": event.figures})
                return
            yield job, event
            if bench.stopped(job.id):
                raise Cancelled(f"The {kind} was stopped.", repair="Ask again: it goes on where it was.")

    return do


def _evaluate(store: Store, asked: Evaluating) -> Iterator[Event]:
    yield from evaluating.evaluate_run(store, asked.run, evaluating.EvaluatingOptions.from_values(asked.options))


CHORES: dict[str, Callable[[Store, Any, Stop], Iterator[Event]]] = {
    "import": lambda store, asked, stop: data.import_source(store, Path(asked.path), options=asked.options),
    "check": lambda store, asked, stop: check_up(store, asked.refs, changes=asked.policy),
    "snapshot": lambda store, asked, stop: data.snapshot(store, asked.refs, asked.wish, alias=asked.alias),
    "train": _train,
    "plan": lambda store, asked, stop: _plan(store, asked),
    "run": _run,
    "evaluate": lambda store, asked, stop: _evaluate(store, asked),
    "release": lambda store, asked, stop: releasing.release_run(store, asked.run, title=asked.title, alias=asked.alias),
}
for _kind, _work in CHORES.items():
    doers.add(_kind)(_chore(_kind, _work))
