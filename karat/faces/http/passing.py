"""What every request passes on its way in and out: an id, bounds on its body, and a line in the log, the figures and the audit.

Who asks for work while all places are taken, or while as many as there are places are already inside, is refused here, before anything is
read: a server busy with refusals serves nobody.

Plain ASGI, so that a client that goes away is noticed by whoever waits for it.
"""

import asyncio
import json
import re
import secrets
import sys
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from karat.app.audit import Call
from karat.faces.http.errors import answer_of

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
PAGES = ("/_nicegui/", "/studio/studio.css", "/studio/thumbs/")
"""What pages are made of, which says nothing that the page itself does not."""
QUIET = ("/health/live", "/health/ready", "/metrics")
SLOWEST = 60.0
"""Seconds between two pieces of a body after which its sender is given up."""
ID = re.compile(r"[\w.-]{1,64}")


class Passing:
    """Wraps the application."""

    def __init__(self, inner: Any, app: FastAPI) -> None:
        self.inner, self.app, self.inside = inner, app, 0

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.inner(scope, receive, send)
            return
        offered = dict(scope["headers"]).get(b"x-request-id", b"").decode("latin-1")
        id, began, status = offered if ID.fullmatch(offered) else secrets.token_hex(8), time.perf_counter(), 500
        scope.setdefault("state", {})["request"] = id
        answered = False

        async def sending(message: Message) -> None:
            nonlocal status, answered
            if message["type"] == "http.response.start":
                status, answered = message["status"], True
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", id.encode())]
            await send(message)

        try:
            if self._too_long(scope):
                await _refusal(413, "The body is longer than this server takes.")(scope, receive, sending)
            elif not _is_work(scope):
                await self.inner(scope, self._bounded(scope, receive), sending)
            elif refusal := self.app.state.service.desk.refusal(self.inside):
                await answer_of(refusal)(scope, receive, sending)
            else:
                self.inside += 1
                try:
                    await self.inner(scope, self._bounded(scope, receive), sending)
                finally:
                    self.inside -= 1
        except Exception:
            if not answered:
                await _refusal(500, "The server met a fault of its own.")(scope, receive, sending)
            raise
        finally:
            self._note(scope, id, status, time.perf_counter() - began)

    def _most(self, scope: Message) -> int:
        settings = self.app.state.service.settings
        return int(settings.most_upload if scope["path"].startswith("/api/uploads") else settings.most_bytes)

    def _too_long(self, scope: Message) -> bool:
        length = dict(scope["headers"]).get(b"content-length", b"0")
        return not length.isdigit() or int(length) > self._most(scope)

    def _bounded(self, scope: Message, receive: Receive) -> Receive:
        """Give `receive` with a limit on the bytes of the body and on the time between two pieces of it."""
        came, whole, most = 0, False, self._most(scope)

        async def receiving() -> Message:
            nonlocal came, whole
            if whole:
                return await receive()
            try:
                async with asyncio.timeout(SLOWEST):
                    message = await receive()
            except TimeoutError:
                raise HTTPException(408, "The body did not come in time.") from None
            came += len(message.get("body", b""))
            whole = not message.get("more_body", False)
            if came > most:
                raise HTTPException(413, "The body is longer than this server takes.")
            return message

        return receiving

    def _note(self, scope: Message, id: str, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "") or "elsewhere"
        state, service, metrics = scope["state"], self.app.state.service, self.app.state.metrics
        metrics.requests.labels(route, str(status)).inc()
        metrics.answering.labels(route).observe(seconds)
        if scope["path"] in QUIET or scope["path"].startswith(PAGES):
            return
        address = scope["client"][0] if scope.get("client") else None
        call = Call(
            at=time.time(),
            who=state.get("who"),
            address=address,
            method=scope["method"][:10],
            path="".join(sign if sign.isprintable() else "?" for sign in scope["path"][:500]),
            status=status,
            seconds=round(seconds, 4),
            request=id,
        )
        service.audit.note(call)
        print(json.dumps(call.model_dump(exclude={"number"}), ensure_ascii=False), file=sys.stderr)


def _is_work(scope: Message) -> bool:
    return scope["method"] == "POST" and (scope["path"].startswith("/v1/") or scope["path"] == "/api/jobs")


def _refusal(status: int, message: str) -> JSONResponse:
    kind = "server_error" if status >= 500 else "invalid_request_error"
    return JSONResponse({"error": {"message": message, "type": kind, "param": None, "code": None}}, status)
