"""A fair sample of a stream (Vitter 1985, algorithm R): flat memory whatever its length."""

from collections.abc import Iterable
from typing import Generic, TypeVar

import numpy as np

T = TypeVar("T")


class Reservoir(Generic[T]):
    """Keeps `size` of all things that were offered, each with the same chance."""

    def __init__(self, size: int, seed: int) -> None:
        self.size, self.seen, self.kept = size, 0, list[T]()
        self.random = np.random.default_rng(seed)

    def offer(self, things: Iterable[T]) -> None:
        for thing in things:
            self.seen += 1
            if len(self.kept) < self.size:
                self.kept.append(thing)
            elif (place := int(self.random.integers(self.seen))) < self.size:
                self.kept[place] = thing
