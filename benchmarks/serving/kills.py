"""Kills: servers and workers die by kill -9 while jobs come in and are done; nothing that was accepted may be lost, nothing done twice.

    python benchmarks/serving/kills.py --kills 200

One worker belongs to the server, two are started apart; each dies while it holds jobs, and is started again at once. Clients ask until they
are told that their job was accepted, each time with the same idempotency key, and every job makes two pictures from seeds of its own.
"""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from http.client import HTTPException
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil
from load import Ask
from recording import asked
from releases import pictures, put
from servers import Server, end, free_port, keys, payload, start_karat

from karat.store.queue import ENDED, Job
from karat.store.store import Store

CLIENTS = 6
EACH = 2
WAITING = 24
"""Clients hold back while so many jobs wait, so that the end does not take long."""


def main() -> None:
    """Kill so many times, then let what was accepted be done and count."""
    options, results = asked("kills", __doc__, kills=20)
    with TemporaryDirectory() as folder:
        store = Path(folder)
        put(store, pictures(size=8, width=16), "pictures:live")
        trial = Trial(store)
        began = time.monotonic()
        clients = [threading.Thread(target=trial.ask, args=(number,), daemon=True) for number in range(CLIENTS)]
        for client in clients:
            client.start()
        victims = Counter(trial.kill() for _ in range(options.kills))
        trial.asking = False
        for client in clients:
            client.join()
        jobs = trial.settled()
        trial.end()
        victims_of = {"servers killed": victims["server"], "workers killed": victims["worker"], "seconds": time.monotonic() - began}
        results.add("karat", f"{options.kills} kills", victims_of | counted(Store.open(store), jobs, trial.accepted))


def counted(store: Store, jobs: list[Job], accepted: dict[str, str]) -> dict[str, int]:
    """Count what was lost and what was doubled."""
    known, lists = {job.id: job for job in jobs}, [job.result["assets"] for job in jobs if job.state == "done"]
    made = [each["asset"] for assets in lists for each in assets]
    states = Counter(job.state for job in jobs)
    return {
        "jobs accepted": len(accepted),
        "lost": sum(id not in known or known[id].state not in ENDED for id in accepted.values()),
        "done": states["done"],
        "given up": states["failed"],
        "jobs doubled": len(jobs) - len(accepted),
        "begun again": sum(job.attempt > 1 for job in jobs),
        "assets missing": EACH * len(lists) - sum(store.has(store.get(asset).made or "") for asset in made),
        "assets doubled": len(made) - len(set(made)),
        "assets of no job": len({record.id for record in store.find("asset", limit=1_000_000)} - set(made)),
    }


class Trial:
    """A server and workers that are killed and started again."""

    def __init__(self, store: Path) -> None:
        self.folder, self.store, self.chance = store, Store.open(store), random.Random(0)
        (key,) = keys(store)
        spec = {"release": "pictures:live", "request": {"count": EACH, "seed": "{n}", "sampling": {"steps": 8}}}
        self.request = Ask(path="/api/jobs", key=key, body=payload(kind="generate", spec=spec), once="job {n}")
        self.port, self.asking, self.accepted = free_port(), True, dict[str, str]()
        self.server = self._server()
        self.workers = [self._worker(), self._worker()]

    def ask(self, client: int) -> None:
        """Have one job accepted after the other."""
        number = client
        while self.asking:
            try:
                status, body = self.server.ask(self.request, number)
            except (OSError, HTTPException, ValueError):
                time.sleep(0.05)
                continue
            if status == 202:
                self.accepted[str(number)] = body["job"]["id"]
                number += CLIENTS
                while self.asking and sum(self.store.queue.waiting().values()) > WAITING:
                    time.sleep(0.05)
            elif status not in (429, 503):
                raise RuntimeError(f"A job was refused: {status} {body}")

    def kill(self) -> str:
        """Kill the server, or a worker that holds jobs, and start another in its place; give which it was."""
        time.sleep(self.chance.uniform(0.5, 1.5))
        if self.chance.random() < 0.25:
            self.server.process.kill()
            self.server.process.wait()
            self.server = self._server()
            return "server"
        while not (holding := self._holding()):
            time.sleep(0.02)
        victim = self.chance.choice(holding)
        victim.send_signal(signal.SIGKILL)
        for place, worker in enumerate(self.workers):
            if worker.pid == victim.pid:
                worker.wait()
                self.workers[place] = self._worker()
        return "worker"

    def settled(self) -> list[Job]:
        """Wait until all jobs have ended, and give them."""
        waited = time.monotonic() + 300
        while True:
            jobs = self.store.queue.latest(limit=1_000_000)
            if all(job.state in ENDED for job in jobs) or time.monotonic() > waited:
                return jobs
            time.sleep(0.5)

    def end(self) -> None:
        for process in (self.server.process, *self.workers):
            end(process)

    def _holding(self) -> list[psutil.Process]:
        """Give the workers that hold jobs now; a worker's name says which process it is."""
        names = {job.worker for job in self.store.queue.latest(state="running") if job.worker}
        alive = []
        for name in names:
            process = int(name.split()[-2])
            if psutil.pid_exists(process) and psutil.Process(process).status() != psutil.STATUS_ZOMBIE:
                alive.append(psutil.Process(process))
        return alive

    def _server(self) -> Server:
        return start_karat(self.folder, "--workers", "1", port=self.port)

    def _worker(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "karat.faces.cli", "--store", str(self.folder), "worker"]
        with (self.folder / "server.log").open("ab") as file:
            return subprocess.Popen(command, stdout=file, stderr=file, env={**os.environ, "OMP_NUM_THREADS": "1"})


if __name__ == "__main__":
    main()
