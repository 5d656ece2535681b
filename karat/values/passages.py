"""Passages: what a text sample holds. A text, or a conversation in turns, of which only the assistant's are to be learnt.

Whatever answers something is a conversation: a completion answers its prompt, a translation its source, a summary its text. So one
form trains, measures and serves them all.
"""

import unicodedata
from collections.abc import Sequence
from typing import Literal, Self

from karat.words.errors import DataError
from karat.words.specs import Spec, canonical

Role = Literal["system", "user", "assistant"]
ROLES: tuple[Role, ...] = ("system", "user", "assistant")


class Turn(Spec):
    """What one side says."""

    role: Role
    text: str


class Passage(Spec):
    """A `text`, or some `turns`; never both."""

    text: str = ""
    turns: tuple[Turn, ...] = ()

    @classmethod
    def answer(cls, prompt: str, answer: str, *, system: str = "") -> Self:
        """Give the conversation in which a prompt is answered."""
        before = (Turn(role="system", text=system),) if system else ()
        return cls(turns=(*before, Turn(role="user", text=prompt), Turn(role="assistant", text=answer)))

    @classmethod
    def from_bytes(cls, content: bytes, *, in_turns: bool) -> Self:
        """Read what `to_bytes` wrote."""
        return cls.from_json(content) if in_turns else cls(text=content.decode())

    def to_bytes(self) -> bytes:
        """Write a text as it is in UTF-8, turns as canonical JSON."""
        return canonical(self.model_dump(exclude_defaults=True)) if self.turns else self.text.encode()

    def plain(self) -> str:
        """Give all of its words, one turn to a paragraph."""
        return "\n".join(turn.text for turn in self.turns) if self.turns else self.text

    def learnt(self) -> str:
        """Give the words that a model is to learn to write: the text, or what the assistant says."""
        return "\n".join(turn.text for turn in self.turns if turn.role == "assistant") if self.turns else self.text

    def opening(self) -> "Passage":
        """Give the turns before the assistant's last one: what it is to be answered to."""
        last = max((place for place, turn in enumerate(self.turns) if turn.role == "assistant"), default=len(self.turns))
        return Passage(turns=self.turns[:last])


def check_turns(turns: Sequence[Turn]) -> None:
    """Raise DataError for a conversation that nobody began."""
    if not any(turn.role == "user" for turn in turns):
        raise DataError("The conversation has no turn of the user.", repair='Add a message with the role "user".')


def normal(text: str) -> str:
    """Give the text in Unicode's composed form (NFC). Raises DataError for what is no Unicode."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise DataError(f"The text {text[:80]!r} holds half characters (lone surrogates).", repair="Save it as UTF-8.") from None
    return unicodedata.normalize("NFC", text)
