"""What is asked of a model. Takes no torch, so that a server can read it."""

from typing import Any

from pydantic import Field

from karat.words.specs import Spec


class Request(Spec):
    """What is asked of a model: how many, under what, from which seed, with which sampling options."""

    count: int = Field(1, ge=1)
    seed: int = 0
    first: int = Field(0, ge=0, description="index of the first sample: 0 to 63 and 64 to 127 are the same as 0 to 127")
    given: dict[str, Any] = {}
    sampling: dict[str, Any] = {}
