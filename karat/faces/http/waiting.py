"""Waiting for jobs: for the whole of one, or event by event as a stream. A client that goes away has its job cancelled."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import suppress
from typing import Any, TypeVar

from fastapi import Request
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from karat.faces.http.errors import body_of
from karat.words.errors import KaratError

T = TypeVar("T")
ALIVE = 15.0
"""Seconds after which a silent stream says that it is alive, so that nothing between closes it."""


class _Ended(Exception):  # noqa: N818 - it is no failure; a task may not raise StopAsyncIteration
    """There are no more events."""


class GoneError(KaratError):
    """The client went away; nobody reads this."""

    code = "cancelled"


async def while_there(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Do some work for a client while it is there; when it goes away, the work is cancelled."""
    working, leaving = asyncio.ensure_future(work), asyncio.ensure_future(_left(request))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise GoneError("The client went away.", repair="Ask again.")
    finally:
        leaving.cancel()
        working.cancel()
        with suppress(asyncio.CancelledError, KaratError):
            await working


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        continue


def stream(
    events: AsyncIterator[dict[str, Any] | str], *, named: bool = False, left: Callable[[], Awaitable[None]] | None = None
) -> StreamingResponse:
    """Give events as server-sent ones; with `named`, each has its `type` as its event's name. A text is sent as it is.

    An error on the way is the last event. `left` is called in the end, even for a client that left before the first event was asked for.
    """
    headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
    return _Stream(_lines(events, named), left, headers)


class _Stream(StreamingResponse):
    """A stream that says when it is over, however that comes."""

    def __init__(self, lines: AsyncIterator[str], left: Callable[[], Awaitable[None]] | None, headers: Mapping[str, str]) -> None:
        super().__init__(lines, media_type="text/event-stream", headers=headers)
        self._left = left

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            if self._left is not None:
                await asyncio.shield(asyncio.ensure_future(self._left()))


async def _lines(events: AsyncIterator[dict[str, Any] | str], named: bool) -> AsyncIterator[str]:
    coming: asyncio.Future[dict[str, Any] | str] | None = None
    try:
        while True:
            coming = coming or asyncio.ensure_future(_next(events))
            done, _ = await asyncio.wait({coming}, timeout=ALIVE)
            if not done:
                yield ": alive\n\n"
                continue
            event, coming = coming.result(), None
            name = f"event: {event['type']}\n" if named and isinstance(event, dict) else ""
            yield f"{name}data: {event if isinstance(event, str) else json.dumps(event, ensure_ascii=False)}\n\n"
    except _Ended:
        return
    except KaratError as error:
        yield f"data: {json.dumps(body_of(error), ensure_ascii=False)}\n\n"
    finally:
        if coming is not None:
            coming.add_done_callback(lambda last: last.cancelled() or last.exception())  # nobody is there any more to hear of it
            coming.cancel()


async def _next(events: AsyncIterator[Any]) -> Any:
    try:
        return await anext(events)
    except StopAsyncIteration:
        raise _Ended from None
