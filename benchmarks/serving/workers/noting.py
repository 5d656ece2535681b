"""A worker that notes when each step begins and ends, on the clock that all processes share.

python noting.py STORE NOTES
"""

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from karat.app.chain import open_store
from karat.app.serving import drawing
from karat.app.serving.working import work
from karat.work import writing


def main(store: str, notes: str) -> None:
    """Work, with the steps of pictures and texts noted."""
    make_values, step = drawing.make_values, writing.Desk._step

    def note(began: float) -> None:
        with Path(notes).open("a") as file:
            file.write(f"{began} {time.monotonic()}\n")

    def making(*words: Any) -> Iterator[Any]:
        began = time.monotonic()
        for each in make_values(*words):
            note(began)
            yield each
            began = time.monotonic()

    def stepping(desk: writing.Desk, ids: list[int]) -> None:
        began = time.monotonic()
        step(desk, ids)
        note(began)

    drawing.make_values = making
    writing.Desk._step = stepping  # type: ignore[method-assign]
    work(open_store(Path(store)), memory=1 << 30)


if __name__ == "__main__":
    main(*sys.argv[1:])
