"""Texts ↔ rows of ids: byte-level BPE (Sennrich et al. 2015, arXiv 1508.07909). Any text in any script comes back exactly.

Id 0 fills the row after the text's end. A text that is longer than the row is cut at a token; who must not lose the end asks `fits`.
"""

import unicodedata
from collections.abc import Iterable
from typing import Any, ClassVar, Self

import numpy as np
from pydantic import Field
from torch import Tensor

from karat.values.codecs.codec import codecs
from karat.values.spaces import Space
from karat.words.errors import DataError
from karat.words.specs import Spec

END = "<end>"


class TextOptions(Spec):
    """How texts become rows. `length` and `tokenizer` are found when the codec is fitted."""

    vocab: int = Field(1024, ge=257, description="most ids; small data gets fewer")
    length: int | None = Field(None, ge=1, le=65536, description="tokens in a row; left open: what holds 99 of 100 texts")
    tokenizer: str = Field("", description="the fitted tokenizer, in the JSON of the tokenizers library")


@codecs.add("text")
class TextCodec:
    """A text of limited length."""

    kind: ClassVar[str] = "text"
    extension: ClassVar[str] = ".txt"
    media_type: ClassVar[str] = "text/plain; charset=utf-8"

    def __init__(self, options: TextOptions) -> None:
        from tokenizers import Tokenizer

        assert options.tokenizer, "fit the codec first"
        assert options.length, "fit the codec first"
        self.options, self.length = options, options.length
        self._tokenizer = Tokenizer.from_str(options.tokenizer)
        self._tokenizer.encode_special_tokens = True  # a text that says "<end>" does not end there
        self.space = Space(axes=("token",), shape=(self.length,), vocab=self._tokenizer.get_vocab_size())

    @classmethod
    def fit(cls, options: dict[str, Any], sources: Iterable[str]) -> Self:
        """Learn the vocabulary from texts, and the length that holds 99 of 100 of them."""
        from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

        asked = TextOptions.from_values(options)
        texts = [_normal(text) for text in sources]
        if not texts:
            raise DataError("No sample has a text.", repair="Import the data with captions, or train without them.")
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        tokenizer.train_from_iterator(
            texts, trainers.BpeTrainer(vocab_size=asked.vocab, initial_alphabet=sorted(alphabet), special_tokens=[END], show_progress=False)
        )
        tokenizer.encode_special_tokens = True
        lengths = [len(encoding.ids) for encoding in tokenizer.encode_batch(texts)]
        length = asked.length or int(np.quantile(lengths, 0.99, method="higher")) + 1
        return cls(asked.changed(length=length, tokenizer=tokenizer.to_str()))

    def encode(self, source: str) -> np.ndarray:
        """Give the ids of a text, cut where it does not fit: int32 (length,)."""
        ids = self._ids(source)[: self.length]
        return np.array(ids + [0] * (self.length - len(ids)), np.int32)

    def fits(self, source: str) -> bool:
        """Say whether a text fits the row whole."""
        return len(self._ids(source)) <= self.length

    def value(self, packed: Tensor) -> Tensor:
        return packed.long()

    def decode(self, value: Tensor) -> str:
        """Give the text up to its end. Bytes that are no UTF-8 become U+FFFD."""
        ids = value.tolist()
        return str(self._tokenizer.decode(ids[: ids.index(0)] if 0 in ids else ids))

    def write(self, media: str) -> bytes:
        return media.encode()

    def state(self) -> dict[str, Any]:
        return self.options.model_dump(mode="json")

    @classmethod
    def load(cls, state: dict[str, Any]) -> Self:
        return cls(TextOptions.from_values(state))

    def _ids(self, source: str) -> list[int]:
        ids: list[int] = self._tokenizer.encode(_normal(source), add_special_tokens=False).ids
        return ids


def _normal(text: str) -> str:
    """Give the text in Unicode's composed form (NFC). Raises DataError for what is no Unicode."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise DataError(f"The text {text!r} holds bytes that are no UTF-8.", repair="Save it as UTF-8.") from None
    return unicodedata.normalize("NFC", text)
