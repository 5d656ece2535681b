"""Numbers: a few measurements by name ↔ channels in [-1, 1], by the quantiles seen in training, so that outliers crowd nothing out."""

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Self

import numpy as np
from pydantic import Field
from torch import Tensor

from karat.values.codecs.codec import codecs
from karat.values.spaces import Space
from karat.words.errors import DataError
from karat.words.specs import Spec


class NumbersOptions(Spec):
    """The names of the numbers and, once fitted, the values at evenly spaced quantiles of each."""

    names: tuple[str, ...] = ()
    quantiles: dict[str, tuple[float, ...]] = {}
    points: int = Field(33, ge=2)


@codecs.add("numbers")
class NumbersCodec:
    """Measurements on the scale of their own distribution."""

    kind: ClassVar[str] = "numbers"
    extension: ClassVar[str] = ".json"
    media_type: ClassVar[str] = "application/json"

    def __init__(self, options: NumbersOptions) -> None:
        self.options = options
        self.space = Space(channels=len(options.names))

    @classmethod
    def fit(cls, options: dict[str, Any], sources: Iterable[Mapping[str, float]]) -> Self:
        asked = NumbersOptions.from_values(options)
        rows = [{name: number for name, number in source.items() if math.isfinite(number)} for source in sources]
        names = asked.names or tuple(sorted({name for row in rows for name in row}))
        if not names:
            raise DataError("No sample has numbers.", repair="Import the data with number columns, or train without numbers.")
        quantiles = {}
        for name in names:
            column = [row[name] for row in rows if name in row]
            if not column:
                raise DataError(f"No sample has the number {name!r}.", repair="Check the name of the column.")
            points = np.unique(np.quantile(column, np.linspace(0, 1, asked.points)))
            quantiles[name] = tuple(map(float, points)) if len(points) > 1 else (float(points[0]) - 0.5, float(points[0]) + 0.5)
        return cls(asked.changed(names=names, quantiles=quantiles))

    def encode(self, source: Mapping[str, float]) -> np.ndarray:
        missing = [name for name in self.options.names if not math.isfinite(source.get(name, math.nan))]
        if missing:
            raise DataError(f"The number {missing[0]!r} is missing or infinite.", repair=f"Give each of: {', '.join(self.options.names)}.")
        return np.array([self._scaled(name, source[name]) for name in self.options.names], np.float32)

    def value(self, packed: Tensor) -> Tensor:
        return packed.float()

    def decode(self, value: Tensor) -> dict[str, float]:
        return {name: self._unscaled(name, float(number)) for name, number in zip(self.options.names, value, strict=True)}

    def write(self, media: dict[str, float]) -> bytes:
        return json.dumps(media).encode()

    def state(self) -> dict[str, Any]:
        return self.options.model_dump(mode="json")

    @classmethod
    def load(cls, state: dict[str, Any]) -> Self:
        return cls(NumbersOptions.from_values(state))

    def _scaled(self, name: str, number: float) -> float:
        points = self.options.quantiles[name]
        return float(np.interp(number, points, np.linspace(-1, 1, len(points))))

    def _unscaled(self, name: str, scaled: float) -> float:
        points = self.options.quantiles[name]
        return float(np.interp(scaled, np.linspace(-1, 1, len(points)), points))
