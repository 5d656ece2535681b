"""Servers for the benchmarks: Karat's, with workers, and the peers', each a process of its own on a free port of this machine.

Workers compute with one thread, as they do unless they are told otherwise, and so do the peers.
"""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import psutil
from load import Ask, Plan

from karat.app.chain import open_store
from karat.app.keys import Keyring

PEERS = Path(__file__).parents[1] / "peers"
PEER_PYTHON = Path(__file__).parents[1] / ".env-peers" / "bin" / "python"


@dataclass
class Server:
    """A running server; `seconds` is what it took to become ready, `apart` are workers that it did not start."""

    process: subprocess.Popen[bytes]
    port: int
    seconds: float
    host: str = "127.0.0.1"
    apart: list[int] = field(default_factory=list)

    @property
    def resident(self) -> int:
        """The bytes of memory of the server process alone."""
        return resident(self.process.pid)

    def ask(self, ask: Ask, number: int = 0) -> tuple[int, Any]:
        """Send one request and give its status and what it was answered. Raises OSError or HTTPException when the connection breaks."""
        connection = HTTPConnection(self.host, self.port, timeout=60)
        try:
            once = {"idempotency-key": ask.once.replace("{n}", str(number))} if ask.once else {}
            headers = {"authorization": f"Bearer {ask.key}", "content-type": "application/json", **once}
            connection.request(ask.method, ask.path, ask.body.replace("{n}", str(number)), headers)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    def plan(self, asks: Sequence[Ask], seconds: float, **more: Any) -> Plan:
        """Give a plan of load on this server."""
        return Plan(host=self.host, port=self.port, asks=tuple(asks), seconds=seconds, **more)

    def spent(self) -> float:
        """Give the seconds of CPU time that the server and all workers have taken so far."""
        own = psutil.Process(self.process.pid)
        all_of_it = [own, *own.children(recursive=True), *map(psutil.Process, self.apart)]
        return sum(cpu_seconds(each.pid) for each in all_of_it)

    @property
    def workers(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children()


def cpu_seconds(process: int) -> float:
    return float(sum(psutil.Process(process).cpu_times()[:2]))


def resident(process: int) -> int:
    return int(psutil.Process(process).memory_info().rss)


@contextmanager
def karat(store: Path, *options: str, studio: bool = False) -> Iterator[Server]:
    """Run Karat's server on a store with one worker, unless the options say otherwise."""
    server = start_karat(store, *options, studio=studio)
    try:
        yield server
    finally:
        end(server.process)


def start_karat(store: Path, *options: str, studio: bool = False, port: int = 0) -> Server:
    """Start Karat's server, and wait until it is ready."""
    listening = port or free_port()
    words = ["serve", "--port", str(listening), "--studio" if studio else "--no-studio", *options]
    return started([sys.executable, "-m", "karat.faces.cli", "--store", str(store), *words], listening, store, "/health/ready")


@contextmanager
def peer(program: str, log: Path, *words: str) -> Iterator[Server]:
    """Run a peer's server, which answers GET /health when it is ready."""
    port = free_port()
    server = started([str(PEER_PYTHON), str(PEERS / program), "--port", str(port), *words], port, log, "/health")
    try:
        yield server
    finally:
        end(server.process)


def started(command: Sequence[str], port: int, log: Path, ready: str) -> Server:
    """Start a server in a process group of its own, and wait until it says that it is ready. What it prints goes into a file in `log`."""
    began = time.monotonic()
    with (log / "server.log").open("ab") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, start_new_session=True)
    while not answers(port, ready):
        if process.poll() is not None or time.monotonic() - began > 120:
            end(process)
            raise RuntimeError(f"It did not start: {' '.join(command)}\n{(log / 'server.log').read_text()[-2_000:]}")
        time.sleep(0.02)
    return Server(process, port, time.monotonic() - began)


def answers(port: int, path: str) -> bool:
    """Say whether a server answers a path with 200."""
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nhost: karat\r\nconnection: close\r\n\r\n".encode())
        return connection.recv(64).split()[1:2] == [b"200"]
    return False


def end(process: subprocess.Popen[bytes]) -> None:
    """End a server and what it started."""
    below = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(timeout=30)
    for each in [process, *below]:
        with suppress(psutil.NoSuchProcess):
            each.kill()
    process.wait()


def free_port() -> int:
    with socket.socket() as each:
        each.bind(("127.0.0.1", 0))
        return int(each.getsockname()[1])


def keys(store: Path, count: int = 1, *scopes: str) -> list[str]:
    """Make some keys for a store."""
    ring = Keyring(open_store(store))
    return [ring.make(f"benchmark {number}", scopes or ("generate",)).secret for number in range(count)]


def worker_program(server: Server, store: Path, name: str, *words: str) -> subprocess.Popen[bytes]:
    """Start a worker of the benchmarks' own, in which something is measured or changed, for a server that has none."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    with (store / "server.log").open("ab") as file:
        command = [sys.executable, str(Path(__file__).parent / "workers" / name), str(store), *words]
        process = subprocess.Popen(command, stdout=file, stderr=file, env=environment)
    server.apart.append(process.pid)
    return process


def payload(**values: object) -> str:
    """Give a body; the value "{n}" is the number of the request."""
    return json.dumps(values).replace('"{n}"', "{n}")
