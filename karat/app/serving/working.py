"""Working: a worker as a process of its own, which ends between two steps when it is asked to or when its server is gone."""

import os
import secrets
import signal
import socket
from types import FrameType

from karat.app.serving.worker import Worker
from karat.store.store import Store


def work(store: Store, *, memory: int, parent: int | None = None) -> None:
    """Do jobs until a signal to end, or until the process `parent` is no longer this one's parent."""
    asked = False

    def ask(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        asked = True

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, ask)
    name = f"{socket.gethostname()[:30]} {os.getpid()} {secrets.token_hex(4)}"
    Worker(store, name=name, memory=memory, stop=lambda: asked or (parent is not None and os.getppid() != parent)).run()
