"""What texts are asked for, how they are to be written, and what comes back."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from pydantic import Field

from karat.learning.families.choosing import Choice
from karat.learning.nets.matrices import Precision
from karat.values.given import Given
from karat.values.passages import Passage
from karat.words.errors import SpecError
from karat.work.constraints import Constraint, constraint_of

Finish = Literal["stop", "length", "constraint"]
"""Why a text ended: the model or a stop string ended it; there was no more room; nothing more may follow."""


class WritingOptions(Choice):
    """How a text is written."""

    most: int | None = Field(None, ge=1, description="most tokens; left open: what the context has room for")
    stop: tuple[str, ...] = Field((), description="strings before which the text ends")
    best_of: int = Field(1, ge=1, le=64, description="write so many and keep the one whose tokens are the likeliest on average")
    by: str | None = Field(None, description="with best_of: the record of a reward; the one is kept that it values most")
    beams: int = Field(1, ge=1, le=16, description="above 1: search for a likely text with so many at once, in place of drawing one")
    length_penalty: float = Field(1.0, description="with beams: the power of the length by which a text's log-probability is divided")
    logprobs: int | None = Field(None, ge=0, le=100, description="give the log-probability of each token, and of so many of the likeliest")
    truncate: Literal["refuse", "front"] = Field("refuse", description="of a prompt that is too long: refuse it, or leave its front out")
    json_schema: dict[str, Any] | None = Field(None, description="the text is JSON that this schema describes")
    choice: tuple[str, ...] = Field((), description="the text is one of these")
    regex: str | None = Field(None, description="the text is what this regular expression describes")
    precision: Precision = Field(
        "float32", description="how weights are kept while writing; left out: as `karat engine` found it fastest, float32 before that"
    )

    @property
    def constraint(self) -> Constraint | None:
        return constraint_of(self.json_schema, self.choice, self.regex)

    def check(self) -> None:
        """Raise SpecError for options that contradict each other."""
        if not all(self.stop):
            raise SpecError("A stop string is empty.", repair="Leave it out.")
        if self.by and self.best_of == 1:
            raise SpecError("A reward chooses among several texts.", repair="Write several: --best-of 8.")
        if self.beams > 1 and (self.constraint or self.best_of > 1):
            other = "a constraint" if self.constraint else "best_of"
            raise SpecError(f"Beams do not go with {other}.", repair="Leave one of them out.")


@dataclass(frozen=True)
class Order:
    """One text that is asked for: after what, how, from which seed and index, under which conditions (one row)."""

    prompt: Passage | str | Sequence[int] = ""
    options: WritingOptions = field(default_factory=WritingOptions)
    seed: tuple[int, int] = (0, 0)
    given: Given = field(default_factory=Given)


class Token(NamedTuple):
    """One token as it comes: what it adds to the text (nothing while that is held back), and why it is the last one, if it is."""

    order: int
    id: int
    text: str
    logprob: float | None
    likeliest: tuple[tuple[int, float], ...]
    finish: Finish | None


@dataclass(frozen=True)
class Written:
    """A whole text, its ids without the end, and, if asked for, their log-probabilities and those of the likeliest."""

    text: str
    ids: tuple[int, ...]
    finish: Finish
    logprobs: tuple[float, ...] = ()
    likeliest: tuple[tuple[tuple[int, float], ...], ...] = ()


def whole(tokens: Sequence[Token]) -> Written:
    """Join the tokens of one text."""
    last = tokens[-1]
    assert last.finish is not None, "the text has not ended"
    said = tokens[:-1] if last.id == 0 else tokens
    return Written(
        text="".join(token.text for token in tokens),
        ids=tuple(token.id for token in said),
        finish=last.finish,
        logprobs=tuple(token.logprob for token in tokens if token.logprob is not None),
        likeliest=tuple(token.likeliest for token in tokens) if last.likeliest else (),
    )
