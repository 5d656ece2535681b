"""Given: the values under which a model makes others. A label, a sentence, a picture are all just given values.

Each given value may be left out of a sample (its `keep` is False): training leaves them out by chance, so that one model can be asked
with or without them, and guidance can compare the two (Ho & Salimans 2022, arXiv 2207.12598).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Self

import torch
from torch import Tensor


@dataclass(frozen=True)
class Given:
    """Values by name, each (B, *S[, C]) in its own space, and whether each sample keeps each of them: (B,) booleans.

    Of a row of ids it may also say so of each: (B, N) booleans. `weight` (B, *S) says how much each position of what is made counts in the
    loss; None: all alike.
    """

    values: Mapping[str, Tensor] = field(default_factory=dict)
    keep: Mapping[str, Tensor] = field(default_factory=dict)
    weight: Tensor | None = None

    @classmethod
    def of(cls, **values: Tensor) -> Self:
        """Give every value to every sample."""
        return cls(values, {name: torch.ones(len(value), dtype=torch.bool, device=value.device) for name, value in values.items()})

    def dropped(self, chance: float, generator: torch.Generator) -> "Given":
        """Leave each value out of each sample with the given chance, independently."""
        if not chance:
            return self
        keep = {name: kept & _spared(kept.shape, chance, kept, generator) for name, kept in self.keep.items()}
        return Given(self.values, keep, self.weight)

    def hidden(self, chance: float, generator: torch.Generator) -> "Given":
        """Hide each id of given rows of ids with the given chance, so that few texts do not each stand for one sample."""
        if not chance:
            return self
        rows = [name for name, value in self.values.items() if value.ndim > 1 and not value.is_floating_point()]
        hidden = {name: self.keep[name][:, None] & _spared(self.values[name].shape, chance, self.keep[name], generator) for name in rows}
        return Given(self.values, {**self.keep, **hidden}, self.weight)

    def nothing(self) -> "Given":
        """Leave every value out of every sample."""
        return Given(self.values, {name: torch.zeros_like(kept) for name, kept in self.keep.items()}, self.weight)

    def rows(self, index: Tensor | slice) -> "Given":
        """Select samples."""
        return self._each(lambda tensor: tensor[index])

    def joined(self, other: "Given") -> "Given":
        """Put another batch of the same names behind this one."""
        values = {n: torch.cat([v, other.values[n]]) for n, v in self.values.items()}
        weight = None if self.weight is None or other.weight is None else torch.cat([self.weight, other.weight])
        return Given(values, {n: torch.cat([k, other.keep[n]]) for n, k in self.keep.items()}, weight)

    def to(self, device: torch.device | str) -> "Given":
        return self._each(lambda tensor: tensor.to(device))

    def _each(self, change: Callable[[Tensor], Tensor]) -> "Given":
        weight = None if self.weight is None else change(self.weight)
        return Given({n: change(v) for n, v in self.values.items()}, {n: change(k) for n, k in self.keep.items()}, weight)


def _spared(shape: tuple[int, ...], chance: float, like: Tensor, generator: torch.Generator) -> Tensor:
    """Draw booleans that are False with the given chance."""
    return (torch.rand(shape, generator=generator, device=generator.device) >= chance).to(like.device)
