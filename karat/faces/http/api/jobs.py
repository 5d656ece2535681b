"""Jobs: all slow work, asked for, listed, watched, cancelled."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Literal

from fastapi import APIRouter
from fastapi.responses import StreamingResponse
from pydantic import Field

from karat.app.keys import Caller
from karat.app.serving.service import JobView, Service
from karat.faces.http.api.pages import Before, Limit
from karat.faces.http.auth import Anyone, Serving
from karat.faces.http.repeating import Repeatable
from karat.faces.http.waiting import stream
from karat.words.specs import Spec

router = APIRouter(prefix="/api/jobs", tags=["jobs"])


class JobRequest(Spec):
    """A job to be done: its kind, the spec of that kind, and an address that is told when it has ended."""

    kind: Literal["generate", "write", "embed", "import", "check", "snapshot", "train", "evaluate", "release"]
    spec: dict[str, Any]
    webhook: str | None = Field(None, max_length=2_000)


@router.post("", status_code=202)
async def submit(body: JobRequest, service: Serving, caller: Anyone, repeat: Repeatable) -> JobView:
    """Accept a job and give its id at once. The same idempotency key is the same job."""
    shown = body.kind == "generate" and (body.spec.get("keeps", True) is not True or bool(body.spec.get("previews")))
    said = body.kind == "write" or shown  # texts and pictures that are not kept stand in the result, unfinished ones in the events
    job = await service.ask(caller, body.kind, body.spec, once=repeat.key, webhook=body.webhook, leaves=said)
    return await service.view(job)


@router.get("")
async def jobs(
    service: Serving,
    caller: Anyone,
    state: Literal["queued", "running", "done", "failed", "cancelled"] | None = None,
    before: Before = None,
    limit: Limit = 50,
) -> dict[str, Any]:
    """List the caller's jobs, newest first; for administrators, everyone's."""
    owner = None if "admin" in caller.scopes else caller.owner
    found = await asyncio.to_thread(service.store.queue.latest, owner=owner, state=state, before=before, limit=limit)
    return {"data": found, "next": found[-1].number if len(found) == limit else None}


@router.get("/{id}")
async def job(id: str, service: Serving, caller: Anyone) -> JobView:
    """Give a job: its state, how far it is, its place in the queue, the seconds that should be left, its result or error."""
    return await service.view(await service.job(caller, id))


@router.post("/{id}/cancel")
async def cancel(id: str, service: Serving, caller: Anyone) -> JobView:
    """Stop a job: a waiting one at once, a running one at its next step; one that has ended stays as it is."""
    await service.job(caller, id)
    return await service.view(await service.desk.cancel(id))


@router.get("/{id}/events", response_class=StreamingResponse)
async def events(id: str, service: Serving, caller: Anyone) -> StreamingResponse:
    """Follow a job as server-sent events until it has ended, or the server does: `ended`, or `closing`. Going away stops nothing."""
    await service.job(caller, id)
    return stream(_told(service, caller, id), named=True)


async def _told(service: Service, caller: Caller, id: str) -> AsyncIterator[dict[str, Any] | str]:
    yield {"type": "job", **(await service.view(await service.job(caller, id))).model_dump(mode="json")}
    async for event in service.desk.events(id):
        yield {"type": event["kind"], **event}
        if event["kind"] == "closing":
            return
