"""POST /v1/images/generations: pictures from a release; a stream shows unfinished ones."""

import asyncio
import base64
import time
from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field

from karat.app.assets import asset
from karat.app.policy import given_out
from karat.app.serving.catalog import Offer, drawing_of
from karat.app.serving.service import Job, Service, result_of
from karat.faces.http.auth import Creator, Serving
from karat.faces.http.errors import wrong
from karat.faces.http.repeating import Repeatable
from karat.faces.http.waiting import stream, while_there

router = APIRouter(tags=["images"])
Seed = Annotated[int, Field(ge=-(2**63), lt=2**63)]


class PictureRequest(BaseModel):
    """What is asked of pictures, however they are made. `seed`, `first`, `given`, `steps`, `guidance` and `sampling` are Karat's own."""

    model: str
    n: int = Field(1, ge=1, le=64)
    size: str | None = None
    response_format: Literal["b64_json", "url"] = "b64_json"
    output_format: Literal["png", "webp", "jpeg", "gif", "svg"] = "png"
    quality: str | None = None
    background: str | None = None
    stream: bool = False
    partial_images: int = Field(0, ge=0, le=3)
    user: str | None = None
    seed: Seed | None = None
    first: int = Field(0, ge=0, lt=2**31)
    given: dict[str, Any] = {}
    steps: int | None = Field(None, ge=1, le=10_000)
    guidance: float | None = Field(None, ge=0)
    sampling: dict[str, Any] = {}


class ImageRequest(PictureRequest):
    """A request for pictures of a prompt. With `walk`, they lie between the pictures of two seeds; with `moves`, along directions."""

    prompt: str = Field(max_length=32_000)
    walk: tuple[Seed, Seed] | None = None
    moves: list[float] | None = Field(None, min_length=1, max_length=8)


@router.post("/v1/images/generations", response_model=None)
async def generations(
    body: ImageRequest, request: Request, service: Serving, caller: Creator, repeat: Repeatable
) -> dict[str, Any] | StreamingResponse:
    """Make pictures. Extra fields of each: `asset_id`, `seed`, `index`, `originality`."""
    body = repeat.seeded(body)
    offer = await service.offer(body.model)
    if offer.makes != "image":
        raise wrong(f"The release {body.model!r} makes no pictures.", "Choose one that does: GET /v1/models.")
    values = values_of(body, offer)
    if body.walk is not None:
        if body.n < 2 or body.moves is not None or body.first:
            raise wrong("A walk goes from one picture to another, and nowhere else.", "Ask for n of at least 2, without moves or first.")
        values |= {"seed": body.walk[0], "to": body.walk[1], "steps": body.n}
    elif body.moves is not None:
        values["moves"] = body.moves
    spec = drawing_of(offer, body.prompt, values, previews=body.partial_images if body.stream else 0)
    job = await service.submit(caller, spec, lane="interactive", once=repeat.key, leaves=True)
    return await answer(request, service, job, body, offer)


def values_of(body: PictureRequest, offer: Offer) -> dict[str, Any]:
    """Check what OpenAI's fields ask, and give what a request of Karat's says."""
    if body.size not in (None, "auto", f"{offer.width}x{offer.height}"):
        repair = f'Give "{offer.width}x{offer.height}" or "auto".'
        raise wrong(f"This release makes pictures of {offer.width}x{offer.height}, not {body.size}.", repair)
    if body.output_format != "png":
        raise wrong("Pictures are PNG files, which carry where they come from.", 'Give output_format "png".')
    dials = {"steps": body.steps, "guidance": body.guidance}
    sampling = {**body.sampling, **{name: value for name, value in dials.items() if value is not None}}
    return {"count": body.n, "seed": body.seed, "first": body.first, "given": body.given, "sampling": sampling}


async def answer(
    request: Request, service: Service, job: Job, body: PictureRequest, offer: Offer, *, kind: str = "image_generation"
) -> dict[str, Any] | StreamingResponse:
    """Wait for the pictures of a job, or give them as they come; `kind` names the events."""
    shape = f"{offer.width}x{offer.height}"
    if body.stream:
        return stream(_streamed(service, job, body, shape, kind), named=True, left=lambda: service.left(job))
    result = await while_there(request, service.done(job))
    data = await asyncio.to_thread(_data, service, result, body, str(request.base_url))
    return {"created": int(time.time()), "data": data, "output_format": "png", "size": shape, "job": job.id, "usage": _usage(result)}


def _data(service: Service, result: dict[str, Any], body: PictureRequest, base: str) -> list[dict[str, Any]]:
    """Give each picture in the form that was asked for, with what Karat knows of it."""
    return [_picture(service, made, body, base) for made in result["assets"]]


def _picture(service: Service, made: dict[str, Any], body: PictureRequest, base: str) -> dict[str, Any]:
    line = asset(service.store, made["asset"])
    known = {"asset_id": line.id, "seed": line.request["seed"], "index": made["index"], "originality": line.facts.get("originality")}
    if body.response_format == "url":
        return {"url": f"{base}api/assets/{made['asset']}/file", **known}
    return {"b64_json": base64.b64encode(given_out(service.store, made["asset"])[0]).decode(), **known}


async def _streamed(service: Service, job: Job, body: PictureRequest, shape: str, kind: str) -> AsyncIterator[dict[str, Any] | str]:
    about = {"size": shape, "output_format": "png", "quality": "auto", "background": "auto"}
    async for event in service.events(job):
        if event["kind"] == "previewing":
            place = {"partial_image_index": event["number"], "created_at": int(event["at"])}
            yield {"type": f"{kind}.partial_image", "b64_json": event["picture"], **place, **about}
        elif event["kind"] == "ended":
            result = result_of(event)
            for picture in await asyncio.to_thread(_data, service, result, body.model_copy(update={"response_format": "b64_json"}), ""):
                usage = {"usage": _usage(result), "created_at": int(time.time())}
                yield {"type": f"{kind}.completed", **picture, **usage, **about}


def _usage(result: dict[str, Any]) -> dict[str, Any]:
    """Give the counts that OpenAI's clients read: a picture counts as one token each way, since nothing else is true of it."""
    made = len(result["assets"])
    inside = {"image_tokens": 0, "text_tokens": made}
    return {"input_tokens": made, "output_tokens": made, "total_tokens": 2 * made, "input_tokens_details": inside}
