"""How many threads a step takes: as many as were fastest of late. Whatever else runs decides that, and it comes and goes."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

AGAIN = 64
"""Another choice is tried once in so many steps."""


class Pace:
    """Chooses among numbers of threads by what steps of so many rows took with each."""

    def __init__(self, choices: Sequence[int]) -> None:
        self.choices, self.steps = tuple(choices), 0
        self._took: dict[int, dict[int, float]] = {}

    def choice(self, rows: int) -> int:
        """Give how many threads a step of so many rows shall take."""
        took = self._took.setdefault(rows, {})
        self.steps += 1
        untried = [each for each in self.choices if each not in took]
        if untried:
            return untried[0]
        if self.steps % AGAIN == 0:
            return self.choices[self.steps // AGAIN % len(self.choices)]
        return min(took, key=lambda each: took[each])

    def tell(self, rows: int, choice: int, seconds: float) -> None:
        """Take in what a step took. What came before counts half, so one that was held up once is soon forgiven."""
        took = self._took.setdefault(rows, {})
        took[choice] = (took.get(choice, seconds) + seconds) / 2

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
