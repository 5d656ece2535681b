"""POST /v1/embeddings: texts as unit vectors, in base64 (float32, little-endian) or as numbers."""

import base64
import struct
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, BeforeValidator, Field

from karat.app.serving.asking import Embedding
from karat.faces.http.auth import Creator, Serving
from karat.faces.http.errors import wrong
from karat.faces.http.repeating import Repeatable
from karat.faces.http.waiting import while_there

router = APIRouter(tags=["texts"])


def _inputs(value: Any) -> Any:
    """Take one text, or the ids of one, as a list of one."""
    is_one = isinstance(value, str) or (isinstance(value, list) and bool(value) and all(isinstance(each, int) for each in value))
    return [value] if is_one else value


class EmbeddingRequest(BaseModel):
    """Texts, or ids of texts."""

    input: Annotated[list[str | list[int]], BeforeValidator(_inputs)] = Field(min_length=1, max_length=2048)
    model: str
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = Field(None, ge=1)
    user: str | None = None


@router.post("/v1/embeddings")
async def embeddings(body: EmbeddingRequest, request: Request, service: Serving, caller: Creator, repeat: Repeatable) -> dict[str, Any]:
    """Give the vector of each text: the mean of the last layer's states."""
    offer = await service.offer(body.model)
    if not offer.writes:
        raise wrong(f"The release {body.model!r} reads no texts.", "Choose one that writes them: GET /v1/models.")
    inputs = tuple(each if isinstance(each, str) else tuple(each) for each in body.input)
    job = await service.submit(caller, Embedding(release=offer.id, inputs=inputs), lane="interactive", once=repeat.key)
    result = await while_there(request, service.done(job))
    width = len(base64.b64decode(result["vectors"][0])) // 4
    if body.dimensions not in (None, width):
        raise wrong(f"This release's vectors have {width} numbers, and no fewer mean anything.", f"Give dimensions as {width}.")
    shown = [vector if body.encoding_format == "base64" else _numbers(vector) for vector in result["vectors"]]
    data = [{"object": "embedding", "index": index, "embedding": vector} for index, vector in enumerate(shown)]
    usage = {"prompt_tokens": result["read"], "total_tokens": result["read"]}
    return {"object": "list", "data": data, "model": body.model, "usage": usage}


def _numbers(vector: str) -> list[float]:
    raw = base64.b64decode(vector)
    return list(struct.unpack(f"<{len(raw) // 4}f", raw))
