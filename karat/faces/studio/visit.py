"""A visit: who looks at a page, in which language and light, and what they may ask of the service."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Concatenate, ParamSpec, TypeVar
from urllib.parse import urlencode

from nicegui import app, ui

from karat.app.audit import Call
from karat.app.keys import Caller, UnknownKeyError
from karat.app.serving.service import Job, Service
from karat.faces.studio.words import said

P = ParamSpec("P")
T = TypeVar("T")


@dataclass
class Visit:
    """One person on one page. Called with an English text, it gives that text in the person's language."""

    service: Service
    caller: Caller
    query: dict[str, str]

    def __call__(self, text: str, **values: object) -> str:
        return said(text, chinese=is_chinese(), **values)

    async def of(self, use: Callable[Concatenate[Any, P], T], *args: P.args, **options: P.kwargs) -> T:
        """Ask a use case of the store, in a thread of its own."""
        return await asyncio.to_thread(use, self.service.store, *args, **options)

    async def take(self, check: Callable[[Any, str], object], id: str, file: str) -> None:
        """Let the visitor take a file away, if the house lets it go."""
        await self.of(check, id)
        ui.download.from_url(file)

    def check(self) -> None:
        """Raise UnknownKeyError when the visitor has been sent away since, has another role, or another password."""
        if visitor(self.service) != self.caller:
            raise UnknownKeyError("You are no longer signed in as you were.", repair="Sign in again.")

    def may(self, scope: str) -> bool:
        return scope in self.caller.scopes or "admin" in self.caller.scopes

    def note(self, what: str) -> None:
        """Put what the person did into the audit log, where calls of programs stand as well."""
        request = ui.context.client.request
        address = request.client.host if request and request.client else None
        call = Call(
            at=time.time(),
            who=self.caller.owner,
            address=address,
            method="STUDIO",
            path=f"/{what}"[:500],
            status=200,
            seconds=0.0,
            request=ui.context.client.id,
        )
        self.service.audit.note(call)

    async def ask(self, kind: str, values: dict[str, Any], *, soon: bool = False) -> Job:
        """Submit a job; `soon` where somebody waits for it."""
        job = await self.service.ask(self.caller, kind, values, lane="interactive" if soon else "bulk")
        self.note(f"jobs/{kind}/{job.id}")
        return job


def visitor(service: Service) -> Caller | None:
    """Give who has signed in, as they are at this moment; None when nobody has, or when they may not come any more."""
    if service.settings.open:
        return service.caller(None)
    name, since = app.storage.user.get("person"), float(app.storage.user.get("since", 0.0))
    try:
        return None if name is None else service.people.caller(str(name), since=since)
    except UnknownKeyError:
        return None


def this_visit() -> Visit:
    """Give the visit of the page that something happens on."""
    request = ui.context.client.request
    assert request is not None, "a page was asked for by a request"
    visit: Visit = request.state.visit
    return visit


def is_chinese() -> bool:
    """Say whether the person reads Chinese: as they chose, else as their browser says."""
    chosen = app.storage.user.get("language")
    if chosen is None:
        request = ui.context.client.request
        chosen = (request.headers.get("accept-language", "") if request else "")[:2]
    return bool(chosen == "zh")


def address(path: str, **query: object) -> str:
    """Give the address of a page with what it is to show."""
    known = {name: value for name, value in query.items() if value not in (None, "")}
    return f"{path}?{urlencode(known)}" if known else path
