"""The wire between a server and its workers: a Unix socket that carries what is worth seeing only now.

Progress, previews and tokens go from the workers to the server; "look again" and "stop this job" go back. Nothing on it is needed for a
job to be completed, so a broken wire loses nothing: workers then look at the queue by themselves, and say what they did there.
"""

import asyncio
import json
import os
import socket
import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from karat.words.specs import digest_of

MOST_BYTES = 32 << 20


def wire_place(folder: Path) -> Path:
    """Give the socket of the store in a folder: short, whatever the folder is called, and nobody else's."""
    return Path(tempfile.gettempdir()) / f"karat-{os.getuid()}" / f"{digest_of(str(folder.resolve()))[:16]}.sock"


class Wire:
    """A worker's end. `woken` is set when there may be new jobs; `stopped` holds the jobs that the server wants to end."""

    def __init__(self, place: Path) -> None:
        self.woken, self.stopped = threading.Event(), set[str]()
        self._place, self._lock = place, threading.Lock()
        self._socket: socket.socket | None = None
        self._connect()

    def send(self, job: str, event: dict[str, Any]) -> None:
        """Tell the server something about a job, if there is a server."""
        self._connect()
        with self._lock, suppress(OSError):
            if self._socket is not None:
                self._socket.sendall(json.dumps({"job": job, "event": event}, ensure_ascii=False).encode() + b"\n")
                return
        self._socket = None

    def _connect(self) -> None:
        with self._lock:
            if self._socket is not None or not self._place.exists():
                return
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                connection.connect(str(self._place))
            except OSError:
                connection.close()
                return
            self._socket = connection
        threading.Thread(target=self._listen, args=(connection,), daemon=True).start()

    def _listen(self, connection: socket.socket) -> None:
        with suppress(OSError, ValueError), connection.makefile("rb") as lines:
            for line in lines:
                said = json.loads(line)
                if "stop" in said:
                    self.stopped.add(said["stop"])
                self.woken.set()
        with self._lock:
            if self._socket is connection:
                self._socket = None


async def listen(place: Path, heard: Callable[[str, dict[str, Any]], None]) -> "Listener":
    """Open the server's end; `heard` is called with each job's id and event."""
    place.parent.mkdir(mode=0o700, exist_ok=True)
    place.unlink(missing_ok=True)
    listener = Listener(place, heard)
    listener.server = await asyncio.start_unix_server(listener.serve, str(place), limit=MOST_BYTES)
    return listener


class Listener:
    """The server's end of all wires."""

    def __init__(self, place: Path, heard: Callable[[str, dict[str, Any]], None]) -> None:
        self.place, self.heard = place, heard
        self.server: Any = None
        self._writers: set[Any] = set()

    async def serve(self, reader: Any, writer: Any) -> None:
        """Hear one worker until it hangs up."""
        self._writers.add(writer)
        try:
            while line := await reader.readline():
                said = json.loads(line)
                self.heard(said["job"], said["event"])
        except (OSError, ValueError, asyncio.CancelledError):
            pass  # a worker that died in the middle of a line, or the server's own end
        finally:
            self._writers.discard(writer)
            writer.close()

    def tell(self, said: dict[str, Any]) -> None:
        """Tell all workers something."""
        for writer in list(self._writers):
            with suppress(OSError, RuntimeError):
                writer.write(json.dumps(said).encode() + b"\n")

    async def close(self) -> None:
        self.server.close()
        for writer in list(self._writers):
            writer.close()
        self.place.unlink(missing_ok=True)
