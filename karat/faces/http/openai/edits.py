"""POST /v1/images/edits and /v1/images/variations: a picture made anew where its mask is transparent, or varied as a whole."""

import asyncio
import json
import re
from collections.abc import Iterable
from contextlib import suppress
from math import isfinite
from typing import Any

from fastapi import APIRouter, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import StreamingResponse
from pydantic import Field, ValidationError
from starlette.datastructures import UploadFile

from karat.app.brought import keep_pictures
from karat.app.keys import Caller
from karat.app.serving.catalog import check_retouching, retouching_of
from karat.app.serving.service import Service
from karat.faces.http.auth import Creator, Serving
from karat.faces.http.errors import wrong
from karat.faces.http.openai.images import PictureRequest, answer, values_of
from karat.faces.http.repeating import Repeat, Repeatable

router = APIRouter(tags=["images"])
NESTED = re.compile(r"(given|sampling)\[([^\[\]]+)\](?:\[([^\[\]]+)\])?")
"""Fields of a form that stand for a place in a mapping, as OpenAI's client writes them: given[label], given[numbers][weight]."""


class EditRequest(PictureRequest):
    """A picture to go on from. `strength` is Karat's own: how much of what was there is lost, above 0 to 1."""

    prompt: str = Field("", max_length=32_000)
    strength: float | None = Field(None, gt=0, le=1)


def _form(*files: str) -> dict[str, Any]:
    """Describe the form for readers of the API."""
    told = EditRequest.model_json_schema()
    properties = {**{file: {"type": "string", "format": "binary"} for file in files}, **told["properties"]}
    schema = {"type": "object", "properties": properties, "required": ["image", "model"]}
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}}


@router.post("/v1/images/edits", response_model=None, openapi_extra=_form("image", "mask"))
async def edits(request: Request, service: Serving, caller: Creator, repeat: Repeatable) -> dict[str, Any] | StreamingResponse:
    """Make a picture anew where its mask is transparent and keep the rest; without a mask, vary the whole of it."""
    return await _retouched(request, service, caller, repeat)


@router.post("/v1/images/variations", response_model=None, openapi_extra=_form("image"))
async def variations(request: Request, service: Serving, caller: Creator, repeat: Repeatable) -> dict[str, Any] | StreamingResponse:
    """Vary a picture as a whole."""
    return await _retouched(request, service, caller, repeat)


async def _retouched(request: Request, service: Service, caller: Caller, repeat: Repeat) -> dict[str, Any] | StreamingResponse:
    async with request.form(max_files=8, max_fields=100) as form:
        body = repeat.seeded(_read((name, value) for name, value in form.multi_items() if isinstance(value, str)))
        offer = await service.offer(body.model)
        files = {name: [each for each in form.getlist(name) if isinstance(each, UploadFile)] for name in ("image", "image[]", "mask")}
        pictures, masks = files["image"] + files["image[]"], files["mask"]
        if len(pictures) != 1 or len(masks) > 1:
            said = "The request brings no picture." if not pictures else "One picture is edited at a time."
            raise wrong(said, 'Send one file in the field "image", and at most one in "mask", as multipart/form-data.')
        check_retouching(offer, masked=bool(masks))
        values = {**values_of(body, offer), "strength": body.strength}
        picture, mask = await pictures[0].read(), await masks[0].read() if masks else None
    kept = await asyncio.to_thread(keep_pictures, service.store, picture, mask)
    spec = retouching_of(offer, body.prompt, {**values, **kept}, previews=body.partial_images if body.stream else 0)
    job = await service.submit(caller, spec, lane="interactive", once=repeat.key, leaves=True)
    return await answer(request, service, job, body, offer, kind="image_edit")


def _read(fields: Iterable[tuple[str, str]]) -> EditRequest:
    """Read the fields of a form. Raises RequestValidationError that names the first wrong one."""
    values: dict[str, Any] = {}
    nested: dict[str, dict[str, Any]] = {}
    for name, text in fields:
        place = NESTED.fullmatch(name)
        if place is None:
            values[name] = text
            continue
        group, first, second = place.groups()
        inner = nested.setdefault(group, {})
        if second is None:
            inner[first] = _number(text) if group == "sampling" else text
        else:
            before = inner.get(first)
            inner[first] = {**(before if isinstance(before, dict) else {}), second: _number(text)}
    for name in ("given", "sampling"):
        if name in values:
            with suppress(ValueError, RecursionError):
                values[name] = json.loads(values[name])
    try:
        return EditRequest.model_validate({**values, **nested})
    except ValidationError as error:
        raise RequestValidationError(error.errors()) from None


def _number(text: str) -> float | str:
    try:
        number = float(text)
    except ValueError:
        return text
    return int(number) if number.is_integer() and abs(number) < 2**53 else number if isfinite(number) else text
