"""Disconnects: how many steps are still begun after a client went away, for texts and pictures, streamed and waited for.

    python benchmarks/serving/disconnects.py

Each try closes the connection at a random moment while the request is computed; one that was done before that does not count. A worker
notes when each of its steps begins and ends.
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
        put(store, texts(width=512, depth=8), "texts:live")
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
            worker = worker_program(server, store, "noting.py", str(notes))
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
        while True:
            began = self.notes.stat().st_size if self.notes.exists() else 0
            with socket.create_connection((self.server.host, self.server.port)) as connection:
                connection.sendall(ask.written(0))
                while len(self._steps(began)) < 3:
                    time.sleep(0.005)
                time.sleep(self.chance.uniform(0, 0.1))
            left = time.monotonic()
            while (job := self.store.queue.latest(limit=1)[0]).state not in ENDED:
                time.sleep(0.01)
            time.sleep(0.2)
            steps = self._steps(began)
            if job.state == "cancelled":
                took = sorted(ended - began for began, ended in steps)[len(steps) // 2]
                return sum(began > left for began, _ in steps), max(0.0, steps[-1][1] - left), took

    def _steps(self, since: int) -> list[tuple[float, float]]:
        """Give when each step began and ended whose note stands behind a place of the file."""
        if not self.notes.exists():
            return []
        with self.notes.open("rb") as file:
            file.seek(since)
            noted = file.read().decode().rpartition("\n")[0].splitlines()
        return [(float(began), float(ended)) for began, ended in (line.split() for line in noted)]


if __name__ == "__main__":
    main()
