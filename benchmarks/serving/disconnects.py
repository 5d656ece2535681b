"""Disconnects: how many steps are still begun after a client went away, for texts and pictures, streamed and waited for.

    python benchmarks/serving/disconnects.py

Each try closes the connection at a random moment while the request is computed. A worker notes when each of its steps begins and ends.
"""

import random
import socket
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from load import Ask, quantile
from recording import asked
from releases import pictures, put, texts
from servers import Server, end, karat, keys, payload, worker_program

from karat.store.queue import ENDED
from karat.store.store import Store


def main() -> None:
    """Go away so many times from each kind of request."""
    options, results = asked("disconnects", __doc__, tries=20)
    with TemporaryDirectory() as folder:
        store, notes = Path(folder), Path(folder) / "steps.txt"
        put(store, texts(), "texts:live")
        put(store, pictures(), "pictures:live")
        (key,) = keys(store)
        text = {"model": "texts:live", "prompt": "hello", "max_tokens": 230}
        picture = {"model": "pictures:live", "prompt": "star", "steps": 100}
        kinds = {
            "text, streamed": Ask(path="/v1/completions", key=key, body=payload(**text, stream=True)),
            "text, waited for": Ask(path="/v1/completions", key=key, body=payload(**text)),
            "picture, streamed": Ask(path="/v1/images/generations", key=key, body=payload(**picture, stream=True, partial_images=1)),
            "picture, waited for": Ask(path="/v1/images/generations", key=key, body=payload(**picture)),
        }
        with karat(store, "--workers", "0") as server:
            worker = worker_program(store, Path(__file__).parent / "workers" / "noting.py", str(notes))
            try:
                trial = Trial(server, Store.open(store), notes)
                for data, ask in kinds.items():
                    tries = [trial.go_away(ask) for _ in range(options.tries + 1)][1:]  # the first one loads the model
                    steps, late, took = zip(*tries, strict=True)
                    figures = {"steps begun after, median": quantile(steps, 0.5), "most": max(steps), "tries": len(steps)}
                    times = {"ms to the last step's end, median": 1000 * quantile(late, 0.5), "longest": 1000 * max(late)}
                    results.add("karat", data, figures | times | {"ms of a step": 1000 * quantile(took, 0.5)})
            finally:
                end(worker)


class Trial:
    """Requests that are left."""

    def __init__(self, server: Server, store: Store, notes: Path) -> None:
        self.server, self.store, self.notes, self.chance = server, store, notes, random.Random(0)

    def go_away(self, ask: Ask) -> tuple[int, float, float]:
        """Ask and go away. Give the steps that began afterwards, the seconds until the last one ended, and what a step took."""
        before = len(self._steps())
        with socket.create_connection((self.server.host, self.server.port)) as connection:
            connection.sendall(ask.written(0))
            while len(self._steps()) < before + 5:
                time.sleep(0.005)
            time.sleep(self.chance.uniform(0, 0.2))
        left = time.monotonic()
        while (job := self.store.queue.latest(limit=1)[0]).state not in ENDED:
            time.sleep(0.01)
        if job.state != "cancelled":
            raise RuntimeError(f"The job ended before it was left: {job.state}")
        time.sleep(0.2)
        steps = self._steps()[before:]
        took = sorted(ended - began for began, ended in steps)[len(steps) // 2]
        return sum(began > left for began, _ in steps), max(0.0, steps[-1][1] - left), took

    def _steps(self) -> list[tuple[float, float]]:
        lines = self.notes.read_text().splitlines() if self.notes.exists() else []
        return [(float(began), float(ended)) for began, ended in (line.split() for line in lines)]


if __name__ == "__main__":
    main()
