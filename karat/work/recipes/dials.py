"""The dials of a recipe. Takes no torch, so that a server can read them."""

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from karat.words.specs import Spec

Size = Literal["tiny", "small", "base", "large"]


class Dials(Spec):
    """What a user turns. `changes` reaches everything else, by dotted name: {"family.net.width": 48, "plan.rate": 0.001}."""

    family: str | None = Field(None, description="left open: diffusion for numbers, autoregressive for ids")
    size: Size = "small"
    steps: int | None = None
    minutes: float | None = Field(None, gt=0)
    seed: int = 0
    learn: Literal["dpo", "kto", "rft"] | None = Field(None, description="how verdicts are learnt from")
    changes: dict[str, Any] = {}

    @model_validator(mode="after")
    def _one_budget(self) -> Self:
        if self.steps is not None and self.minutes is not None:
            raise ValueError("give either steps or minutes")
        return self
