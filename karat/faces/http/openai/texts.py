"""What chat and completions have in common: the options of a text, its log-probabilities, its usage, and following it as it is written."""

from collections.abc import AsyncIterator
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, Field

from karat.app.serving.asking import Piece, Said
from karat.app.serving.service import Job, Service, result_of
from karat.faces.http.errors import wrong

FINISH = {"stop": "stop", "length": "length", "constraint": "stop"}


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


class StreamOptions(BaseModel):
    """What a stream tells beside the text."""

    include_usage: bool = False


class TextRequest(BaseModel):
    """The options of a text. `sampling`, `given`, `first`, `top_k`, `min_p` and `repetition_penalty` are Karat's own."""

    model: str
    n: int = Field(1, ge=1, le=64)
    max_tokens: int | None = Field(None, ge=1)
    temperature: float | None = Field(None, ge=0, le=100)
    top_p: float | None = Field(None, gt=0, le=1)
    stop: Annotated[list[str] | None, BeforeValidator(_listed)] = Field(None, max_length=16)
    seed: int | None = Field(None, ge=-(2**63), lt=2**63)
    stream: bool = False
    stream_options: StreamOptions | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    logit_bias: dict[int, float] | None = None
    user: str | None = None
    store: bool | None = Field(None, description="False: the text becomes no asset")
    top_k: int | None = Field(None, ge=1)
    min_p: float | None = Field(None, ge=0, le=1)
    repetition_penalty: float | None = Field(None, gt=0)
    first: int = Field(0, ge=0, lt=2**31)
    given: dict[str, Any] = {}
    sampling: dict[str, Any] = {}

    def values(self, **more: Any) -> dict[str, Any]:
        """Give the request in Karat's words. Raises SpecError for what no model here knows."""
        if self.frequency_penalty or self.presence_penalty:
            raise wrong("Penalties for frequency and presence are not known here.", "Give repetition_penalty, above 1.")
        named = {name: getattr(self, name) for name in ("temperature", "top_p", "top_k", "min_p", "repetition_penalty")}
        asked = {**named, "most": self.max_tokens, "stop": self.stop or None, "bias": self.logit_bias or None, **more}
        sampling = {**self.sampling, **{name: value for name, value in asked.items() if value is not None}}
        return {"count": self.n, "seed": self.seed, "first": self.first, "given": self.given, "sampling": sampling}


def usage_of(result: dict[str, Any]) -> dict[str, int]:
    read, written = result["read"], result["written"]
    return {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}


def pieces_of(text: dict[str, Any]) -> list[Piece]:
    return [Piece.from_values(piece) for piece in text.get("pieces", ())]


def known_of(text: dict[str, Any]) -> dict[str, Any]:
    """Give Karat's own fields of a text."""
    return {"asset_id": text["asset"], "seed": text["seed"], "originality": text.get("originality")}


async def followed(service: Service, job: Job) -> AsyncIterator[Said | dict[str, Any]]:
    """Give each token of a job's texts once, in order, and in the end the job's result.

    A token that was written again by another worker is not told twice; what was not heard is told from the result.
    """
    counts: dict[int, int] = {}
    said: dict[int, str] = {}
    finished: set[int] = set()
    async for event in service.events(job):
        if event["kind"] == "said":
            token = Said.from_values(event)
            if token.number != counts.get(token.index, 0) or token.index in finished:
                continue
            counts[token.index] = token.number + 1
            said[token.index] = said.get(token.index, "") + token.text
            finished |= {token.index} if token.finish else set()
            yield token
        elif event["kind"] == "ended":
            result = result_of(event)
            for text in result["texts"]:
                if text["index"] not in finished:
                    rest, number = text["text"][len(said.get(text["index"], "")) :], counts.get(text["index"], 0)
                    for piece in pieces_of(text)[number:]:
                        yield Said(index=text["index"], number=number, text="", piece=piece)
                    yield Said(index=text["index"], number=number, text=rest, finish=text["finish"])
            yield result
