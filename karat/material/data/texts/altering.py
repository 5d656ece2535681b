"""Altering texts: words replaced by others of the same meaning, words left out, questions that went through translations.

Of a conversation only what the user says is altered, so that no model learns to write what nobody wrote; a text without turns is altered
as a whole. Each copy is made by chance of its own: of the seed, the text's id and the number of the copy.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import Field

from karat.values.passages import Passage
from karat.words.errors import DataError, SpecError
from karat.words.specs import Spec, digest_of

Share = Annotated[float, Field(ge=0, le=1)]
Translate = Callable[[Sequence[str], Sequence[int]], list[str]]
"""Translates some texts, each with a seed of its own."""
TRUE_UP_TO = 0.15
"""Share of words that a question may lack and still be taken to ask for its answer."""
LONGEST = 3
"""Words that one gap takes out, at most."""
WORD = re.compile(r"[⺀-鿿豈-﫿]|[^\W⺀-鿿豈-﫿]+(?:['’-][^\W⺀-鿿豈-﫿]+)*")
"""A Chinese character, or a run of other letters and digits."""


class Augmenting(Spec):
    """How the copies differ. The same spec gives the same copies."""

    copies: int = Field(1, ge=1, le=16, description="altered copies of each text")
    spans: Annotated[float, Field(ge=0, le=0.5)] = Field(0.0, description="share of the words that is left out, one to three at a time")
    synonyms: str | None = Field(None, description="digest of a list of words that mean the same, a group to a line")
    replaced: Share = Field(0.3, description="share of the words in that list that are replaced")
    back: tuple[str, ...] = Field((), max_length=2, description="releases that translate: one from answers to questions, or there and back")
    temperature: float = Field(0.5, ge=0, description="how freely they translate; 0 gives every copy the same translation")
    seed: int = Field(0, ge=0)
    allow_label_changes: bool = Field(False, description="an answer or label may stop being true of its text")

    def check(self, *, in_turns: bool) -> None:
        """Raise SpecError for what does nothing, and for what can make a label or answer untrue or teaches gaps."""
        if not (self.spans or self.synonyms or self.back):
            raise SpecError("There is nothing to alter.", repair="Give --spans, --synonyms or --back.")
        if len(self.back) == 1 and not in_turns:
            raise SpecError("A text has no answer that could be translated back.", repair="Give --back twice: there, and back again.")
        if self.spans > (TRUE_UP_TO if in_turns else 0) and not self.allow_label_changes:
            about = "can make their answers untrue" if in_turns else "teaches a model to write with gaps"
            raise SpecError(
                f"Leaving out {self.spans:.0%} of the words of these texts {about}.",
                repair=f"Leave out {TRUE_UP_TO:.0%} at most, of questions alone, or say --allow-label-changes if that is wanted.",
            )


@dataclass(frozen=True)
class Synonyms:
    """Groups of words that mean the same; found whatever their case, the longest first."""

    groups: Mapping[str, tuple[str, ...]]
    lengths: tuple[int, ...]

    @classmethod
    def read(cls, content: bytes) -> "Synonyms":
        """Read lines such as `big, large, huge` or `高兴，快乐`; tabs divide as well. Raises DataError for a line that is no group."""
        groups: dict[str, tuple[str, ...]] = {}
        try:
            lines = content.decode("utf-8-sig").splitlines()
        except UnicodeDecodeError:
            raise DataError("The list of synonyms is no UTF-8.", repair="Save it as UTF-8.") from None
        for number, line in enumerate(lines, 1):
            words = tuple(dict.fromkeys(word.strip() for word in re.split(r"[,，、\t]", line) if word.strip()))
            if line.strip() and len(words) < 2:
                raise DataError(f"Line {number} of the list of synonyms is no group: {line[:60]!r}.", repair="Write `big, large, huge`.")
            for word in words:
                groups[word.lower()] = tuple(dict.fromkeys((*groups.get(word.lower(), ()), *(each for each in words if each != word))))
        if not groups:
            raise DataError("The list of synonyms is empty.", repair="Write a group to a line: `big, large, huge`.")
        return cls(groups, tuple(sorted({len(word) for word in groups}, reverse=True)))

    def replaced(self, text: str, share: float, chance: np.random.Generator) -> str:
        """Replace each word of the list with the chance `share` by another of its group."""
        starts = [match.start() for match in WORD.finditer(text)]
        ends = {match.end() for match in WORD.finditer(text)}
        parts, at = [], 0
        for start in starts:
            found = next(
                (text[start : start + n] for n in self.lengths if start + n in ends and text[start : start + n].lower() in self.groups), ""
            )
            if start < at or not found or chance.random() >= share:
                continue
            others = self.groups[found.lower()]
            other = others[int(chance.integers(len(others)))]
            parts += [text[at:start], other[:1].upper() + other[1:] if found[0].isupper() else other]
            at = start + len(found)
        return "".join([*parts, text[at:]])


def with_gaps(text: str, share: float, chance: np.random.Generator) -> str:
    """Leave out a share of the words, one to three at a time; at least one word stays."""
    words = list(WORD.finditer(text))
    wanted = min(round(share * len(words) + chance.random() - 0.5), len(words) - 1)
    gone: set[int] = set()
    while len(gone) < wanted:
        first = int(chance.integers(len(words)))
        gone |= set(range(first, min(first + int(chance.integers(LONGEST)) + 1, first + wanted - len(gone), len(words))))
    parts, at = [], 0
    for place in sorted(gone):
        parts.append(text[at : words[place].start()])
        at = words[place].end() + (text[words[place].end() : words[place].end() + 1] == " ")
    return "".join([*parts, text[at:]]).strip()


@dataclass(frozen=True)
class Altering:
    """Makes the copies of texts: translated first, then with other words, then with gaps."""

    wish: Augmenting
    synonyms: Synonyms | None
    translate: Sequence[Translate]

    def copies(self, ids: Sequence[str], passages: Sequence[Passage]) -> Iterator[tuple[int, int, Passage]]:
        """Give the place, the number and the text of each copy; one that is there already is left out."""
        seen = [{passage} for passage in passages]
        for copy in range(1, self.wish.copies + 1):
            chances = [np.random.default_rng(int(digest_of([self.wish.seed, id, copy])[:16], 16)) for id in ids]
            for place, passage in enumerate(self._translated(passages, [int(chance.integers(1 << 31)) for chance in chances])):
                altered = self._altered(passage, chances[place])
                if altered not in seen[place] and altered.plain().strip():
                    seen[place].add(altered)
                    yield place, copy, altered

    def _translated(self, passages: Sequence[Passage], seeds: Sequence[int]) -> list[Passage]:
        if not self.translate:
            return list(passages)
        texts = [_question(passage) if len(self.translate) == 2 else passage.learnt() for passage in passages]
        for each in self.translate:
            texts = each(texts, seeds)
        return [_asked(passage, text) if text.strip() else passage for passage, text in zip(passages, texts, strict=True)]

    def _altered(self, passage: Passage, chance: np.random.Generator) -> Passage:
        def change(text: str) -> str:
            if self.synonyms is not None:
                text = self.synonyms.replaced(text, self.wish.replaced, chance)
            return with_gaps(text, self.wish.spans, chance) if self.wish.spans else text

        if not passage.turns:
            return passage.changed(text=change(passage.text))
        return passage.changed(turns=tuple(turn.changed(text=change(turn.text)) if turn.role == "user" else turn for turn in passage.turns))


def _question(passage: Passage) -> str:
    return next(turn.text for turn in passage.turns if turn.role == "user") if passage.turns else passage.text


def _asked(passage: Passage, text: str) -> Passage:
    """Give the passage with another question. Raises DataError for a conversation of several."""
    if not passage.turns:
        return Passage(text=text)
    if sum(turn.role == "user" for turn in passage.turns) > 1:
        raise DataError("A conversation of several questions cannot be translated back.", repair="Augment it without --back.")
    return passage.changed(turns=tuple(turn.changed(text=text) if turn.role == "user" else turn for turn in passage.turns))
