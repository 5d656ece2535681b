"""POST /v1/completions: texts that go on from a beginning."""

import time
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse
from pydantic import BeforeValidator, Field

from karat.app.serving.asking import Passage, Piece, Said
from karat.app.serving.catalog import writing_of
from karat.app.serving.service import Job, Service
from karat.faces.http.auth import Creator, Serving
from karat.faces.http.errors import wrong
from karat.faces.http.openai.texts import FINISH, TextRequest, followed, known_of, pieces_of, usage_of
from karat.faces.http.repeating import Repeatable
from karat.faces.http.waiting import stream, while_there

router = APIRouter(tags=["texts"])


def _prompts(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


class CompletionRequest(TextRequest):
    """Beginnings to go on from."""

    prompt: Annotated[list[str], BeforeValidator(_prompts)] = Field([""], min_length=1, max_length=64)
    logprobs: int | None = Field(None, ge=0, le=20)
    best_of: int | None = Field(None, ge=1, le=64)
    echo: bool = False
    suffix: str | None = None


@router.post("/v1/completions", response_model=None)
async def complete(
    body: CompletionRequest, request: Request, service: Serving, caller: Creator, repeat: Repeatable
) -> dict[str, Any] | StreamingResponse:
    """Go on from texts. Extra fields of each choice: `asset_id`, `seed`, `originality`."""
    body = repeat.seeded(body)
    if body.suffix:
        raise wrong("Releases that write token by token know no suffix.", "Leave it out.")
    if body.best_of is not None and (body.best_of < body.n or body.n > 1):
        raise wrong("best_of keeps one of several texts.", "Give n as 1, or leave best_of out.")
    passages = tuple(Passage(text=prompt) for prompt in body.prompt)
    values = body.values(logprobs=body.logprobs, best_of=body.best_of)
    spec = writing_of(await service.offer(body.model), passages, values, keeps=body.store is not False, tells=body.stream)
    job = await service.submit(caller, spec, lane="interactive", once=repeat.key, leaves=True)
    about = {"id": f"cmpl-{job.id}", "object": "text_completion", "created": int(time.time()), "model": body.model}
    if body.stream:
        return stream(_streamed(service, job, body, about), left=lambda: service.left(job))
    result = await while_there(request, service.done(job))
    return {**about, "choices": [_choice(body, text) for text in result["texts"]], "usage": usage_of(result)}


def _opening(body: CompletionRequest, index: int) -> str:
    return body.prompt[index // body.n] if body.echo else ""


def _choice(body: CompletionRequest, text: dict[str, Any]) -> dict[str, Any]:
    opening = _opening(body, text["index"])
    logprobs = _logprobs(pieces_of(text), len(opening))
    told = {"text": opening + text["text"], "index": text["index"], "logprobs": logprobs, "finish_reason": FINISH[text["finish"]]}
    return {**told, **known_of(text)}


def _logprobs(pieces: list[Piece], start: int) -> dict[str, Any] | None:
    """Give log-probabilities in the old form: four lists."""
    if not pieces:
        return None
    offsets = [start]
    for piece in pieces[:-1]:
        offsets.append(offsets[-1] + len(piece.token.text))
    return {
        "tokens": [piece.token.text for piece in pieces],
        "token_logprobs": [piece.token.logprob for piece in pieces],
        "top_logprobs": [{each.text: each.logprob for each in piece.likeliest} for piece in pieces],
        "text_offset": offsets,
    }


async def _streamed(service: Service, job: Job, body: CompletionRequest, about: dict[str, Any]) -> AsyncIterator[dict[str, Any] | str]:
    begun: dict[int, int] = {}
    async for said in followed(service, job):
        if isinstance(said, Said):
            opening = "" if said.index in begun else _opening(body, said.index)
            start = begun.setdefault(said.index, len(opening))
            begun[said.index] = start + len(said.piece.token.text if said.piece else "")
            if opening or said.text or said.piece or said.finish:
                choice = {"text": opening + said.text, "index": said.index, "finish_reason": FINISH[said.finish] if said.finish else None}
                logprobs = _logprobs([said.piece], start) if said.piece else None
                yield {**about, "choices": [{**choice, "logprobs": logprobs}]}
        elif body.stream_options and body.stream_options.include_usage:
            assets = {str(text["index"]): known_of(text) for text in said["texts"]}
            yield {**about, "choices": [], "usage": usage_of(said), "assets": assets}
    yield "[DONE]"
