"""Texts ↔ rows of ids as a pretrained model reads them: its own tokenizer, its own chat template.

Id 0 ends a passage, as for texts from scratch: the model's end mark and its id 0 have changed places. Where a template writes that mark
inside a conversation it has an id of its own, behind the last one, so that 0 ends nothing but the whole. For a model that reads with one
half and writes with the other, a row is what is to be answered, a 0, the answer, a 0.
"""

import re
from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np
from pydantic import Field

from karat.values.chat_templates import PLAIN, ChatTemplate, Stretch
from karat.values.codecs.codec import codecs
from karat.values.codecs.text import Packing
from karat.values.codecs.text_rows import TextRows
from karat.values.passages import Passage, Turn
from karat.words.errors import DataError, SpecError
from karat.words.specs import Spec

CONTEXT = 256
"""Tokens in a row unless asked otherwise."""


class PretrainedTextOptions(Spec):
    """How a base reads. All but `length` and `packing` come from its files."""

    tokenizer: str = Field("", description="the tokenizer in the JSON of the tokenizers library, its end mark with id 0")
    vocab: int = Field(2, ge=2, description="ids that the model knows; one more stands for an end mark inside a conversation")
    end: str = Field("", description="the end mark")
    start: str = Field("", description="the mark that opens every row, where the template would write it again")
    template: str = Field("", description="the chat template; empty: each turn under its role's name")
    answers: bool = Field(False, description="the model has an encoder, that reads what a decoder answers")
    context: int | None = Field(None, ge=1, description="most tokens that the model reads")
    length: int | None = Field(None, ge=4, le=65536, description="tokens in a row; left open: 256, or what the model reads")
    packing: Packing = Field("whole", description="whole: as many passages as fit; stream: one after the other; single: for encoders")


@codecs.add("pretrained-text")
class PretrainedTextCodec(TextRows):
    """Texts and conversations in the tokens of a base."""

    kind: ClassVar[str] = "pretrained-text"

    def __init__(self, options: PretrainedTextOptions) -> None:
        assert options.length, "fit the codec first"
        super().__init__(options, options.tokenizer, options.length)
        self.options, self.space = options, self._rows_of(options.vocab + 1)
        template = re.sub(r"\{\{ eos_token \}\}", "", PLAIN) if options.answers and not options.template else options.template
        self.chat = ChatTemplate(template, start=options.start, end=options.end)

    @classmethod
    def fit(cls, options: dict[str, Any], sources: Iterable[str | Passage]) -> Self:
        """Settle how long a row is. Raises SpecError for rows that the base cannot read."""
        asked = PretrainedTextOptions.from_values(options)
        if next(iter(sources), None) is None:
            raise DataError("No sample has a text.", repair="Import texts or conversations.")
        if not asked.tokenizer:
            raise SpecError("Text is read as a base reads it, but there is none.", repair="Give --base, or leave made.kind out.")
        most = asked.context or asked.length or CONTEXT
        if asked.length is not None and asked.length > most:
            raise SpecError(f"The base reads {most} tokens, not {asked.length}.", repair=f"Give `--set made.length={most}` or less.")
        packing: Packing = "single" if asked.answers else "whole" if asked.packing == "single" else asked.packing
        return cls(asked.changed(length=asked.length or min(most, CONTEXT), packing=packing))

    def cut(self, ids: np.ndarray) -> np.ndarray:
        """Give what a row has room for. Before an answer, what is to be answered is cut first, but not to less than half of the row."""
        if self.options.answers and len(ids) > self.length:
            parted = int(np.argmax(ids == 0))
            kept = min(parted, max(self.length // 2, self.length - (len(ids) - parted)) - 1)
            ids = np.concatenate([ids[:kept], ids[parted:]])
        return ids[: self.length]

    def written(self, source: str | Passage) -> tuple[np.ndarray, np.ndarray]:
        """Give the ids of a whole passage to its end, and which of them are to be learnt: int32 (n,), bool (n,).

        Of a conversation that is what the assistant says, with the mark that ends it; of one for an encoder, the last answer.
        """
        passage = Passage(text=source) if isinstance(source, str) else source
        if self.options.answers:
            return self._answered(passage)
        if not passage.turns:
            ids = [*self.ids(passage.text), 0]
            return np.array(ids, np.int32), np.ones(len(ids), np.bool_)
        ids, learnt = self._read(self.chat.stretches(passage.turns), passage.turns)
        last = learnt[-1]
        if last and ids[-1] == self.options.vocab:
            ids, learnt = ids[:-1], learnt[:-1]
        return np.array([*ids, 0], np.int32), np.array([*learnt, last], np.bool_)

    def prompt(self, source: str | Passage) -> list[int]:
        """Give the ids after which the model goes on: of the beginning of a text, or of turns up to where its answer begins."""
        turns = () if isinstance(source, str) else source.turns
        text = source if isinstance(source, str) else source.text
        if self.options.answers:
            return [*(self._asked(turns) if turns else self.ids(text)), 0]
        return self._read(self.chat.stretches(turns, answering=True), turns)[0] if turns else self.ids(text)

    def ids(self, text: str) -> list[int]:
        """Give the ids of a text; an end mark in it ends nothing."""
        return [id or self.options.vocab for id in self._tokenized(text)]

    def said(self, ids: list[int]) -> list[int]:
        """Give the part of a row that is the text; of a row for an encoder, the answer."""
        return ids[ids.index(0) + 1 :] if self.options.answers and 0 in ids else ids

    def text(self, ids: list[int]) -> str:
        """Give the text of ids, marks left out."""
        return str(self.tokenizer.decode([id for id in ids if id < self.options.vocab], skip_special_tokens=True))

    @classmethod
    def load(cls, state: dict[str, Any]) -> Self:
        return cls(PretrainedTextOptions.from_values(state))

    def _answered(self, passage: Passage) -> tuple[np.ndarray, np.ndarray]:
        """Give a row for an encoder: what is to be answered, a 0, the answer, a 0."""
        if not passage.turns or passage.turns[-1].role != "assistant":
            raise DataError(
                "The base answers what its encoder reads, but the data holds text that answers nothing.",
                repair="Give prompts with completions, sources with targets or messages, or take a base that only writes.",
            )
        asked, said = self._asked(passage.turns[:-1]), self.ids(passage.turns[-1].text)
        ids = np.array([*asked, 0, *said, 0], np.int32)
        return ids, np.arange(len(ids)) > len(asked)

    def _asked(self, turns: tuple[Turn, ...]) -> list[int]:
        """Give what an encoder reads: the words of a lone user as they are, more turns as a conversation."""
        if len(turns) == 1 and not self.options.template:
            return self.ids(turns[0].text)
        return self._read(self.chat.stretches(turns, answering=True), turns)[0]

    def _read(self, stretches: Iterable[Stretch], turns: tuple[Turn, ...]) -> tuple[list[int], list[bool]]:
        """Give the ids of stretches and which are learnt: marks as marks, all between two of them as one text, cut where answers begin."""
        ids: list[int] = []
        learnt: list[bool] = []
        before = ""  # what has been read since the last mark
        for stretch in stretches:
            for text, mark in self._parts(stretch, turns):
                said = self._going_on(before, text)
                before = "" if mark else before + text
                said += [self.tokenizer.token_to_id(mark) or self.options.vocab] if mark else []
                ids += said
                learnt += [stretch.learnt] * len(said)
        return ids, learnt

    def _parts(self, stretch: Stretch, turns: tuple[Turn, ...]) -> Iterator[tuple[str, str]]:
        """Give the texts of a stretch, each with the mark that follows it, at its end without one."""
        text = ""
        for piece in stretch.pieces:
            if isinstance(piece, int):
                text += turns[piece].text
                continue
            *marked, rest = self._marks.split(piece)
            for said, mark in zip(marked[::2], marked[1::2], strict=True):
                yield text + said, mark
                text = ""
            text += rest
        yield text, ""

    def _going_on(self, before: str, text: str) -> list[int]:
        """Give the ids of a text as the tokenizer reads it behind another, where that leaves the ids of the other as they are."""
        first, both = self.ids(before), self.ids(before + text)
        return both[len(first) :] if both[: len(first)] == first else self.ids(text)

    @cached_property
    def _marks(self) -> re.Pattern[str]:
        """Find the tokenizer's own tokens in a template, the longest first."""
        tokens = [token.content for token in self.tokenizer.get_added_tokens_decoder().values()]
        return re.compile(f"({'|'.join(map(re.escape, sorted({*tokens, self.options.end}, key=lambda t: (-len(t), t))))})")
