"""Karat's own engine: the model itself, stepped by the decoder that all writing goes through."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from karat.learning.models import Model
from karat.learning.nets.decoding import CausalDecoder
from karat.values.given import Given
from karat.work.engines.engine import until_end
from karat.work.export.language import Precision


class OwnEngine:
    """The model as it is."""

    name = "karat"
    precision: Precision = "float32"

    def __init__(self, model: Model, ends: Sequence[int]) -> None:
        family: Any = model.family
        self.device, self.ends = model.device, ends
        self._errors, self._decoder = family.errors, CausalDecoder(family.net)

    def write(self, prompts: Sequence[Sequence[int]], most: int) -> list[list[int]]:
        rows = self._decoder.rows
        return [ids for start in range(0, len(prompts), rows) for ids in self._write(prompts[start : start + rows], most)]

    def nats(self, rows: Sequence[Sequence[int]]) -> list[np.ndarray]:
        with torch.inference_mode():
            return [self._errors(torch.tensor([row], device=self.device), Given())[0].double().cpu().numpy() for row in map(list, rows)]

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
