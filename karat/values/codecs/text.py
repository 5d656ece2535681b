"""Texts ↔ rows of ids: byte-level BPE (Sennrich et al. 2015, arXiv 1508.07909), bytes, or characters. Any text in any script comes back.

Id 0 ends a passage and stands before the first; the next three ids begin a turn of the system, the user, the assistant, which
goes on until another begins or the passage ends.
"""

from collections.abc import Iterable, Iterator
from typing import Any, ClassVar, Literal, Self

import numpy as np
from pydantic import Field

from karat.values.codecs.codec import codecs
from karat.values.codecs.text_rows import TextRows
from karat.values.passages import ROLES, Passage, Role, normal
from karat.words.errors import DataError
from karat.words.specs import Spec

END = "<end>"
SPECIALS = (END, *(f"<{role}>" for role in ROLES))
ROLE_IDS: dict[Role, int] = {role: 1 + place for place, role in enumerate(ROLES)}
STUDIED = 20_000_000
"""Characters from which a vocabulary is learnt, at most."""
CONTEXT = 256
"""Tokens in a row of packed text, unless the texts are shorter."""
FEW = 5_000_000
"""Bytes below which text that is mostly Chinese is read by the character."""

Units = Literal["auto", "bpe", "bytes", "characters"]
Packing = Literal["single", "whole", "stream"]


class TextOptions(Spec):
    """How texts become rows. What is left open follows from the data when the codec is fitted."""

    units: Units = Field("auto", description="auto: characters for little Chinese, else byte-level BPE")
    vocab: int | None = Field(None, ge=260, description="most ids; little data gets fewer")
    length: int | None = Field(
        None, ge=1, le=65536, description="tokens in a row; left open: what holds 99 of 100 texts, packed ones 256 at most"
    )
    packing: Packing = Field(
        "single", description="single: a text to a row; whole: as many passages as fit; stream: one after the other, cut anywhere"
    )
    tokenizer: str = Field("", description="the fitted tokenizer, in the JSON of the tokenizers library")


@codecs.add("text")
class TextCodec(TextRows):
    """Texts and conversations in a vocabulary that was learnt from the data."""

    kind: ClassVar[str] = "text"

    def __init__(self, options: TextOptions) -> None:
        assert options.tokenizer, "fit the codec first"
        assert options.length, "fit the codec first"
        super().__init__(options, options.tokenizer, options.length)
        self.options, self.space = options, self._rows_of(self.tokenizer.get_vocab_size())

    @classmethod
    def fit(cls, options: dict[str, Any], sources: Iterable[str | Passage]) -> Self:
        """Learn the vocabulary from texts, and how long a row must be."""
        asked = TextOptions.from_values(options)
        texts = list(_studied(sources))
        if not texts:
            raise DataError("No sample has a text.", repair="Import the data with captions, or train without them.")
        units, vocab = asked.units, asked.vocab
        if asked.packing != "single":
            size = sum(len(text.encode()) for text in texts)
            units = _units_for(texts, size) if units == "auto" else units
            vocab = vocab or _vocab_for(size) * (2 if units == "characters" else 1)
        tokenizer = _characters(texts, vocab) if units == "characters" else _bpe(texts, 260 if units == "bytes" else vocab or 1024)
        tokenizer.encode_special_tokens = True
        lengths = [len(encoding.ids) + 1 for encoding in tokenizer.encode_batch(texts)]
        length = asked.length or int(np.quantile(lengths, 0.99, method="higher"))
        if asked.length is None and asked.packing != "single":
            length = max(16, min(length, CONTEXT)) if asked.packing == "whole" or sum(lengths) < 16 * CONTEXT else CONTEXT
        return cls(asked.changed(units=units, vocab=tokenizer.get_vocab_size(), length=length, tokenizer=tokenizer.to_str()))

    def written(self, source: str | Passage) -> tuple[np.ndarray, np.ndarray]:
        """Give the ids of a whole passage to its end, and which of them are to be learnt: int32 (n,), bool (n,).

        Of a conversation that is what the assistant says, with the id that follows it.
        """
        passage = Passage(text=source) if isinstance(source, str) else source
        if not passage.turns:
            whole = np.array([*self.ids(passage.text), 0], np.int32)
            return whole, np.ones(len(whole), np.bool_)
        ids: list[int] = []
        learnt: list[bool] = []
        answered = False  # the mark behind an answer is learnt with it
        for turn in passage.turns:
            said = self.ids(turn.text)
            ids += [ROLE_IDS[turn.role], *said]
            learnt += [answered, *[turn.role == "assistant"] * len(said)]
            answered = turn.role == "assistant"
        return np.array([*ids, 0], np.int32), np.array([*learnt, answered], np.bool_)

    def prompt(self, source: str | Passage) -> list[int]:
        """Give the ids after which a model goes on: of the beginning of a text, or of turns and the mark that the assistant's follows."""
        if isinstance(source, str) or not source.turns:
            return self.ids(source if isinstance(source, str) else source.text)
        return [*self.written(source)[0][:-1].tolist(), ROLE_IDS["assistant"]]

    def ids(self, text: str) -> list[int]:
        """Give the ids of a text; what it says, even "<end>", is never taken for a mark."""
        return self._tokenized(text)

    def cut(self, ids: np.ndarray) -> np.ndarray:
        """Give what a row has room for: the beginning."""
        return ids[: self.length]

    def said(self, ids: list[int]) -> list[int]:
        return ids

    def text(self, ids: list[int]) -> str:
        """Give the text of ids, marks left out."""
        return str(self.tokenizer.decode(ids))

    @classmethod
    def load(cls, state: dict[str, Any]) -> Self:
        return cls(TextOptions.from_values(state))


def _studied(sources: Iterable[str | Passage]) -> Iterator[str]:
    """Give texts until there are enough to learn a vocabulary from."""
    left = STUDIED
    for source in sources:
        text = normal(source if isinstance(source, str) else source.plain())[:left]
        left -= len(text)
        yield text
        if left <= 0:
            return


def _units_for(texts: list[str], size: int) -> Units:
    count = sum(map(len, texts))
    wide = sum(character > "⺀" for text in texts for character in text[:10_000])
    return "characters" if size < FEW and 2 * wide > min(count, sum(min(len(text), 10_000) for text in texts)) else "bpe"


def _vocab_for(size: int) -> int:
    """Give a power of two near the root of the number of bytes: 1,024 for a megabyte, 32,768 for a gigabyte."""
    return int(2 ** np.clip(np.round(np.log2(max(1.0, size) ** 0.5 * 1.2)), 9, 15))


def _bpe(texts: list[str], vocab: int) -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=vocab, initial_alphabet=alphabet, special_tokens=list(SPECIALS), show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def _characters(texts: list[str], vocab: int | None) -> Any:
    """Give a tokenizer with an id for each character that occurs (the most frequent ones), and bytes for all others."""
    from collections import Counter

    from tokenizers import AddedToken, Tokenizer, decoders, models

    counts = Counter(character for text in texts for character in text)
    room = max(0, (vocab or len(SPECIALS) + 256 + len(counts)) - len(SPECIALS) - 256)
    chosen = sorted(sorted(counts, key=lambda character: (-counts[character], character))[:room])
    names = [*SPECIALS, *(f"<0x{byte:02X}>" for byte in range(256)), *chosen]
    tokenizer = Tokenizer(models.BPE(vocab={name: place for place, name in enumerate(names)}, merges=[], byte_fallback=True))
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    tokenizer.add_special_tokens([AddedToken(name, special=True) for name in SPECIALS])
    return tokenizer
