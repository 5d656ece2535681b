"""The checks of texts: what is noticed about one, and what is remembered of each to compare it with the others.

A text is read when it is looked at, and once more where a near duplicate of it is supposed; what is kept of it is a print of 512 bytes,
where it lies and its language, whatever its length. What is compared of a conversation are its turns, without what the system is told.
"""

import hashlib
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from karat.material.data.groups import Groups, alone
from karat.material.data.inspecting import Noticed, Seen, problems
from karat.material.data.policy import CheckPolicy
from karat.material.data.samples import Sample, batches, source_of
from karat.material.data.texts.languages import Language, language_of, mojibake
from karat.material.data.texts.likeness import PERMUTATIONS, Shingles, Texts, near_groups, prints, shingles
from karat.material.data.texts.personal import Kind, find
from karat.store.store import Store
from karat.values.passages import Passage

BATCH = 64
PIECE = 1 << 20
READ_AGAIN = 256
MAIN = 0.9
"""The share of the texts that makes a language the one that others are noticed beside."""
SHOWN = 20
LINE = re.compile(r"^[^\S\n]*(\S[^\n]{7,1999})$", re.MULTILINE)
LEAST_LINE = 20
"""How many characters a line has at least to be boilerplate; eight where it is not in ASCII."""
LETTERS = "A-Za-z0-9\u00c0-\u024f"
NAMES: dict[Kind, str] = {
    "email": "e-mail address",
    "credit-code": "credit code",
    "id-card": "identity number",
    "bank-card": "card number",
    "plate": "number plate",
    "ip": "IP address",
    "phone": "phone number",
}


class TextInspection:
    """The checks of texts."""

    copied, alike = "word for word", "reads like"

    def __init__(self, policy: CheckPolicy) -> None:
        self._policy = policy
        self._blocked = blocked_terms(policy.blocked)
        self._repeats = Repeats()
        self._store: Store | None = None
        self._where: list[tuple[str, tuple[int, int] | None, bool]] = []
        self._languages: list[Language | None] = []
        self._prints = bytearray()
        self._sizes: list[int] = []

    def look(self, store: Store, samples: Sequence[Sample]) -> Iterator[Seen]:
        self._store = store
        for some in batches(samples, BATCH):
            sets = []
            for sample in some:
                self._where.append((sys.intern(sample.blob), sample.span, sample.in_turns))
                if found := problems(sample):
                    self._languages.append(None)
                    sets.append(shingles(""))
                    yield Seen(f"{sample.blob} {sample.span}", found)
                    continue
                passage = source_of(store, sample)
                assert isinstance(passage, Passage)
                words = told(passage)
                self._languages.append(language_of(words))
                self._repeats.add(passage.learnt())
                sets.append(shingles(words) if self._policy.near_overlap else shingles(""))
                yield Seen(content_of(passage), list(self._about(passage, words)))
            self._sizes += map(len, sets)
            self._prints += prints(sets).tobytes() if self._policy.near_overlap else b""

    def overall(self, kept: NDArray[np.intp]) -> Iterator[tuple[int | str, str, str]]:
        for line, times in self._repeats.often(self._policy.max_repeats + 1)[:SHOWN]:
            yield f"{times} texts", "boilerplate", f"They all have the line {line!r}."
        counts = Counter(self._languages[place] for place in kept.tolist())
        main = tuple(name for name, count in counts.items() if count >= MAIN * len(kept))
        for place in kept.tolist():
            language = self._languages[place]
            if language not in (self._policy.languages or main or counts):
                yield place, "language", f"It is in {_named(language)}, not in {_listed(map(_named, self._policy.languages or main))}."

    def near(self, kept: NDArray[np.intp]) -> Iterator[tuple[int, Groups]]:
        if not self._policy.near_overlap:
            yield len(kept), alone(len(kept))
            return
        found = np.frombuffer(self._prints, np.uint16).reshape(-1, PERMUTATIONS)
        if len(kept) < len(found):
            found = found[kept]
            self._prints = bytearray()

        @lru_cache(READ_AGAIN)
        def read(place: int) -> Shingles:
            assert self._store is not None
            blob, span, in_turns = self._where[kept[place]]
            sample = Sample(id="", name="", source="", modality="text", blob=blob, span=span, in_turns=in_turns)
            passage = source_of(self._store, sample)
            assert isinstance(passage, Passage)
            return shingles(told(passage))

        yield from near_groups(Texts(found, np.array(self._sizes)[kept], read), least=self._policy.near_overlap)

    def figures(self) -> dict[str, int]:
        counts = Counter(language for language in self._languages if language)
        return {f"language {name}": count for name, count in sorted(counts.items())}

    def _about(self, passage: Passage, words: str) -> Iterator[Noticed]:
        if not passage.learnt().strip():
            yield "empty", "Its answers are empty." if passage.turns else "It has no words."
            return
        length = len(words[:1000]) - sum(map(str.isspace, words[:1000]))
        if not passage.turns and length < self._policy.min_length:
            yield "too-short", f"It has {length} characters."
        if said := mojibake(words):
            yield "mojibake", said
        if counts := Counter(NAMES[span.kind] for span in find(passage.plain())):
            yield "personal-data", f"It has {_listed(f'{count} x {name}' for name, count in counts.items())}."
        if self._blocked and (term := self._blocked.search(words)):
            yield "blocked-term", f"It says {term[0]!r}."


class Repeats:
    """How many texts each line stands in, in memory that has a bound: when it is full, the lines that came least are forgotten.

    This is lossy counting (Manku and Motwani 2002, https://www.vldb.org/conf/2002/S10P03.pdf) with a bound on entries in place of
    one on the error, so a count may be too small. A text of one line has no boilerplate: where it comes again, it is a duplicate.
    """

    def __init__(self, most: int = 200_000) -> None:
        self._most = most
        self._counts: dict[int, int] = {}
        self._lines: dict[int, str] = {}

    def add(self, text: str) -> None:
        """Count the lines of a text, each once."""
        if "\n" not in text:
            return
        for line in {found[1].rstrip() for found in LINE.finditer(text)}:
            if len(line) < LEAST_LINE and line.isascii():
                continue
            key = hash(line)
            count = self._counts[key] = self._counts.get(key, 0) + 1
            if count == 2:
                self._lines[key] = line[:80]
        if len(self._counts) > self._most:
            often = sorted(self._counts.items(), key=lambda entry: -entry[1])
            self._counts = dict(often[: self._most // 2])
            self._lines = {key: line for key, line in self._lines.items() if key in self._counts}

    def often(self, times: int) -> list[tuple[str, int]]:
        """Give the lines that stand in so many texts or more, the most frequent first."""
        found = [(line, self._counts[key]) for key, line in self._lines.items() if self._counts[key] >= times]
        return sorted(found, key=lambda each: -each[1])


def told(passage: Passage) -> str:
    """Give the words of a passage without what the system is told, which many conversations share."""
    return "\n".join(turn.text for turn in passage.turns if turn.role != "system") if passage.turns else passage.text


def content_of(passage: Passage) -> str:
    """Give a digest that passages share which are the same but for case and spaces."""
    digest = hashlib.sha256()
    said: list[tuple[str, str]] = [(turn.role, turn.text) for turn in passage.turns]
    for role, text in said or [("", passage.text)]:
        digest.update(f"\0{role}\0".encode())
        for start in range(0, len(text), PIECE):
            digest.update("".join(text[start : start + PIECE].casefold().split()).encode())
    return digest.hexdigest()


def blocked_terms(terms: Sequence[str]) -> re.Pattern[str] | None:
    """Give a pattern of some terms in any case: whole words where letters are joined to words, anywhere in Chinese. None for no terms."""
    if not terms:
        return None
    letter = re.compile(f"[{LETTERS}]")
    bounded = [
        (f"(?<![{LETTERS}])" if letter.match(term[0]) else "") + re.escape(term) + (f"(?![{LETTERS}])" if letter.match(term[-1]) else "")
        for term in map(str.strip, terms)
    ]
    return re.compile("|".join(bounded), re.IGNORECASE)


def _named(language: Language | None) -> str:
    return {"en": "English", "zh": "Chinese", "other": "another language", None: "no language"}[language]


def _listed(words: Iterable[str]) -> str:
    *others, last = words
    return f"{', '.join(others)} and {last}" if others else last
