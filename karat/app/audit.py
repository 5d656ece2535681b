"""The audit log: every call, in order, written several at a time so that a call does not wait for the disk.

A server that is killed loses the lines of its last moment; what was asked of the queue or the store is kept there in any case.
"""

import asyncio
from contextlib import suppress

from karat.store.calls import Call
from karat.store.store import Store
from karat.words.errors import StoreError

__all__ = ["AuditLog", "Call"]

EVERY = 0.5
MOST = 10_000
"""Lines that wait for a store that cannot be written; beyond them the oldest are lost, and counted."""


class AuditLog:
    """Notes calls. `start` begins to write; `close` writes the rest."""

    def __init__(self, store: Store) -> None:
        self._calls, self._waiting, self.lost = store.calls, list[Call](), 0

    def start(self) -> None:
        self._writing = asyncio.create_task(self._write_forever())

    async def close(self) -> None:
        self._writing.cancel()
        with suppress(asyncio.CancelledError):
            await self._writing
        await self._write()

    def note(self, call: Call) -> None:
        self._waiting.append(call)
        if len(self._waiting) > MOST:
            del self._waiting[0]
            self.lost += 1

    async def _write_forever(self) -> None:
        while True:
            await asyncio.sleep(EVERY)
            await self._write()

    async def _write(self) -> None:
        some, self._waiting = self._waiting, []
        try:
            await asyncio.to_thread(self._calls.add, some)
        except StoreError:
            self._waiting = some + self._waiting
