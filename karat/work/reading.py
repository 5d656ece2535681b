"""Reading: what a model pays, in nats, for texts that are there. Measuring and explaining stand on it."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from karat.learning.models import Model
from karat.material.metrics.texts.likelihood import Cost, learnt_bytes, windows_of
from karat.values.given import Given
from karat.values.passages import Passage
from karat.values.spaces import Space

BATCH = 16
DRAWS = 16
"""Orders in which a model that fills gaps is asked for its bound."""

Written = tuple[NDArray[np.int32], NDArray[np.bool_]]
"""Ids of a passage (n,), and which of them are to be learnt."""
Nats = Callable[[Tensor], Tensor]
"""Gives the nats (B, N) that each id of some rows (B, N) costs after those before it; rows may be shorter than the model's."""


class TextLike(Protocol):
    """What codecs of texts have in common."""

    space: Space
    length: int

    def written(self, source: str | Passage) -> Written: ...

    def prompt(self, source: str | Passage) -> list[int]: ...

    def ids(self, text: str) -> list[int]: ...

    def text(self, ids: list[int]) -> str: ...


@runtime_checkable
class Foretelling(Protocol):
    """A family that says what each id costs."""

    def errors(self, x: Tensor, given: Given) -> Tensor: ...


@runtime_checkable
class Bounding(Protocol):
    """A family that knows a bound of what a row costs, no more."""

    def bound(self, x: Tensor, given: Given, generator: torch.Generator, *, draws: int) -> Tensor: ...


def nats_of(model: Model) -> Nats | None:
    """Give the function by which a model says what each id costs; None for families that cannot."""
    family: Any = model.family
    if not isinstance(family, Foretelling):
        return None
    length = model.space.positions

    def nats(ids_BN: Tensor) -> Tensor:
        with torch.inference_mode():
            short = length - ids_BN.shape[1]
            rows = torch.nn.functional.pad(ids_BN, (0, short)).split(BATCH)
            found = [family.errors(row.to(model.device), _nothing(model, len(row))) for row in rows]
            return torch.cat(found).cpu()[:, : ids_BN.shape[1]]

    return nats


def cost_of(model: Model, codec: TextLike, passages: Sequence[Passage], *, given: Given | None = None, most: int = 4000) -> Cost | None:
    """Give what a model pays for the first passages, in `most` windows half a row apart; None where its family cannot say.

    `given` holds a row of conditions for each passage.
    """
    windows = windows_of([codec.written(passage) for passage in passages], codec.length, stride=max(1, codec.length // 2)).first(most)
    family: Any = model.family
    paid = []
    for place in torch.arange(len(windows.ids_WN)).split(BATCH):
        ids, counted = windows.ids_WN[place].to(model.device), windows.counted_WN[place]
        rows = given.rows(windows.passage_W[place]) if given is not None and given.values else Given()
        rows = Given(rows.values, rows.keep, counted.float()).to(model.device)
        with torch.inference_mode():
            if isinstance(family, Foretelling):
                paid.append((family.errors(ids, rows).cpu().double() * counted).sum(1))
            elif isinstance(family, Bounding):
                # What fills up a row says how long the text is: a family that sees the whole row must pay for it as well.
                rows = replace(rows, weight=_to_the_end(counted).float().to(model.device))
                paid.append(family.bound(ids, rows, torch.Generator().manual_seed(0), draws=DRAWS).cpu().double())
            else:
                return None
    return Cost.of(torch.cat(paid) if paid else torch.zeros(0).double(), windows, [learnt_bytes(passage) for passage in passages])


def gone_on(codec: TextLike, prompt: Passage, text: str) -> tuple[list[int], list[int]]:
    """Give the ids of a prompt and of what follows it, the prompt's end alone where both are longer than a row."""
    after = codec.ids(text)[: codec.length]
    before = codec.prompt(prompt)
    return before[max(0, len(before) + len(after) - codec.length) :], after


def _to_the_end(counted_WN: Tensor) -> Tensor:
    """Count in each row what stands behind the last counted id as well."""
    return counted_WN | (counted_WN.flip(1).cumsum(1).flip(1) == 0)


def _nothing(model: Model, count: int) -> Given:
    """Leave out every condition that the model knows."""
    generator = torch.Generator().manual_seed(0)
    return Given.of(**{name: space.random(count, generator) for name, space in model.spec.given.items()}).nothing().to(model.device)
