"""Events: what long work says while it runs. Progress bars, JSON lines, server streams and notebooks all read the same ones."""

import time
from typing import Any, ClassVar, Literal

from pydantic import Field

from karat.words.specs import Spec


class Event(Spec):
    """Something that happened at a moment. `kind` is the class's name in lower case, as it stands in JSON lines."""

    kind: str
    at: float = Field(default_factory=time.time, description="Unix time in seconds")
    kinds: ClassVar[dict[str, type["Event"]]] = {}

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls.kinds[cls.__name__.lower()] = cls


class Started(Event):
    """Work began: `total` units of `unit` lie ahead (None: not known yet)."""

    kind: Literal["started"] = "started"
    what: str
    total: int | None = None
    unit: str = ""


class Progress(Event):
    """`done` of `total` units are done; `figures` holds losses, rates and whatever else there is to see."""

    kind: Literal["progress"] = "progress"
    done: int
    total: int | None = None
    seconds_left: float | None = None
    figures: dict[str, float] = {}


class Finding(Event):
    """A check noticed something about a sample; nothing is dropped because of it unless the policy says so."""

    kind: Literal["finding"] = "finding"
    check: str
    sample: str
    message: str
    repair: str
    drops: bool = False


class Scored(Event):
    """A measurement during training: held-out losses, generation quality, originality."""

    kind: Literal["scored"] = "scored"
    step: int
    figures: dict[str, float]


class Saved(Event):
    """A file or folder was written whole."""

    kind: Literal["saved"] = "saved"
    what: str
    path: str


class Warned(Event):
    """A setting had no effect, or something needs attention while the work goes on."""

    kind: Literal["warned"] = "warned"
    message: str


class Finished(Event):
    """Work ended; `result` names what it made (a record's digest or a path), `summary` says it in a sentence."""

    kind: Literal["finished"] = "finished"
    what: str
    result: str = ""
    summary: str = ""
    figures: dict[str, float] = {}
