"""What is asked of a model. Takes no torch, so that a server can read it."""

from typing import Annotated, Any

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


class Walk(Request):
    """Pictures on the way between the noise of two seeds, of index 0: from number `first` of `steps`, both ends included."""

    to: int
    steps: int = Field(8, ge=2, le=1_000)

    @model_validator(mode="after")
    def _within(self) -> "Walk":
        if self.first + self.count > self.steps:
            raise ValueError(f"a walk of {self.steps} steps has no picture {self.first + self.count - 1}")
        return self


class Point(Request):
    """Pictures whose noise is moved along the first directions in which those of a release differ, by so many standard deviations each."""

    moves: tuple[Annotated[float, Field(ge=-10, le=10)], ...] = Field(min_length=1, max_length=8)


def request_of(values: dict[str, Any]) -> Request:
    """Read a request of whichever kind it is. Raises SpecError."""
    kind = Retouch if "picture" in values else Walk if "to" in values else Point if "moves" in values else Request
    return kind.from_values(values)
