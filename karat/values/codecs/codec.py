"""Codecs: the only things that know a modality. Each turns one kind of file into values of a space and back.

A file is encoded once into a compact packed array (bytes for pictures, whole numbers for ids), which is cached on disk; a batch of packed
arrays becomes values on the training device. What a codec learnt from data (a vocabulary, a size) is its state: plain JSON that travels in
the release.
"""

from collections.abc import Iterable
from typing import Any, ClassVar, Protocol, Self, runtime_checkable

import numpy as np
from torch import Tensor

from karat.values.spaces import Space
from karat.words.registry import Registry


@runtime_checkable
class Codec(Protocol):
    """Files of one modality ↔ values of one space."""

    kind: ClassVar[str]
    extension: ClassVar[str]
    media_type: ClassVar[str]
    space: Space

    @classmethod
    def fit(cls, options: dict[str, Any], sources: Iterable[Any]) -> Self:
        """Settle what the options leave open by looking at some sources. Raises SpecError for options that do not exist."""
        ...

    def encode(self, source: Any) -> np.ndarray:
        """Give one packed value of a file's bytes (or of a text, a label …). Raises DataError when it cannot be read."""
        ...

    def value(self, packed: Tensor) -> Tensor:
        """Give the values (B, *S[, C]) of a batch of packed arrays."""
        ...

    def decode(self, value: Tensor) -> Any:
        """Give the medium (a picture, a text …) of one value (*S[, C])."""
        ...

    def write(self, media: Any) -> bytes:
        """Give the file of a medium: the same medium always gives the same bytes."""
        ...

    def state(self) -> dict[str, Any]:
        """Give everything that `load` needs, as JSON."""
        ...

    @classmethod
    def load(cls, state: dict[str, Any]) -> Self:
        """Build the codec again from its `state`."""
        ...


codecs: Registry[type[Codec]] = Registry("codec")
