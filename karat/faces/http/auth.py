"""Who asks: the key in a request's header, or nobody on a server that is open to its own machine."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Annotated, Any
from urllib.parse import urlsplit

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from karat.app.keys import Caller, UnknownKeyError
from karat.app.serving.service import Service

LOCAL = ("localhost", "127.0.0.1", "::1")
"""Names by which a page may know a server that is open to its own machine."""
bearer = HTTPBearer(auto_error=False, description="A key of this server.")


async def service_of(request: Request) -> Service:
    """Give the server's service; not a plain function, for which each request would wait for a thread."""
    service: Service = request.app.state.service
    return service


async def caller_of(
    request: Request,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)],
    service: Annotated[Service, Depends(service_of)],
) -> Caller:
    """Give who asks. Raises UnknownKeyError or HastyError."""
    secret = credentials.credentials if credentials else None
    if secret is None:
        refuse_other_pages(request)
    at_once = secret is None or service.keys.remembers(secret)
    caller = service.caller(secret) if at_once else await asyncio.to_thread(service.caller, secret)
    request.state.who = caller.owner
    return caller


def refuse_other_pages(request: Request) -> None:
    """Raise UnknownKeyError for a page of another site that asks an open server through its visitor's browser."""
    origin = request.headers.get("origin")
    asked, own = urlsplit(origin or "").hostname, request.url.hostname
    if own not in LOCAL or (origin is not None and asked not in LOCAL):
        raise UnknownKeyError("No key came with the request.", repair="Send the header `Authorization: Bearer <key>`.")


def who_may(*scopes: Any) -> Callable[..., Coroutine[Any, Any, Caller]]:
    """Give a dependency that lets in who has one of some scopes."""

    async def let_in(caller: Annotated[Caller, Depends(caller_of)]) -> Caller:
        caller.need(*scopes)
        return caller

    return let_in


Serving = Annotated[Service, Depends(service_of)]
Anyone = Annotated[Caller, Depends(caller_of)]
Creator = Annotated[Caller, Depends(who_may("generate"))]
Reviewer = Annotated[Caller, Depends(who_may("review"))]
Trainer = Annotated[Caller, Depends(who_may("train"))]
Viewer = Annotated[Caller, Depends(who_may("generate", "review"))]
Reader = Annotated[Caller, Depends(who_may("review", "train"))]
Administrator = Annotated[Caller, Depends(who_may("admin"))]
