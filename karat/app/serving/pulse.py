"""A worker's pulse: it renews the claims that the worker holds, and learns which jobs to stop."""

import threading
from collections.abc import Iterable

from karat.app.serving.wire import Wire
from karat.store.queue import Beat, Job, Queue
from karat.words.errors import StoreError

EVERY = 2.0
LEASE = 20.0
"""Seconds without a beat after which a claim is void: ten beats, so that a busy disk costs nobody their job."""


class Pulse:
    """Beats in a thread of its own while jobs are held."""

    def __init__(self, queue: Queue, wire: Wire) -> None:
        self._queue, self._wire = queue, wire
        self._lock, self._ended = threading.Lock(), threading.Event()
        self._beats: dict[str, Beat] = {}
        self._stopped: set[str] = set()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def hold(self, jobs: Iterable[Job]) -> None:
        with self._lock:
            self._beats |= {job.id: Beat(job.claim, total=job.total) for job in jobs}

    def let_go(self, job: str) -> None:
        with self._lock:
            self._beats.pop(job, None)
            self._stopped.discard(job)
            self._wire.stopped.discard(job)

    def note(self, job: str, done: int, total: int | None, figures: dict[str, float]) -> None:
        """Note how far a job is; the next beat says it."""
        with self._lock:
            if job in self._beats:
                self._beats[job] = Beat(self._beats[job].claim, done, total, figures)

    def stopped(self, job: str) -> bool:
        """Say whether a job is to stop: it was cancelled, or its claim is void."""
        return job in self._stopped or job in self._wire.stopped

    def close(self) -> None:
        self._ended.set()
        self._thread.join(timeout=EVERY)

    def _run(self) -> None:
        while not self._ended.wait(EVERY):
            with self._lock:
                beats = list(self._beats.values())
                for stopped in (self._stopped, self._wire.stopped):
                    stopped.intersection_update(self._beats)  # all workers are told of every job that is to stop
            if beats:
                try:
                    self._stopped |= self._queue.beat(beats)
                except StoreError:
                    continue  # a full disk now may have room at the next beat
