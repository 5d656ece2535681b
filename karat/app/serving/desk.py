"""The desk: where a server takes jobs in, within bounds, and watches them for whoever waits.

Jobs that come in at the same moment are written in one transaction. What is accepted is in the queue before anyone is told so.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from karat.app.serving.wire import Listener, listen, wire_place
from karat.store.queue import ENDED, Job, Submission
from karat.store.store import Store
from karat.words.errors import KaratError

LOOK = 1.0
"""Seconds after which a waiting desk looks at the queue by itself, for workers that are not on its wire."""
ENTERING = 32
"""How many may be let in beside those who hold a place."""
LONGEST_RETRY = 120.0
Future = asyncio.Future[Job]


class FullError(KaratError):
    """The server has as much waiting as it may hold; `retry_after` says when there should be room, in seconds."""

    code = "full"

    def __init__(self, problem: str, *, repair: str, retry_after: float) -> None:
        super().__init__(problem, repair=repair)
        self.retry_after = retry_after


class TooManyError(FullError):
    """One owner has as much waiting as it may have."""

    code = "too-many"


@dataclass
class Pace:
    """How fast jobs end: a moving mean of the seconds between two endings while there is work."""

    seconds: float = 1.0
    last: float | None = None

    def ended(self, now: float) -> None:
        if self.last is not None and now - self.last < 60:
            self.seconds += 0.1 * (now - self.last - self.seconds)
        self.last = now

    def wait(self, ahead: int) -> float:
        """Give the seconds until so many jobs have ended, as a server tells them: at least one, at most what clients heed."""
        return min(LONGEST_RETRY, max(1.0, round(ahead * self.seconds, 1)))


@dataclass
class Desk:
    """One server's desk. `start` opens it; `close` ends all watching, but no job."""

    store: Store
    most_waiting: int = 256
    most_of_owner: int = 32
    pace: Pace = field(default_factory=Pace)
    ended_by: Callable[[Job], None] = lambda job: None
    """Told each job that ended while somebody watched it."""

    async def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._coming: list[tuple[Submission, Future]] = []
        self._watching: dict[str, set[asyncio.Queue[dict[str, Any]]]] = {}
        self._came = asyncio.Event()
        self._counted, self._counted_at = 0, -LOOK
        self._listener: Listener = await listen(wire_place(self.store.folder), self._heard)
        self._committing = asyncio.create_task(self._commit_forever())

    async def close(self) -> None:
        self._committing.cancel()
        with suppress(asyncio.CancelledError):
            await self._committing
        await self._listener.close()

    def let_go(self) -> None:
        """Tell all who watch a job that the server ends; who waits for its result may wait on. Safe in a signal."""
        for job in list(self._watching):
            self._loop.call_soon_threadsafe(self._heard, job, {"kind": "closing"})

    def refusal(self, inside: int) -> FullError | None:
        """Give what who asks for work now is told, without a look at the disk, when so many are inside already.

        All places are taken, as far as is known here; or `ENTERING` more are inside than there are places, still being let in.
        """
        is_known = self._loop.time() - self._counted_at < LOOK
        taken = max(self._counted if is_known else 0, inside - ENTERING)
        return self._full(taken) if taken >= self.most_waiting else None

    async def submit(self, submission: Submission) -> Job:
        """Accept a job. Raises TooManyError or FullError when there is no room for it."""
        future: Future = self._loop.create_future()
        self._coming.append((submission, future))
        self._came.set()
        return await future

    async def events(self, id: str) -> AsyncIterator[dict[str, Any]]:
        """Give what is heard of a job until it has ended; the last thing is `{"kind": "ended", "job": …}`."""
        heard: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._watching.setdefault(id, set()).add(heard)
        try:
            while True:
                job = await self._get(id)
                if job.state in ENDED:
                    while not heard.empty():
                        if (event := heard.get_nowait())["kind"] != "ended":
                            yield event
                    self.ended_by(job)
                    yield {"kind": "ended", "job": job.model_dump(mode="json")}
                    return
                while (coming := await _next(heard)) is not None and coming["kind"] != "ended":
                    yield coming
        finally:
            self._watching[id].discard(heard)
            if not self._watching[id]:
                del self._watching[id]

    async def ended(self, id: str) -> Job:
        """Wait until a job has ended."""
        async for event in self.events(id):
            if event["kind"] == "ended":
                return Job.from_values(event["job"])
        raise AssertionError("events end with the job")

    async def cancel(self, id: str) -> Job:
        """Stop a job: at once if it waits, at its next step if it runs. Its worker is told before the disk is, which takes longer."""
        self._listener.tell({"stop": id})
        job = await asyncio.to_thread(self.store.queue.cancel, id)
        self._listener.tell({"stop": id})  # for a worker that has taken it meanwhile
        self._heard(id, {"kind": "ended"} if job.state in ENDED else {"kind": "cancelling"})
        return job

    async def _get(self, id: str) -> Job:
        return await asyncio.to_thread(self.store.queue.get, id)

    def _heard(self, job: str, event: dict[str, Any]) -> None:
        if event["kind"] == "ended":
            self.pace.ended(self._loop.time())
            self._counted -= 1
        for watcher in self._watching.get(job, ()):
            watcher.put_nowait(event)

    async def _commit_forever(self) -> None:
        while True:
            await self._came.wait()
            self._came.clear()
            coming, self._coming = self._coming, []
            if coming:
                await self._commit(coming)

    async def _commit(self, coming: list[tuple[Submission, Future]]) -> None:
        """Write all that came in one transaction, and tell each what became of it."""
        try:
            accepted = self._within_bounds(coming, await asyncio.to_thread(self.store.queue.waiting))
            jobs = await asyncio.to_thread(self.store.queue.submit, [submission for submission, _ in accepted])
        except Exception as error:
            for _, future in coming:
                if not future.done():
                    future.set_exception(error)
            return
        for (_, future), job in zip(accepted, jobs, strict=True):
            if future.cancelled():  # who asked went away meanwhile
                await asyncio.to_thread(self.store.queue.cancel, job.id)
            else:
                future.set_result(job)
        self._listener.tell({"wake": len(jobs)})

    def _within_bounds(self, coming: list[tuple[Submission, Future]], waiting: Any) -> list[tuple[Submission, Future]]:
        accepted = []
        for submission, future in coming:
            own, total = waiting[submission.owner], sum(waiting.values())
            if own < self.most_of_owner and total < self.most_waiting:
                waiting[submission.owner] += 1
                accepted.append((submission, future))
            elif not future.done():
                future.set_exception(self._too_many(own) if own >= self.most_of_owner else self._full(total))
        self._counted, self._counted_at = sum(waiting.values()), self._loop.time()
        return accepted

    def _too_many(self, own: int) -> TooManyError:
        retry = self.pace.wait(own)
        return TooManyError(f"{own} of your requests wait already.", repair=f"Try again in {retry:g} seconds.", retry_after=retry)

    def _full(self, total: int) -> FullError:
        retry = self.pace.wait(total)
        return FullError(f"{total} requests wait already.", repair=f"Try again in {retry:g} seconds.", retry_after=retry)


async def _next(heard: asyncio.Queue[dict[str, Any]]) -> dict[str, Any] | None:
    """Give what is heard next; nothing, if that takes longer than `LOOK`.

    No `asyncio.wait_for`: before Python 3.12 it forgets that it was cancelled when something comes at that moment.
    """
    try:
        async with asyncio.timeout(LOOK):
            return await heard.get()
    except TimeoutError:
        return None
