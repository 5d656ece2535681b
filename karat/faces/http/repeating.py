"""Repeating requests: the header `Idempotency-Key` makes asking again harmless, for jobs and for everything else that a POST makes."""

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Header, Request
from pydantic import BaseModel
from starlette.datastructures import UploadFile

from karat.app.repeating import Asking, done_once
from karat.app.serving.service import Service
from karat.faces.http.auth import Anyone, Serving
from karat.words.specs import Spec, digest_of

B = TypeVar("B", bound=BaseModel)
S = TypeVar("S", bound=Spec)
Key = Annotated[str | None, Header(min_length=1, max_length=128, description="makes asking again harmless")]


@dataclass(frozen=True)
class Repeat:
    """A request as one that may come again. Its `key` is that of the job that it asks for, if it asks for one."""

    service: Service
    request: Request
    owner: str
    key: str | None

    async def once(self, kind: type[S], work: Callable[[], S], *, secret: bool = False) -> S:
        """Do what the request asks, or give the answer that it had before."""
        asking = None
        if self.key is not None:
            asked = digest_of([self.request.method, self.request.url.path, await self._content()])
            asking = Asking(owner=self.owner, once=self.key, asked=asked)
        return await asyncio.to_thread(done_once, self.service.store, asking, kind, work, secret=secret)

    def seeded(self, body: B) -> B:
        """Give a body its seed: the one that it names, else one that follows from the key, else a drawn one."""
        seed = body.seed  # type: ignore[attr-defined]
        if seed is None:
            seed = secrets.randbits(31) if self.key is None else int(digest_of([self.owner, self.key])[:8], 16) >> 1
        return body.model_copy(update={"seed": seed})

    async def _content(self) -> Any:
        """Give what the body says; of files their names and sizes."""
        if not self.request.headers.get("content-type", "").startswith("multipart/"):
            return (await self.request.body()).decode("utf-8", "replace")
        fields = (await self.request.form()).multi_items()
        return [[name, [value.filename, value.size] if isinstance(value, UploadFile) else value] for name, value in fields]


async def repeat_of(
    request: Request,
    service: Serving,
    caller: Anyone,
    idempotency_key: Key = None,
) -> Repeat:
    """Give a request as one that may come again."""
    return Repeat(service, request, caller.owner, idempotency_key)


Repeatable = Annotated[Repeat, Depends(repeat_of)]
