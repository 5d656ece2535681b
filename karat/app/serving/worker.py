"""A worker: a process that takes jobs from the queue and does them, one after the other or several that go together."""

import time
import traceback
from collections.abc import Callable, Sequence

from karat.app.costs import enter_time_up
from karat.app.failures import in_words
from karat.app.serving import chores, drawing, writing  # noqa: F401 - they register what they do
from karat.app.serving.doing import Bench, Done, doers
from karat.app.serving.finishing import Finishing
from karat.app.serving.loaded import LoadedReleases
from karat.app.serving.pulse import LEASE, Pulse
from karat.app.serving.wire import Wire, wire_place
from karat.store.queue import Ending, Job
from karat.store.store import Store
from karat.words.errors import KaratError
from karat.words.events import Event, Progress

IDLE = 0.5
"""Seconds between two looks at an empty queue, unless the wire says that there is something."""
TOGETHER = 32
JOINING = 5.0
"""Seconds after its beginning in which others may join a job that runs: then it is the turn of whoever waits."""
ENTERED = 300.0
"""Seconds after which a worker enters that it was up."""


class InternalError(KaratError):
    """Something that should not happen; it is written to the worker's log."""

    code = "internal"


class Shares:
    """The seconds of a worker, each divided among the jobs that are open in it: they add up to what it worked."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        self._seconds, self._mark = {job.id: 0.0 for job in jobs}, time.perf_counter()

    def begin(self, job: Job) -> None:
        self._divide()
        self._seconds[job.id] = 0.0

    def end(self, job: Job) -> float:
        """Give the seconds of a job that has ended."""
        self._divide()
        return self._seconds.pop(job.id)

    def _divide(self) -> None:
        now = time.perf_counter()
        for job in self._seconds:
            self._seconds[job] += (now - self._mark) / len(self._seconds)
        self._mark = now


class Worker:
    """One worker on a store. `run` returns when `stop` says so, between two jobs; what it holds then waits again."""

    def __init__(self, store: Store, *, name: str, memory: int, stop: Callable[[], bool]) -> None:
        self.store, self.name, self.stop = store, name, stop
        self.wire = Wire(wire_place(store.folder))
        self.pulse = Pulse(store.queue, self.wire)
        self.finishing = Finishing(store.queue, self._let_go)
        self.bench = Bench(store, LoadedReleases(store, budget=memory), lambda job: self.stop() or self.pulse.stopped(job), self._join)
        self._open: dict[str, Job] = {}
        self._shares, self._began = Shares(()), 0.0

    def run(self) -> None:
        """Work until asked to stop."""
        revived, entered = 0.0, time.monotonic()
        while not self.stop():
            if time.monotonic() - entered > ENTERED:
                entered = self._enter_time_up(entered)
            if time.monotonic() - revived > LEASE / 4:
                revived = time.monotonic()
                self.store.queue.revive(lease=LEASE)
            held = self.store.queue.claim(self.name, kinds=tuple(doers), most=TOGETHER)
            if held:
                self.do(held)
            else:
                self.wire.woken.wait(IDLE)
                self.wire.woken.clear()
        self._enter_time_up(entered)
        self.pulse.close()

    def _enter_time_up(self, since: float) -> float:
        """Put on the chain that this worker was up; idle time costs as well."""
        now = time.monotonic()
        enter_time_up(self.store, self.name, seconds=now - since, at=time.time())
        return now

    def do(self, held: Sequence[Job]) -> None:
        """Do some jobs together, and those that join them, and complete each of them."""
        self._shares, self._open, self._began = Shares(held), {job.id: job for job in held}, time.monotonic()
        self.pulse.hold(held)
        try:
            for job, said in doers[held[0].kind](self.bench, held):
                if isinstance(said, Done | KaratError):
                    self._end(job, said)
                else:
                    self._tell(job, said)
        except KaratError as error:
            ending: KaratError = error
        except (OSError, MemoryError) as error:
            ending = in_words(error)
        except Exception:
            traceback.print_exc()
            ending = InternalError("This job met a fault in Karat.", repair="See the worker's log, and report it.")
        else:
            ending = InternalError("This job ended without saying how.", repair="Report it.")
        for job in list(self._open.values()):
            self._end(job, ending)
        self.finishing.wait()

    def _end(self, job: Job, ending: Done | KaratError) -> None:
        """Complete a job, or give it back when the worker is to end."""
        seconds = self._shares.end(job)
        del self._open[job.id]
        if isinstance(ending, Done):
            self.finishing.add(Ending(job.claim, result=ending.result, seconds=seconds))
        elif ending.code == "cancelled" and self.stop():
            self.store.queue.give_back(job.claim)
            self._let_go(job.id)
        else:
            self.finishing.add(Ending(job.claim, error=ending, seconds=seconds))

    def _let_go(self, job: str) -> None:
        """Have done with a job, and let the server look at it."""
        self.pulse.let_go(job)
        self.wire.send(job, {"kind": "ended"})

    def _join(self, job: Job) -> Sequence[Job]:
        """Take up what came in meanwhile and may be computed with a job; asked often, so it looks only when it was woken."""
        if not self.wire.woken.is_set() or self.stop() or time.monotonic() - self._began > JOINING:
            return ()
        self.wire.woken.clear()
        joined = self.store.queue.join(job, most=TOGETHER - len(self._open))
        self.pulse.hold(joined)
        for each in joined:
            self._shares.begin(each)
            self._open[each.id] = each
        return joined

    def _tell(self, job: Job, event: Event) -> None:
        if isinstance(event, Progress):
            self.pulse.note(job.id, event.done, event.total, event.figures)
        self.wire.send(job.id, event.model_dump(mode="json"))
