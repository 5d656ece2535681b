"""Chat templates: the text that a pretrained model knows a conversation as, cut where its answers begin and end.

A template is Jinja code that came with the model; transformers renders it in a sandbox. It is given marks in place of the words, so that
nothing which somebody says is ever taken for a mark of the template.
"""

import re
from collections.abc import Sequence
from functools import cached_property
from typing import Any, NamedTuple

from karat.values.passages import Turn
from karat.words.errors import DataError, SpecError

PLAIN = (
    "{% for message in messages %}{{ message.role | capitalize }}:\n{{ message.content }}"
    "{% if message.role == 'assistant' %}{{ eos_token }}{% endif %}\n\n{% endfor %}"
    "{% if add_generation_prompt %}Assistant:\n{% endif %}"
)
"""The form for models without a template: each turn under its role's name, the model's end mark behind each answer."""
WORDS = re.compile("\ue000([0-9]+)\ue001")
"""What stands for the words of a turn."""


class Stretch(NamedTuple):
    """A part of a conversation as the model sees it: pieces of template (str) and places of turns (int), and whether it is to be learnt."""

    pieces: tuple[str | int, ...]
    learnt: bool


class ChatTemplate:
    """A template with the model's own marks for the start and the end."""

    def __init__(self, template: str, *, start: str, end: str) -> None:
        self.template, self.start, self.end = template or PLAIN, start, end

    def stretches(self, turns: Sequence[Turn], *, answering: bool = False) -> list[Stretch]:
        """Give a conversation in stretches. An answer is learnt from where the model would begin it to its end mark.

        With `answering`, it goes up to where the model begins the next answer; else what the template writes behind a last answer is
        left out.
        """
        whole = self._rendered(turns, answering=answering)
        found, at = [], 0
        for place, turn in enumerate(turns):
            if turn.role == "assistant":
                begin, end = self._answer(whole, turns, place)
                found += [Stretch(_pieces(whole[at:begin]), False), Stretch(_pieces(whole[begin:end]), True)]
                at = end
        if answering or turns[-1].role != "assistant":
            found.append(Stretch(_pieces(whole[at:]), False))
        return [stretch for stretch in found if stretch.pieces]

    def behind_answer(self) -> str:
        """Give what the template writes behind an answer that ends a conversation."""
        turns = (Turn(role="user", text=""), Turn(role="assistant", text=""))
        return self._rendered(turns).partition(_mark(1))[2]

    def opens(self) -> bool:
        """Say whether the template writes the start mark itself."""
        return bool(self.start) and self._rendered((Turn(role="user", text=""),), bare=False).startswith(self.start)

    def _answer(self, whole: str, turns: Sequence[Turn], place: int) -> tuple[int, int]:
        """Say where the answer at a place begins and ends; without words of its own that open it, it begins with what is said."""
        mark = _mark(place)
        said = whole.index(mark)
        before = self._rendered(turns[:place], answering=True)
        begin = len(before) if whole.startswith(before) and len(before) <= said else said
        end = said + len(mark)
        following = WORDS.search(whole, end)
        closing = whole.find(self.end, end, following.start() if following else len(whole)) if self.end else -1
        return begin, end if closing < 0 else closing + len(self.end)

    def _rendered(self, turns: Sequence[Turn], *, answering: bool = False, bare: bool = True) -> str:
        """Render marks in place of words; `bare`: without the start mark, which opens every row anyway."""
        text = self._filled(turns, answering, self._thoughtless)
        if [int(number) for number in WORDS.findall(text)] != list(range(len(turns))):
            raise SpecError(
                "The base's chat template does not write each turn once, in order.",
                repair="Correct chat_template in its tokenizer_config.json, or delete it for the plain form.",
            )
        return text.removeprefix(self.start) if bare else text

    @cached_property
    def _thoughtless(self) -> bool:
        """Say whether a template that lets the model think can be told not to, in such a way that answers begin where it ends."""
        asked = (Turn(role="user", text=""),)
        answered = self._filled((*asked, Turn(role="assistant", text="")), False, True)
        return answered.startswith(self._filled(asked, True, True))

    def _filled(self, turns: Sequence[Turn], answering: bool, thoughtless: bool) -> str:
        from jinja2 import TemplateError
        from transformers.utils.chat_template_utils import render_jinja_template

        settings: dict[str, Any] = {"enable_thinking": False} if thoughtless else {}
        messages = [{"role": turn.role, "content": _mark(place)} for place, turn in enumerate(turns)]
        try:
            rendered = render_jinja_template(
                [messages],
                chat_template=self.template,
                add_generation_prompt=answering,
                bos_token=self.start,
                eos_token=self.end,
                **settings,
            )
        except TemplateError as error:
            roles = ", ".join(turn.role for turn in turns)
            raise DataError(
                f"The base's chat template refuses a conversation of {roles}: {error}.", repair="Change its turns, or use another base."
            ) from None
        return str(rendered[0][0] if isinstance(rendered, tuple) else rendered[0])


def _mark(place: int) -> str:
    return f"\ue000{place}\ue001"


def _pieces(text: str) -> tuple[str | int, ...]:
    """Take marked text apart: every second part of the split is a place."""
    parts = WORDS.split(text)
    return tuple(int(part) if number % 2 else part for number, part in enumerate(parts) if number % 2 or part)
