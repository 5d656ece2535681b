"""POST /v1/chat/completions: answers of a release to the turns of a conversation."""

import time
from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field

from karat.app.serving.asking import Passage, Piece, Said, Spelt
from karat.app.serving.catalog import writing_of
from karat.app.serving.service import Job, Service
from karat.faces.http.auth import Creator, Serving
from karat.faces.http.errors import wrong
from karat.faces.http.openai.texts import FINISH, TextRequest, followed, known_of, pieces_of, usage_of
from karat.faces.http.repeating import Repeatable
from karat.faces.http.waiting import stream, while_there

router = APIRouter(tags=["texts"])
ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}


class Part(BaseModel):
    """A part of a message."""

    type: str
    text: str | None = None


class Message(BaseModel):
    """A turn of the conversation."""

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[Part] | None = None

    def turn(self) -> dict[str, str]:
        """Give it as the model reads it. Raises SpecError for what is no text."""
        if self.role not in ROLES:
            raise wrong("Releases here call no tools.", "Send turns of system, user and assistant.")
        if isinstance(self.content, list) and any(part.type != "text" or part.text is None for part in self.content):
            raise wrong("Releases here read texts alone.", 'Send parts of the type "text".')
        parts = [self.content or ""] if not isinstance(self.content, list) else [part.text or "" for part in self.content]
        return {"role": ROLES[self.role], "text": "".join(parts)}


class PlainFormat(BaseModel):
    """Text as the model writes it."""

    type: Literal["text"]


class AnyJson(BaseModel):
    """An object in JSON."""

    type: Literal["json_object"]


class Schema(BaseModel):
    """What an answer must be."""

    name: str = "answer"
    strict: bool | None = None
    schema_: dict[str, Any] = Field(alias="schema")


class SchemaFormat(BaseModel):
    """JSON that a schema describes."""

    type: Literal["json_schema"]
    json_schema: Schema


class ChatRequest(TextRequest):
    """A conversation to be answered."""

    messages: list[Message] = Field(min_length=1, max_length=1_000)
    max_completion_tokens: int | None = Field(None, ge=1)
    logprobs: bool = False
    top_logprobs: int = Field(0, ge=0, le=20)
    response_format: Annotated[PlainFormat | AnyJson | SchemaFormat, Field(discriminator="type")] | None = None
    tools: list[Any] | None = None

    def schema_of(self) -> dict[str, Any] | None:
        match self.response_format:
            case SchemaFormat(json_schema=asked):
                return asked.schema_
            case AnyJson():
                return {"type": "object"}
        return None


@router.post("/v1/chat/completions", response_model=None)
async def chat(
    body: ChatRequest, request: Request, service: Serving, caller: Creator, repeat: Repeatable
) -> dict[str, Any] | StreamingResponse:
    """Answer a conversation. Extra fields of each choice: `asset_id`, `seed`, `originality`."""
    body = repeat.seeded(body)
    if body.tools:
        raise wrong("Releases here call no tools.", "Leave tools out; response_format makes answers that programs read.")
    passage = Passage.from_values({"turns": [message.turn() for message in body.messages]})
    logprobs = body.top_logprobs if body.logprobs else None
    values = body.values(json_schema=body.schema_of(), logprobs=logprobs, **_most(body))
    spec = writing_of(await service.offer(body.model), (passage,), values, keeps=body.store is not False, tells=body.stream)
    job = await service.submit(caller, spec, lane="interactive", once=repeat.key, leaves=True)
    about = {"id": f"chatcmpl-{job.id}", "created": int(time.time()), "model": body.model}
    if body.stream:
        return stream(_streamed(service, job, body, {**about, "object": "chat.completion.chunk"}), left=lambda: service.left(job))
    result = await while_there(request, service.done(job))
    choices = [_choice(text) for text in result["texts"]]
    return {**about, "object": "chat.completion", "choices": choices, "usage": usage_of(result)}


def _most(body: ChatRequest) -> dict[str, Any]:
    return {} if body.max_completion_tokens is None else {"most": body.max_completion_tokens}


def _choice(text: dict[str, Any]) -> dict[str, Any]:
    message = {"role": "assistant", "content": text["text"], "refusal": None}
    told = {"index": text["index"], "message": message, "finish_reason": FINISH[text["finish"]]}
    return {**told, "logprobs": _logprobs(pieces_of(text)), **known_of(text)}


def _logprobs(pieces: list[Piece]) -> dict[str, Any] | None:
    if not pieces:
        return None
    return {"content": [{**_token(piece.token), "top_logprobs": [_token(each) for each in piece.likeliest]} for piece in pieces]}


def _token(spelt: Spelt) -> dict[str, Any]:
    return {"token": spelt.text, "logprob": spelt.logprob, "bytes": list(spelt.bytes)}


async def _streamed(service: Service, job: Job, body: ChatRequest, about: dict[str, Any]) -> AsyncIterator[dict[str, Any] | str]:
    """Give chunks: the role first, then text, then why it ended; the counts last, if they were asked for."""
    for index in range(body.n):
        yield {**about, "choices": [{"index": index, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}]}
    async for said in followed(service, job):
        if isinstance(said, Said):
            logprobs = {"logprobs": _logprobs([said.piece])} if said.piece else {}
            if said.text or said.piece:
                delta = {"content": said.text}
                yield {**about, "choices": [{"index": said.index, "delta": delta, "finish_reason": None, **logprobs}]}
            if said.finish:
                yield {**about, "choices": [{"index": said.index, "delta": {}, "finish_reason": FINISH[said.finish]}]}
        elif body.stream_options and body.stream_options.include_usage:
            assets = {str(text["index"]): known_of(text) for text in said["texts"]}
            yield {**about, "choices": [], "usage": usage_of(said), "assets": assets}
    yield "[DONE]"
