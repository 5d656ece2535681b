"""What a guided tour says beside the events of the work itself: its steps, and what figures mean."""

from typing import Literal

from karat.words.events import Event


class Step(Event):
    """A step of the demo begins: which of how many, the command that does the same, and what it is for."""

    kind: Literal["step"] = "step"
    number: int
    total: int
    title: str
    command: str
    meaning: str


class Explained(Event):
    """A figure and what it means, in a line."""

    kind: Literal["explained"] = "explained"
    name: str
    value: str
    meaning: str


class Wrote(Event):
    """Some more of the text with this index. `finish` says why it ended, with its last piece."""

    kind: Literal["wrote"] = "wrote"
    index: int
    text: str
    finish: Literal["stop", "length", "constraint"] | None = None


class Answered(Event):
    """The whole answer to a turn of a conversation."""

    kind: Literal["answered"] = "answered"
    text: str
