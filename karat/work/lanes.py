"""Lanes: pieces of a batch that are learnt from side by side, each in a thread of its own.

On small nets the threads within an operation wait for each other more than they work, while two halves of a batch have nothing to wait for.
What comes out depends on the pieces alone, never on how many of them were under way at once.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

Part = TypeVar("Part")
Done = TypeVar("Done")


class Lanes:
    """Does `count` pieces of work at once on the CPU, as far as torch has threads for them; elsewhere one after the other."""

    def __init__(self, count: int, device: torch.device) -> None:
        self.count, self.device = count, device
        self._pool: ThreadPoolExecutor | None = None
        self._share = 0

    def each(self, work: Callable[[Part], Done], parts: Sequence[Part]) -> list[Done]:
        """Give what the work comes to for each part, in their order."""
        threads = torch.get_num_threads()
        if self.device.type != "cpu" or min(threads, self.count, len(parts)) == 1:
            return [work(part) for part in parts]
        torch.set_num_threads(max(1, threads // self.count))
        try:
            return list(self._threads().map(work, parts))
        finally:
            torch.set_num_threads(threads)

    def _threads(self) -> ThreadPoolExecutor:
        """Give threads whose operations take the share of threads that is set now: each thread has a setting of its own."""
        share = torch.get_num_threads()
        if self._pool is None or share != self._share:
            self._pool, self._share = ThreadPoolExecutor(self.count, "lane", torch.set_num_threads, (share,)), share
        return self._pool
