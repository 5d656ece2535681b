"""How many threads a step takes: as many as were fastest of late. Whatever else runs decides that, and it comes and goes."""

import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

TRIES = 4
"""Steps of which the fastest says how long one takes: the others were held up."""
AGAIN = 128
"""After so many steps the other choices are tried anew."""
HOPELESS = 3
"""A choice that takes so many times as long is tried once only."""


class Pace:
    """Chooses among numbers of threads by what steps of so many rows took with each."""

    def __init__(self, choices: Sequence[int]) -> None:
        self.choices, self.steps = tuple(choices), 0
        self._took: dict[int, dict[int, deque[float]]] = {}

    def choice(self, rows: int) -> int:
        """Give how many threads a step of so many rows shall take."""
        took = self._lately(rows)
        untried = [choice for choice, seconds in took.items() if len(seconds) < TRIES]
        return untried[0] if untried else min(took, key=lambda choice: min(took[choice]))

    def tell(self, rows: int, choice: int, seconds: float) -> None:
        """Take in what a step took."""
        took = self._lately(rows)
        others = [min(each) for other, each in took.items() if each and other != choice]
        is_hopeless = len(took[choice]) < TRIES and bool(others) and seconds > HOPELESS * min(others)
        took[choice].extend([seconds] * (TRIES if is_hopeless else 1))
        self.steps += 1
        if self.steps % AGAIN == 0:
            for other in set(self.choices) - {choice}:
                took[other].clear()

    def _lately(self, rows: int) -> dict[int, deque[float]]:
        """Give what the last steps of so many rows took, by choice."""
        return self._took.setdefault(rows, {choice: deque(maxlen=TRIES) for choice in self.choices})

    @contextmanager
    def step(self, rows: int) -> Iterator[None]:
        """Compute a step of so many rows."""
        if len(self.choices) == 1:
            with threads(self.choices[0]):
                yield
            return
        choice, began = self.choice(rows), time.perf_counter()
        with threads(choice):
            yield
        self.tell(rows, choice, time.perf_counter() - began)


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Compute with so many threads, then with as many as before."""
    before = torch.get_num_threads()
    if count == before:
        yield
        return
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
