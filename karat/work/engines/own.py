"""Karat's own engine: the decoder that all writing goes through, in one of its precisions."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from karat.learning.models import Model
from karat.learning.nets.decoding import CausalDecoder
from karat.values.given import Given
from karat.work.engines.engine import until_end
from karat.work.export.language import Precision


class OwnEngine:
    """A model as its decoder writes with it."""

    draws = True

    def __init__(self, model: Model, ends: Sequence[int], precision: Precision = "float32") -> None:
        family: Any = model.family
        self.name, self.precision, self.ends = self.named(precision), precision, ends
        self._decoder = CausalDecoder(family.net, precision)

    @staticmethod
    def named(precision: Precision) -> str:
        return "karat" if precision == "float32" else f"karat {precision}"

    def write(self, prompts: Sequence[Sequence[int]], most: int) -> list[list[int]]:
        rows = self._decoder.rows
        return [ids for start in range(0, len(prompts), rows) for ids in self._write(prompts[start : start + rows], most)]

    def nats(self, rows: Sequence[Sequence[int]]) -> list[np.ndarray]:
        return [self._decoder.costs(row).double().cpu().numpy() for row in rows]

    def _write(self, prompts: Sequence[Sequence[int]], most: int) -> list[list[int]]:
        """Write as many texts as the decoder has rows; those that have ended leave it."""
        made = [[int(self._decoder.begin(row, prompt, Given()).argmax())] for row, prompt in enumerate(prompts)]
        going = list(range(len(prompts)))
        while True:
            kept = [row for row, place in enumerate(going) if made[place][-1] not in self.ends and len(made[place]) < most]
            if len(kept) < len(going):
                self._decoder.arrange(kept)
                going = [going[row] for row in kept]
            if not going:
                return [until_end(ids, self.ends) for ids in made]
            likeliest = self._decoder.step([made[place][-1] for place in going]).argmax(-1).tolist()
            for place, id in zip(going, likeliest, strict=True):
                made[place].append(id)
