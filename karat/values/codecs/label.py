"""Labels: names ↔ one id each. A label that was never seen in training is refused by name."""

import difflib
from collections.abc import Iterable
from typing import Any, ClassVar, Self

import numpy as np
from torch import Tensor

from karat.values.codecs.codec import codecs
from karat.values.spaces import Space
from karat.words.errors import DataError
from karat.words.specs import Spec


class LabelOptions(Spec):
    """The names, in the order of their ids; found in the data when left open."""

    names: tuple[str, ...] = ()


@codecs.add("label")
class LabelCodec:
    """A name out of a fixed list."""

    kind: ClassVar[str] = "label"
    extension: ClassVar[str] = ".txt"
    media_type: ClassVar[str] = "text/plain"

    def __init__(self, options: LabelOptions) -> None:
        self.names = options.names
        self.space = Space(vocab=len(self.names))
        self._ids = {name: index for index, name in enumerate(self.names)}

    @classmethod
    def fit(cls, options: dict[str, Any], sources: Iterable[str]) -> Self:
        asked = LabelOptions.from_values(options)
        names = asked.names or tuple(sorted(set(sources)))
        if not names:
            raise DataError(
                "No sample has a label.", repair="Import the data with class folders or a label column, or train without labels."
            )
        return cls(LabelOptions(names=names))

    def encode(self, source: str) -> np.ndarray:
        if source not in self._ids:
            near = difflib.get_close_matches(source, self.names, n=1)
            shown = ", ".join(self.names[:12]) + (" …" if len(self.names) > 12 else "")
            raise DataError(
                f"The label {source!r} was never seen in training.", repair=f"Did you mean {near[0]!r}?" if near else f"Known are: {shown}."
            )
        return np.array(self._ids[source], np.int32)

    def value(self, packed: Tensor) -> Tensor:
        return packed.long()

    def decode(self, value: Tensor) -> str:
        return self.names[int(value)]

    def write(self, media: str) -> bytes:
        return media.encode()

    def state(self) -> dict[str, Any]:
        return {"names": list(self.names)}

    @classmethod
    def load(cls, state: dict[str, Any]) -> Self:
        return cls(LabelOptions.from_values(state))
