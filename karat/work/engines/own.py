"""Karat's own engine: the model itself, in torch."""

import copy
from collections.abc import Iterator, Sequence
from functools import partial
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
    """The model itself, or a copy with matrices in bfloat16. Prompts of one length are written on together."""

    def __init__(self, model: Model, ends: Sequence[int], *, precision: Precision = "float32") -> None:
        self.name, self.precision, self.ends = self.named(precision), precision, ends
        self.device = model.device
        rounds = precision == "bfloat16"
        self._family: Any = (_rounded(model) if rounds else model).family
        self._computing = partial(torch.autocast, self.device.type, torch.bfloat16, enabled=rounds)

    @staticmethod
    def named(precision: Precision) -> str:
        return "karat" if precision == "float32" else f"karat {precision}"

    def write(self, prompts: Sequence[Sequence[int]], most: int) -> list[list[int]]:
        written: list[list[int]] = [[] for _ in prompts]
        for places in _by_length(prompts):
            ids = torch.tensor([list(prompts[place]) for place in places], dtype=torch.long, device=self.device)
            with torch.inference_mode(), self._computing():
                made = self._greedy(ids, most).tolist()
            for place, row in zip(places, made, strict=True):
                written[place] = until_end(row, self.ends)
        return written

    def nats(self, rows: Sequence[Sequence[int]]) -> list[np.ndarray]:
        found: list[np.ndarray] = [np.empty(0)] * len(rows)
        for places in _by_length(rows):
            ids = torch.tensor([list(rows[place]) for place in places], dtype=torch.long, device=self.device)
            with torch.inference_mode(), self._computing():
                errors = self._family.errors(ids, Given()).double().cpu().numpy()
            for place, row in zip(places, errors, strict=True):
                found[place] = row
        return found

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


def _rounded(model: Model) -> Model:
    """Give a copy of a model whose matrices are kept in bfloat16; norms stay as they are."""
    rounded = copy.deepcopy(model)
    for parameter in rounded.parameters():
        if parameter.ndim > 1:
            parameter.data = parameter.data.bfloat16()
    return rounded


def _by_length(rows: Sequence[Sequence[int]]) -> Iterator[list[int]]:
    """Give the places of rows that are equally long, some at a time."""
    lengths: dict[int, list[int]] = {}
    for place, row in enumerate(rows):
        lengths.setdefault(len(row), []).append(place)
    for places in lengths.values():
        yield from (places[start : start + TOGETHER] for start in range(0, len(places), TOGETHER))
