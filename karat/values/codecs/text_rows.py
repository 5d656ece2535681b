"""Texts ↔ rows of ids: what holds whichever tokenizer makes the ids. Id 0 ends a passage and fills up a row."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np
from torch import Tensor

from karat.values.passages import Passage, normal
from karat.values.spaces import Space
from karat.words.specs import Spec


class TextRows(ABC):
    """A codec of texts and conversations of limited length; what it is called, and how it reads passages, is each codec's own."""

    extension: ClassVar[str] = ".txt"
    media_type: ClassVar[str] = "text/plain; charset=utf-8"

    def __init__(self, options: Spec, tokenizer: str, length: int) -> None:
        from tokenizers import Tokenizer

        self.length, self._state = length, options.model_dump(mode="json")
        self.tokenizer: Any = Tokenizer.from_str(tokenizer)
        self.tokenizer.encode_special_tokens = True  # what a text says is never a mark

    @abstractmethod
    def written(self, source: str | Passage) -> tuple[np.ndarray, np.ndarray]:
        """Give the ids of a whole passage to its end, and which of them are to be learnt: int32 (n,), bool (n,)."""

    @abstractmethod
    def prompt(self, source: str | Passage) -> list[int]:
        """Give the ids after which a model goes on."""

    @abstractmethod
    def text(self, ids: list[int]) -> str:
        """Give the text of ids, marks left out."""

    @abstractmethod
    def ids(self, text: str) -> list[int]:
        """Give the ids of a text."""

    @abstractmethod
    def cut(self, ids: np.ndarray) -> np.ndarray:
        """Give what a row has room for."""

    @abstractmethod
    def said(self, ids: list[int]) -> list[int]:
        """Give the part of a row that is the text, and whatever stands behind it."""

    def encode(self, source: str | Passage) -> np.ndarray:
        """Give the ids of one passage, cut where it does not fit, filled up with 0: int32 (length,)."""
        ids = self.cut(self.written(source)[0])
        return np.concatenate([ids, np.zeros(self.length - len(ids), np.int32)])

    def fits(self, source: str) -> bool:
        """Say whether a text fits the row whole."""
        return len(self.ids(source)) <= self.length

    def value(self, packed: Tensor) -> Tensor:
        return packed.long()

    def decode(self, value: Tensor) -> str:
        """Give the text up to its end. Bytes that are no UTF-8 become U+FFFD."""
        ids = self.said(value.tolist())
        return self.text(ids[: ids.index(0)] if 0 in ids else ids)

    def write(self, media: str) -> bytes:
        return media.encode()

    def state(self) -> dict[str, Any]:
        return dict(self._state)

    def _tokenized(self, text: str) -> list[int]:
        """Give the tokenizer's ids of a text in its normal form."""
        ids: list[int] = self.tokenizer.encode(normal(text), add_special_tokens=False).ids
        return ids

    def _rows_of(self, vocab: int) -> Space:
        return Space(axes=("token",), shape=(self.length,), vocab=vocab)
