"""The service: all that a server does, whatever it is spoken to in. Takes no torch: models live in the workers."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from karat.app import costs
from karat.app.audit import AuditLog
from karat.app.chain import open_store
from karat.app.keys import BudgetError, Caller, Keyring, UnknownKeyError
from karat.app.lots import Lots
from karat.app.people import People
from karat.app.policy import check_answer, tidy
from karat.app.serving.asking import ASKED, Drawing, Embedding, Writing, asked_of
from karat.app.serving.catalog import Catalog, Offer, check_given
from karat.app.serving.crew import Crew
from karat.app.serving.desk import Desk, FullError
from karat.app.serving.webhooks import Webhooks
from karat.store.queue import ENDED, Job, Lane, Submission
from karat.store.store import Store
from karat.words.errors import BusyError, KaratError, NotFoundError, SpecError
from karat.words.specs import Spec, canonical

__all__ = ["ENDED", "FullError", "Job", "Service", "ServiceSettings"]

TIDYING = 3600.0
"""Seconds between two looks for what the policy lets go: uploads that nobody imported, and calls."""
FIRST_GUESS = 1.0
"""Seconds of device time that a unit of a kind of job takes that was never done here."""


class ServiceSettings(Spec):
    """How a server serves; `open`: everyone on this machine may do everything."""

    store: Path
    workers: int = Field(1, ge=0)
    threads: int = Field(1, ge=1, description="threads of each worker")
    memory: int = Field(2 << 30, ge=1 << 20, description="bytes of weights that each worker keeps loaded")
    open: bool = False
    grace: float = Field(20.0, ge=0, description="seconds that running requests and workers have to end in")
    most_bytes: int = Field(64 << 20, ge=1_000, description="of a request's body")
    most_upload: int = Field(4 << 30, ge=1_000, description="bytes of an upload of data")
    most_waiting: int = Field(256, ge=1)
    webhook_hosts: tuple[str, ...] = Field((), description="hosts that webhooks may name though they are inside a network")
    most_of_owner: int = Field(32, ge=1)


class FailedError(KaratError):
    """A job's own error, as its worker said it."""

    def __init__(self, said: dict[str, str]) -> None:
        super().__init__(said["problem"], repair=said["repair"])
        self.code = said["code"]  # type: ignore[misc]


class JobView(Spec):
    """A job as its owner sees it; `position` counts those ahead of a waiting one, `seconds_left` is an estimate."""

    job: Job
    position: int | None = None
    seconds_left: float | None = None


@dataclass
class Service:
    """One server's service. `start` opens it, `close` ends it and gives running jobs back."""

    settings: ServiceSettings

    def __post_init__(self) -> None:
        self.store: Store = open_store(self.settings.store)
        self.keys, self.people = Keyring(self.store), People(self.store)
        self.catalog, self.audit = Catalog(self.store), AuditLog(self.store)
        self.desk = Desk(self.store, most_waiting=self.settings.most_waiting, most_of_owner=self.settings.most_of_owner)
        self.crew = Crew(self.settings.store, self.settings.workers, self.settings.threads, self.settings.memory, grace=self.settings.grace)
        self.lots = Lots(self.settings.store / "lots")
        self.webhooks = Webhooks(self.store, self.settings.webhook_hosts)
        self._reserving: Counter[str] = Counter()
        self.ready = False

    async def start(self) -> None:
        self._tidying = asyncio.create_task(self._tidy_forever())
        await self.desk.start()
        self.audit.start()
        self.webhooks.start()
        self.crew.start()
        self.ready = True

    def end_soon(self) -> None:
        """Take no more requests, and let go of who only watches; called by a signal."""
        if self.ready:
            self.ready = False
            self.desk.let_go()

    async def close(self) -> None:
        self.ready = False
        self._tidying.cancel()
        await self.crew.close()
        await self.webhooks.close()
        await self.audit.close()
        await self.desk.close()
        self.store.close()

    async def _tidy_forever(self) -> None:
        while True:
            with suppress(KaratError):  # a store that cannot be written now is tidied the next time
                await asyncio.to_thread(tidy, self.store, self.lots, now=time.time())
            await asyncio.sleep(TIDYING)

    def caller(self, secret: str | None) -> Caller:
        """Say who asks, and count the call. Raises UnknownKeyError or HastyError."""
        if secret is None:
            if not self.settings.open:
                raise UnknownKeyError("No key came with the request.", repair="Send the header `Authorization: Bearer <key>`.")
            return Caller(owner="open", name="whoever is on this machine", scopes=("admin",))
        caller = self.keys.caller(secret)
        self.keys.count(caller)
        return caller

    async def offer(self, model: str) -> Offer:
        """Give the release of a name. Raises UnknownModelError."""
        return await asyncio.to_thread(self.catalog.get, model)

    async def submit(
        self, caller: Caller, spec: Spec, *, lane: Lane = "bulk", once: str | None = None, webhook: str | None = None, leaves: bool = False
    ) -> Job:
        """Accept a job. Raises ScopeError, BudgetError, TooManyError or FullError; BusyError when `once` stands for another request.

        `leaves`: what is made goes out with the answer. Raises PolicyError where it may not.
        """
        kind, scope = next((kind, scope) for kind, (each, scope) in ASKED.items() if isinstance(spec, each))
        caller.need(scope)
        if leaves:
            unfinished = isinstance(spec, Drawing) and (spec.previews > 0 or not spec.keeps)
            await asyncio.to_thread(check_answer, self.store, unfinished=unfinished)
        if webhook is not None:
            await asyncio.to_thread(self.webhooks.check, webhook)
        mates = spec.mates() if isinstance(spec, Drawing | Writing | Embedding) else None
        total, values = _total(spec), _sayable(spec)
        seconds = await self._affordable(caller, kind, mates, total) if caller.budget is not None else 0.0
        submission = Submission(
            kind=kind,
            owner=caller.owner,
            spec=values,
            lane=lane,
            mates=mates,
            once=once,
            webhook=webhook,
            total=total,
            reserved=seconds,
        )
        try:
            job = await self.desk.submit(submission)
        finally:
            self._reserving[caller.owner] -= round(seconds * 1e6)
        if (job.kind, job.spec) != (kind, values):
            raise BusyError("This idempotency key stands for another request.", repair="Take a new one for each request.")
        return job

    async def ask(self, caller: Caller, kind: str, values: dict[str, Any], **options: Any) -> Job:
        """Accept a job of a kind by its values; releases may be named by their aliases. Raises what `submit` does, and SpecError."""
        if kind in ("generate", "write", "embed") and isinstance(values.get("release"), str):
            offer = await self.offer(values["release"])
            check_given(offer, _conditions(values))
            values = {**values, "release": offer.id}
        if kind == "import":
            values = self._uploaded(values)
        return await self.submit(caller, asked_of(kind, values), **options)

    def _uploaded(self, values: dict[str, Any]) -> dict[str, Any]:
        """Put the place of an upload where a client names it; a client never names a place of this machine. Raises SpecError."""
        if "path" in values or not isinstance(values.get("upload"), str):
            raise SpecError("An import over the network is of an upload.", repair='Give {"upload": id}, of POST /api/uploads.')
        rest = {name: value for name, value in values.items() if name != "upload"}
        return {**rest, "path": str(self.lots.source(values["upload"]))}

    async def _affordable(self, caller: Caller, kind: str, mates: str | None, total: int | None) -> float:
        """Reserve what a job should cost until the queue does, and give its seconds. Raises BudgetError."""
        seconds = await asyncio.to_thread(self.expected, kind, mates) * (total or 1)
        self._reserving[caller.owner] += round(seconds * 1e6)
        spent = await asyncio.to_thread(costs.spent, self.store, caller.owner)
        ahead, budget = (self._reserving[caller.owner] / 1e6 - seconds) * spent.price, caller.budget or 0.0
        if (wanted := seconds * spent.price) > 0 and spent.money + ahead + wanted > budget:
            self._reserving[caller.owner] -= round(seconds * 1e6)
            left = max(0.0, budget - spent.money - ahead)
            raise BudgetError(
                f"This should cost {wanted:.4g} {spent.currency}; {left:.4g} of {budget:.4g} are left.",
                repair="Ask for less, or let an administrator raise the budget.",
            )
        return seconds

    def expected(self, kind: str, mates: str | None) -> float:
        """Give the seconds of device time that a unit of a job should take, from those that were done last."""
        queue = self.store.queue
        found = queue.usual(kind, mates) if mates is not None else None
        found = queue.usual(kind, None) if found is None else found
        return FIRST_GUESS if found is None else found

    async def job(self, caller: Caller, id: str) -> Job:
        """Give a job of the caller's; administrators see all. Raises NotFoundError."""
        job = await asyncio.to_thread(self.store.queue.get, id)
        if job.owner != caller.owner and "admin" not in caller.scopes:
            raise NotFoundError(f"There is no job {id!r}.", repair="Look at the list of jobs.")
        return job

    async def view(self, job: Job) -> JobView:
        """Give a job with its place in the queue and the time that it should take."""
        if job.state in ENDED:
            return JobView(job=job)
        expected = await asyncio.to_thread(self.expected, job.kind, job.mates) * (job.total or 1)
        if job.state == "queued":
            position = await asyncio.to_thread(self.store.queue.position, job)
            workers = max(1, self.settings.workers)
            return JobView(job=job, position=position, seconds_left=round(position * self.desk.pace.seconds / workers + expected, 1))
        share = job.done / job.total if job.total else 0.0
        return JobView(job=job, seconds_left=round(expected * (1 - share), 1))

    async def done(self, job: Job) -> dict[str, Any]:
        """Wait for a job and give its result; who stops waiting cancels it. Raises FailedError with the job's own error."""
        return result_of([event async for event in self.events(job)][-1])

    async def left(self, job: Job) -> None:
        """Stop a job that nobody waits for any more; one that may be asked for again goes on."""
        if job.once is None and (await asyncio.to_thread(self.store.queue.get, job.id)).state not in ENDED:
            await self.desk.cancel(job.id)

    async def events(self, job: Job) -> AsyncIterator[dict[str, Any]]:
        """Give what happens to a job for somebody who waits for it: when they go away before its end, it is cancelled.

        One with an idempotency key goes on, since who gave it one means to ask again.
        """
        ended = False
        try:
            async for event in self.desk.events(job.id):
                ended = event["kind"] == "ended"
                yield event
        finally:
            if not ended and job.once is None:
                cancelling = asyncio.create_task(self.desk.cancel(job.id))
                with suppress(asyncio.CancelledError):
                    await asyncio.shield(cancelling)


def result_of(event: dict[str, Any]) -> dict[str, Any]:
    """Give the result that the last event of a job brings. Raises FailedError."""
    job = event["job"]
    if job["state"] == "done":
        return dict(job["result"])
    if job["state"] == "cancelled":
        raise FailedError({"code": "cancelled", "problem": "The job was cancelled.", "repair": "Ask again."})
    raise FailedError(job["error"])


def _conditions(values: dict[str, Any]) -> dict[str, Any]:
    """Give the conditions in a request that was not read yet; what is none is refused where it is read."""
    request = values.get("request")
    given = request.get("given") if isinstance(request, dict) else None
    return given if isinstance(given, dict) else {}


def _sayable(spec: Spec) -> dict[str, Any]:
    """Give a spec as JSON values. Raises SpecError for half characters, which no store keeps."""
    values = spec.model_dump(mode="json")
    try:
        canonical(values)
    except UnicodeEncodeError:
        raise SpecError("A text holds half characters (lone surrogates).", repair="Send it as UTF-8.") from None
    return values


def _total(spec: Spec) -> int | None:
    """Give the units of work of a job, where they are known."""
    if isinstance(spec, Drawing):
        return spec.request.count
    if isinstance(spec, Writing):
        return spec.request.count * len(spec.prompts)
    return len(spec.inputs) if isinstance(spec, Embedding) else None
