"""The queue: jobs that were accepted, and who works on them. It is a table, so that no killed server or worker loses a job.

A worker holds a job by a claim (its name and the attempt) that it must renew. A claim that was not renewed is void: the job waits again,
and whatever the old worker still says of it is refused. So a job is completed once, however often it was begun.
"""

import json
import math
import secrets
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from sqlalchemy import Connection, Row, and_, case, delete, func, insert, or_, select, update

from karat.store.database import Database
from karat.store.tables import jobs, tellings
from karat.words.errors import KaratError, NotFoundError
from karat.words.specs import Spec, canonical

State = Literal["queued", "running", "done", "failed", "cancelled"]
Lane = Literal["interactive", "bulk"]
ENDED = ("done", "failed", "cancelled")
RECENT = 600.0
"""Seconds over which the device time that an owner was given counts against it."""
CLAIMS = "claims"
"""Workers claim one after the other, whatever the database, so that whose turn it is stays true until the job is taken."""


class Submission(Spec):
    """A job to be accepted. Jobs of equal `mates` may be computed together; `once` makes submitting it again harmless.

    `reserved` seconds of device time count as its owner's spending until it has ended.
    """

    kind: str
    owner: str
    spec: dict[str, Any]
    lane: Lane = "bulk"
    mates: str | None = None
    once: str | None = None
    webhook: str | None = None
    total: int | None = None
    reserved: float = 0.0


class Job(Spec):
    """A job as it stands. Times are Unix seconds; `seconds` is the device time that it took."""

    number: int
    id: str
    kind: str
    state: State
    lane: Lane
    owner: str
    mates: str | None
    spec: dict[str, Any]
    once: str | None
    webhook: str | None
    done: int
    total: int | None
    figures: dict[str, float]
    result: Any
    error: dict[str, Any] | None
    seconds: float
    submitted: float
    started: float | None
    ended: float | None
    worker: str | None
    attempt: int
    cancelling: bool
    reserved: float

    @property
    def claim(self) -> "Claim":
        return Claim(self.id, self.worker or "", self.attempt)


@dataclass(frozen=True)
class Claim:
    """The right of one worker to one attempt at a job."""

    job: str
    worker: str
    attempt: int


@dataclass(frozen=True)
class Beat:
    """A sign of life for a claim: how far it is."""

    claim: Claim
    done: int = 0
    total: int | None = None
    figures: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Ending:
    """What became of a claim: done, failed or cancelled, as the error says; `seconds` is the device time that it took."""

    claim: Claim
    result: Any = None
    error: KaratError | None = None
    seconds: float = 0.0

    @property
    def values(self) -> dict[str, Any]:
        error = self.error
        state = "done" if error is None else "cancelled" if error.code == "cancelled" else "failed"
        told = None if error is None else _text({"code": error.code, "problem": error.problem, "repair": error.repair})
        return {"state": state, "result": None if self.result is None else _text(self.result), "error": told}


class Queue:
    """The jobs of a store."""

    def __init__(self, database: Database, clock: Callable[[], float]) -> None:
        self._database, self._clock = database, clock

    def submit(self, submissions: Sequence[Submission]) -> list[Job]:
        """Accept jobs, all of them or none; give them in order. One whose `once` its owner has used before is the job of that time."""
        with self._database.writing() as connection:
            return [_submitted(connection, self._database.upsert(jobs), each, self._clock()) for each in submissions]

    def get(self, id: str) -> Job:
        with self._database.reading() as connection:
            row = connection.execute(select(jobs).where(jobs.c.id == id)).first()
        if row is None:
            raise NotFoundError(f"There is no job {id!r}.", repair="Look at the list of jobs.")
        return _job(row)

    def latest(self, *, owner: str | None = None, state: State | None = None, before: int | None = None, limit: int = 50) -> list[Job]:
        """Give jobs, newest first; `before` is the number of the last one that was seen."""
        query = select(jobs).order_by(jobs.c.number.desc()).limit(limit)
        for column, wanted in ((jobs.c.owner, owner), (jobs.c.state, state)):
            query = query.where(column == wanted) if wanted is not None else query
        query = query.where(jobs.c.number < before) if before is not None else query
        with self._database.reading() as connection:
            return [_job(row) for row in connection.execute(query)]

    def waiting(self) -> Counter[str]:
        """Give how many jobs of each owner wait."""
        query = select(jobs.c.owner, func.count().label("waiting")).where(jobs.c.state == "queued").group_by(jobs.c.owner)
        with self._database.reading() as connection:
            return Counter({row.owner: row.waiting for row in connection.execute(query)})

    def spent(self, owner: str, *, since: float = -math.inf, until: float = math.inf) -> float:
        """Give the seconds of device time of an owner's jobs that ended between two moments, and what the others reserve now."""
        seconds = case((jobs.c.state.in_(ENDED), jobs.c.seconds), else_=jobs.c.reserved)
        at = case((jobs.c.state.in_(ENDED), jobs.c.ended), else_=self._clock())
        query = select(func.sum(seconds)).where(jobs.c.owner == owner)
        query = query.where(at >= since) if since > -math.inf else query
        query = query.where(at < until) if until < math.inf else query
        with self._database.reading() as connection:
            return float(connection.scalar(query) or 0.0)

    def usual(self, kind: str, mates: str | None, *, most: int = 50) -> float | None:
        """Give the seconds that a unit of the last jobs of one kind (and, if given, equal mates) took; None where there were none."""
        last = select(jobs.c.seconds, func.coalesce(jobs.c.total, 1).label("total")).where(jobs.c.kind == kind, jobs.c.state == "done")
        last = last.where(jobs.c.mates == mates) if mates is not None else last
        some = last.order_by(jobs.c.number.desc()).limit(most).subquery()
        with self._database.reading() as connection:
            row = connection.execute(select(func.sum(some.c.seconds).label("seconds"), func.sum(some.c.total).label("total"))).one()
        return float(row.seconds) / max(1, int(row.total)) if row.total else None

    def position(self, job: Job) -> int:
        """Give how many jobs are ahead of a waiting one, had all owners the same share."""
        ahead = or_(jobs.c.number < job.number, jobs.c.lane == "interactive") if job.lane == "bulk" else jobs.c.number < job.number
        query = select(func.count()).where(jobs.c.state == "queued", ahead, jobs.c.number != job.number)
        query = query.where(jobs.c.lane == "interactive") if job.lane == "interactive" else query
        with self._database.reading() as connection:
            return int(connection.scalar(query) or 0)

    def claim(self, worker: str, *, kinds: Sequence[str], most: int = 1) -> list[Job]:
        """Give a worker the job that is due, and up to `most` in all that may be computed with it.

        Interactive goes before bulk; then the owner that has been given the least device time lately, and holds the fewest running
        jobs; then who came first. A job that was begun before is done alone: if it was what killed its worker, it takes no others along,
        and if it was not, it is not held again beside what was.
        """
        now = self._clock()
        with self._database.writing(alone=CLAIMS, lasting=False) as connection:
            due = _due(connection, kinds, now - RECENT)
            if due is None:
                return []
            together = due.mates is not None and due.attempt == 0 and most > 1
            chosen = [due, *_mates(connection, due, most - 1)] if together else [due]
            return _taken(connection, worker, [row.number for row in chosen], now)

    def join(self, job: Job, *, most: int) -> list[Job]:
        """Give the worker of a running job up to `most` waiting ones that may be computed with it from now on."""
        if job.mates is None or job.worker is None or job.attempt > 1:
            return []
        with self._database.reading() as connection:
            if not _mates(connection, job, 1):
                return []  # the usual case, for which nobody's writing waits
        with self._database.writing(alone=CLAIMS, lasting=False) as connection:
            return _taken(connection, job.worker, [row.number for row in _mates(connection, job, most)], self._clock())

    def beat(self, beats: Iterable[Beat]) -> set[str]:
        """Renew claims and note how far they are. Give the ids of the jobs to stop: cancelled ones, and those whose claim is void."""
        stop, now = set(), self._clock()
        with self._database.writing(lasting=False) as connection:
            for beat in beats:
                values = {"beat": now, "done": beat.done, "total": beat.total, "figures": _text(beat.figures)}
                held = connection.execute(update(jobs).where(_holds(beat.claim)).values(**values)).rowcount
                asked = connection.scalar(select(jobs.c.cancelling).where(jobs.c.id == beat.claim.job))
                stop.update([beat.claim.job] if not held or asked else [])
        return stop

    def finish(self, claim: Claim, *, result: Any = None, error: KaratError | None = None, seconds: float = 0.0) -> bool:
        """Complete a job by its claim. Give False when the claim is void."""
        return self.finish_all([Ending(claim, result, error, seconds)]) == [True]

    def finish_all(self, endings: Sequence[Ending]) -> list[bool]:
        """Complete jobs in one transaction, and say of each whether its claim held."""
        now, held = self._clock(), list[bool]()
        with self._database.writing() as connection:
            for each in endings:
                change = update(jobs).where(_holds(each.claim)).values(**each.values, ended=now, seconds=jobs.c.seconds + each.seconds)
                held.append(bool(connection.execute(change).rowcount))
        return held

    def give_back(self, claim: Claim) -> None:
        """Let a job wait again, as a worker does that is asked to end."""
        with self._database.writing() as connection:
            connection.execute(update(jobs).where(_holds(claim)).values(state="queued", worker=None))

    def revive(self, *, lease: float, attempts: int = 5) -> int:
        """Let jobs wait again whose worker gave no sign for `lease` seconds; give up on those that `attempts` workers did not survive."""
        now = self._clock()
        silent = select(jobs.c.number).where(jobs.c.state == "running", jobs.c.beat < now - lease)
        error = _text({"code": "lost", "problem": f"{attempts} workers did not survive it.", "repair": "Ask for less at once."})
        with self._database.writing() as connection:
            numbers = connection.scalars(silent.with_for_update(skip_locked=True)).all()  # one that is being changed gives a sign
            lost = and_(jobs.c.number.in_(numbers), jobs.c.state == "running")
            connection.execute(update(jobs).where(lost, jobs.c.cancelling).values(state="cancelled", ended=now))
            connection.execute(update(jobs).where(lost, jobs.c.attempt >= attempts).values(state="failed", ended=now, error=error))
            return connection.execute(update(jobs).where(lost).values(state="queued", worker=None)).rowcount

    def untold(self, *, limit: int = 20) -> list[tuple[Job, int]]:
        """Give jobs that have ended and whose webhooks are to be told now, with how often that was tried."""
        query = select(jobs, tellings.c.tries).join(tellings, tellings.c.job == jobs.c.id)
        query = query.where(jobs.c.state.in_(ENDED), tellings.c.due <= self._clock()).order_by(tellings.c.due).limit(limit)
        with self._database.reading() as connection:
            return [(_job(row), row.tries) for row in connection.execute(query)]

    def told(self, id: str, *, again_in: float | None = None) -> None:
        """Note that a webhook was told, or is to be told again in some seconds."""
        with self._database.writing() as connection:
            if again_in is None:
                connection.execute(delete(tellings).where(tellings.c.job == id))
            else:
                values = {"tries": tellings.c.tries + 1, "due": self._clock() + again_in}
                connection.execute(update(tellings).where(tellings.c.job == id).values(**values))

    def cancel(self, id: str) -> Job:
        """Ask a job to stop: a waiting one is cancelled at once, a running one at its next step, one that ended stays as it is."""
        with self._database.writing() as connection:
            connection.execute(select(jobs.c.number).where(jobs.c.id == id).with_for_update())  # it stays as it is from here on
            waiting = and_(jobs.c.id == id, jobs.c.state == "queued")
            connection.execute(update(jobs).where(waiting).values(state="cancelled", cancelling=True, ended=self._clock()))
            connection.execute(update(jobs).where(jobs.c.id == id, jobs.c.state == "running").values(cancelling=True))
        return self.get(id)


def _submitted(connection: Connection, new: Any, asked: Submission, now: float) -> Job:
    """Accept a job by the insert `new`, which leaves alone what another server may be accepting at this moment."""
    known = select(jobs).where(jobs.c.owner == asked.owner, jobs.c.once == asked.once)
    if asked.once is not None and (row := connection.execute(known).first()) is not None:
        return _job(row)
    values = {**asked.model_dump(exclude={"spec"}), "spec": _text(asked.spec), "id": secrets.token_hex(12)}
    row = connection.execute(new.values(**values, state="queued", submitted=now).returning(jobs)).first()
    if row is None:
        return _job(connection.execute(known).one())
    job = _job(row)
    if job.webhook is not None:
        connection.execute(insert(tellings).values(job=job.id, due=now))
    return job


def _due(connection: Connection, kinds: Sequence[str], since: float) -> Row[Any] | None:
    """Give the first waiting job of the owner whose turn it is."""
    waits = and_(jobs.c.state == "queued", jobs.c.kind.in_(kinds))
    for lane in ("interactive", "bulk"):
        first = select(jobs.c.owner, func.min(jobs.c.number).label("number")).where(waits, jobs.c.lane == lane).group_by(jobs.c.owner)
        fronts = connection.execute(first).all()
        if not fronts:
            continue
        served = _served(connection, [front.owner for front in fronts], since) if len(fronts) > 1 else {}
        turn = min(fronts, key=lambda front: (served.get(front.owner, (0, 0.0)), front.number))
        return connection.execute(select(jobs).where(jobs.c.number == turn.number)).one()
    return None


def _served(connection: Connection, owners: Sequence[str], since: float) -> dict[str, tuple[int, float]]:
    """Give for each owner the jobs that run now, and the device time of late."""
    lately = and_(jobs.c.owner.in_(owners), or_(jobs.c.state == "running", jobs.c.ended >= since))
    running = func.sum(case((jobs.c.state == "running", 1), else_=0))
    query = select(jobs.c.owner, running.label("running"), func.sum(jobs.c.seconds).label("seconds")).where(lately).group_by(jobs.c.owner)
    return {row.owner: (int(row.running or 0), float(row.seconds or 0.0)) for row in connection.execute(query)}


def _taken(connection: Connection, worker: str, numbers: list[int], now: float) -> list[Job]:
    """Let a worker hold some waiting jobs; give them in the order of `numbers`."""
    values = {"state": "running", "worker": worker, "attempt": jobs.c.attempt + 1, "beat": now}
    waiting = update(jobs).where(jobs.c.number.in_(numbers), jobs.c.state == "queued")  # not one that was cancelled meanwhile
    taken = connection.execute(waiting.values(**values, started=func.coalesce(jobs.c.started, now)).returning(jobs))
    return sorted((_job(row) for row in taken), key=lambda job: numbers.index(job.number))


def _mates(connection: Connection, due: Row[Any] | Job, most: int) -> list[Row[Any]]:
    """Give waiting jobs that may be computed with one whose turn it is: interactive ones first, and of each owner in turn."""
    fresh = and_(jobs.c.state == "queued", jobs.c.attempt == 0)
    same = and_(fresh, jobs.c.mates == due.mates, jobs.c.kind == due.kind, jobs.c.number != due.number)
    turn = func.row_number().over(partition_by=jobs.c.owner, order_by=jobs.c.number) + case((jobs.c.owner == due.owner, 1), else_=0)
    return list(connection.execute(select(jobs).where(same).order_by(jobs.c.lane == "bulk", turn, jobs.c.number).limit(most)))


def _holds(claim: Claim) -> Any:
    return and_(jobs.c.id == claim.job, jobs.c.state == "running", jobs.c.worker == claim.worker, jobs.c.attempt == claim.attempt)


def _text(value: Any) -> str:
    return canonical(value).decode()


def _job(row: Row[Any]) -> Job:
    values = {name: row._mapping[name] for name in Job.model_fields}
    read = {name: json.loads(values[name]) if values[name] else None for name in ("spec", "figures", "result", "error")}
    return Job(**{**values, **read, "figures": read["figures"] or {}})
