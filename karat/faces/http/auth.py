"""Who asks: the key in a request's header, or nobody on a server that is open to its own machine."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Annotated, Any

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from karat.app.keys import Caller
from karat.app.serving.service import Service

bearer = HTTPBearer(auto_error=False, description="A key of this server.")


def service_of(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


async def caller_of(request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]) -> Caller:
    """Give who asks. Raises UnknownKeyError or HastyError."""
    secret = credentials.credentials if credentials else None
    caller = await asyncio.to_thread(service_of(request).caller, secret)
    request.state.who = caller.owner
    return caller


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
Reader = Annotated[Caller, Depends(who_may("review", "train"))]
Administrator = Annotated[Caller, Depends(who_may("admin"))]
