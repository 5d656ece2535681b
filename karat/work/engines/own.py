"""Karat's own engine: the model itself, in torch."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from karat.learning.models import Model
from karat.values.given import Given
from karat.work.engines.engine import until_end
from karat.work.export.language import Precision

TOGETHER = 16
"""Rows that are computed together, at most."""


class OwnEngine:
    """The model as it is. Prompts of one length are written on together."""

    name = "karat"
    precision: Precision = "float32"

    def __init__(self, model: Model, ends: Sequence[int]) -> None:
        self.model, self.ends = model, ends
        self._family: Any = model.family

    def write(self, prompts: Sequence[Sequence[int]], most: int) -> list[list[int]]:
        written: list[list[int]] = [[] for _ in prompts]
        for places in _by_length(prompts):
            ids = torch.tensor([list(prompts[place]) for place in places], dtype=torch.long, device=self.model.device)
            for place, row in zip(places, self._greedy(ids, most).tolist(), strict=True):
                written[place] = until_end(row, self.ends)
        return written

    def nats(self, rows: Sequence[Sequence[int]]) -> list[np.ndarray]:
        found: list[np.ndarray] = [np.empty(0)] * len(rows)
        for places in _by_length(rows):
            ids = torch.tensor([list(rows[place]) for place in places], dtype=torch.long, device=self.model.device)
            with torch.inference_mode():
                errors = self._family.errors(ids, Given()).double().cpu().numpy()
            for place, row in zip(places, errors, strict=True):
                found[place] = row
        return found

    @torch.inference_mode()
    def _greedy(self, ids_BN: torch.Tensor, most: int) -> torch.Tensor:
        """Give the likeliest ids (B, at most `most`) after prompts of one length, until all have ended."""
        net = self._family.net
        caches, at = net.caches(), ids_BN.shape[1] + 1
        x_BND = torch.cat([net.opening(Given(), len(ids_BN)), *(net.embed(ids_BN[:, n], n + 1) for n in range(at - 1))], 1)
        logits_BV = net.step(x_BND, 0, caches)
        made = [logits_BV.argmax(-1)]
        ended = torch.isin(made[-1], torch.tensor(self.ends, device=ids_BN.device))
        while len(made) < most and not bool(ended.all()):
            logits_BV = net.step(net.embed(made[-1], at), at, caches)
            at += 1
            made.append(logits_BV.argmax(-1))
            ended |= torch.isin(made[-1], torch.tensor(self.ends, device=ids_BN.device))
        return torch.stack(made, 1)


def _by_length(rows: Sequence[Sequence[int]]) -> Iterator[list[int]]:
    """Give the places of rows that are equally long, some at a time."""
    lengths: dict[int, list[int]] = {}
    for place, row in enumerate(rows):
        lengths.setdefault(len(row), []).append(place)
    for places in lengths.values():
        yield from (places[start : start + TOGETHER] for start in range(0, len(places), TOGETHER))
