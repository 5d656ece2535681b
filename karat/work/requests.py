"""What is asked of a model. Takes no torch, so that a server can read it."""

from typing import Any

from pydantic import Field, model_validator

from karat.words.specs import Spec


class Request(Spec):
    """What is asked of a model: how many, under what, from which seed, with which sampling options."""

    count: int = Field(1, ge=1)
    seed: int = 0
    first: int = Field(0, ge=0, description="index of the first sample: 0 to 63 and 64 to 127 are the same as 0 to 127")
    given: dict[str, Any] = {}
    sampling: dict[str, Any] = {}


VARIED = 0.6
"""How much of a picture is lost when it is varied as a whole, unless the request says so."""


class Retouch(Request):
    """A picture that is made anew where its mask is transparent, or, without a mask, varied as a whole. Both are named by their digests."""

    picture: str = Field(pattern=r"^[0-9a-f]{64}$")
    mask: str | None = Field(None, pattern=r"^[0-9a-f]{64}$")
    strength: float = Field(1.0, gt=0, le=1, description="how much of what was there is lost; left out: 1 with a mask, 0.6 without")

    @model_validator(mode="before")
    @classmethod
    def _as_is_usual(cls, values: Any) -> Any:
        if not isinstance(values, dict) or values.get("strength") is not None:
            return values
        return {**values, "strength": VARIED if values.get("mask") is None else 1.0}
