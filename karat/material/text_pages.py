"""What the report of a model of texts shows beside its scores: samples, answers, tokens by their nats, copies beside their sources."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from karat.material.metrics.texts.copying import RUN

Span = tuple[int, int]
"""From which character to which."""


@dataclass(frozen=True)
class Sample:
    """A made text, what it goes on from, what is to be said of it, and the spans in it that stand in training."""

    text: str
    about: str = ""
    prompt: str = ""
    marked: Sequence[Span] = ()


@dataclass(frozen=True)
class Samples:
    """Texts that were made in one way."""

    title: str
    note: str
    texts: Sequence[Sample]


@dataclass(frozen=True)
class Dialogue:
    """A prompt with the model's answer and the true one."""

    prompt: str
    answer: str
    reference: str
    about: str = ""
    marked: Sequence[Span] = ()


@dataclass(frozen=True)
class Part:
    """A part of a text with its nats."""

    text: str
    nats: float


@dataclass(frozen=True)
class Near:
    """A training text and how like it is."""

    text: str
    likeness: float


@dataclass(frozen=True)
class Strip:
    """A text token by token: what each part of the prompt moved, what each part of the answer cost."""

    answer: Sequence[Part]
    prompt: Sequence[Part] = ()
    nearest: Sequence[Near] = ()
    title: str = ""

    @property
    def most_moved(self) -> float:
        """Give the nats of the part that moved the answer most: the deepest colour."""
        return max((abs(part.nats) for part in self.prompt), default=0.0) or 1.0


@dataclass(frozen=True)
class Copy:
    """A span that a made text shares with a training text, in both."""

    text: str
    at: Span
    source: str
    source_at: Span
    longest: int
    name: str
    flagged: bool


@dataclass(frozen=True)
class TextPages:
    """All of it; what is empty is left out of the page."""

    samples: Sequence[Samples] = ()
    dialogues: Sequence[Dialogue] = ()
    strips: Sequence[Strip] = ()
    copies: Sequence[Copy] = ()
    held_out_longest: int | None = None
    run: int = RUN


def cut(text: str, spans: Sequence[Span]) -> Iterator[tuple[str, bool]]:
    """Cut a text at spans that do not overlap, in order: (said, whether it lies in a span)."""
    done = 0
    for first, last in spans:
        yield text[done:first], False
        yield text[first:last], True
        done = last
    yield text[done:], False
