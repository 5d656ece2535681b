"""The crew: a server's worker processes, started again when they die, asked to give their jobs back when the server ends."""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import Process
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

SHORTEST, LONGEST = 0.5, 30.0
"""Seconds before a worker that died is started again: doubled each time it dies young."""
YOUNG = 60.0


@dataclass
class Crew:
    """Some worker processes on one store, each with so many threads and so many bytes for weights."""

    store: Path
    count: int
    threads: int
    memory: int
    grace: float = 20.0
    running: dict[int, Process] = field(default_factory=dict)
    restarts: int = 0

    def start(self) -> None:
        self._ending = False
        self._keeping = [asyncio.create_task(self._keep(place)) for place in range(self.count)]

    async def close(self) -> None:
        """Ask all workers to end, and end those that do not in time; what they held waits again."""
        self._ending = True
        processes = list(self.running.values())
        for process in processes:
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
        waiting = [asyncio.create_task(process.wait()) for process in processes]
        if waiting:
            await asyncio.wait(waiting, timeout=self.grace)
        for process in processes:
            if process.returncode is None:
                with suppress(ProcessLookupError):
                    process.kill()
        for task in self._keeping:
            task.cancel()
        await asyncio.gather(*self._keeping, *waiting, return_exceptions=True)

    async def _keep(self, place: int) -> None:
        """Keep one worker running."""
        pause = SHORTEST
        while not self._ending:
            began = asyncio.get_running_loop().time()
            process = await asyncio.create_subprocess_exec(*self._command(), env=self._environment())
            self.running[place] = process
            try:
                await process.wait()
            finally:
                self.running.pop(place, None)
            if self._ending:
                return
            self.restarts += 1
            lived = asyncio.get_running_loop().time() - began
            pause = SHORTEST if lived > YOUNG else min(LONGEST, pause * 2)
            await asyncio.sleep(pause)

    def _command(self) -> list[str]:
        """Give the command of a worker that ends when this process does."""
        options = ["worker", "--memory", str(self.memory >> 20), "--parent", str(os.getpid())]
        return [sys.executable, "-m", "karat.faces.cli", "--store", str(self.store), *options]

    def _environment(self) -> dict[str, str]:
        threads = str(self.threads)
        return {**os.environ, "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
