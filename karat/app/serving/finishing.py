"""Finishing: what became of a worker's jobs is written by a thread of its own, so that the next step does not wait for the disk.

What ends while something is being written goes into the next transaction together, as what comes in does at a server's desk.
"""

import threading
from collections.abc import Callable

from karat.store.queue import Ending, Queue


class Finishing:
    """Completes jobs; `finished` is told the id of each, once that is on disk."""

    def __init__(self, queue: Queue, finished: Callable[[str], None]) -> None:
        self._queue, self._finished = queue, finished
        self._changed = threading.Condition()
        self._waiting: list[Ending] = []
        self._writing: list[Ending] = []
        self._error: Exception | None = None
        threading.Thread(target=self._run, daemon=True).start()

    def add(self, ending: Ending) -> None:
        """Have a job completed, soon."""
        with self._changed:
            self._waiting.append(ending)
            self._changed.notify_all()

    def wait(self) -> None:
        """Wait until all of them are complete. Raises StoreError where one could not be: its job will wait again."""
        with self._changed:
            self._changed.wait_for(lambda: not self._waiting and not self._writing)
            error, self._error = self._error, None
        if error is not None:
            raise error

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: bool(self._waiting))
                self._waiting, self._writing = [], self._waiting
            error = self._written()
            with self._changed:
                self._writing, self._error = [], error or self._error
                self._changed.notify_all()

    def _written(self) -> Exception | None:
        try:
            self._queue.finish_all(self._writing)
        except Exception as error:  # whatever it is, the worker's own thread must learn of it
            return error
        for ending in self._writing:
            self._finished(ending.claim.job)
        return None
