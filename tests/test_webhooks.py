"""Webhooks reach who asked, signed, again until they are answered, and never a place inside a network."""

import asyncio
import base64
import hashlib
import hmac
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from karat.app.serving import webhooks
from karat.app.serving.webhooks import Webhooks
from karat.store.queue import Submission
from karat.store.store import Store
from karat.words.errors import SpecError


class Listening(BaseHTTPRequestHandler):
    """Refuses what comes first, takes what comes then."""

    heard: list[tuple[dict[str, str], bytes]] = []

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.heard.append(({name.lower(): value for name, value in self.headers.items()}, body))
        self.send_response(500 if len(self.heard) == 1 else 204)
        self.send_header("location", "http://169.254.169.254/")
        self.end_headers()

    def log_message(self, format: str, *arguments: Any) -> None:
        pass


@pytest.fixture
def listener() -> Iterator[HTTPServer]:
    Listening.heard = []
    server = HTTPServer(("127.0.0.1", 0), Listening)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "store")


def finished(store: Store, address: str) -> str:
    (job,) = store.queue.submit([Submission(kind="draw", owner="ann", spec={}, webhook=address)])
    assert store.queue.untold() == [], "nothing is told before the end"
    (held,) = store.queue.claim("w", kinds=["draw"])
    store.queue.finish(held.claim, result={"assets": []})
    return job.id


def test_an_ending_is_told_until_it_is_heard(store: Store, listener: HTTPServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhooks, "PAUSES", (0.0, 0.0))
    monkeypatch.setattr(webhooks, "LOOK", 0.02)
    hooks = Webhooks(store, ["127.0.0.1"])
    id = finished(store, f"http://127.0.0.1:{listener.server_port}/hook")

    async def tell() -> None:
        hooks.start()
        until = time.monotonic() + 10
        while store.queue.untold() and time.monotonic() < until:
            await asyncio.sleep(0.02)
        await hooks.close()

    asyncio.run(tell())
    assert len(Listening.heard) == 2, "once refused, once taken"
    headers, body = Listening.heard[-1]
    assert json.loads(body)["type"] == "job.done"
    assert json.loads(body)["data"]["id"] == headers["webhook-id"] == id
    secret = base64.b64decode(hooks.secret("ann").removeprefix("whsec_"))
    signed = f"{id}.{headers['webhook-timestamp']}.".encode() + body
    assert headers["webhook-signature"] == "v1," + base64.b64encode(hmac.digest(secret, signed, hashlib.sha256)).decode()
    assert hooks.secret("ann") == Webhooks(store).secret("ann") != hooks.secret("bob")
    assert (store.folder / "webhook.key").stat().st_mode & 0o077 == 0


def test_one_that_never_answers_is_given_up(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhooks, "PAUSES", (0.0,))
    hooks = Webhooks(store, ["127.0.0.1"])
    finished(store, "http://127.0.0.1:9/hook")
    for _ in range(2):
        [(job, tries)] = store.queue.untold()
        asyncio.run(hooks._tell(job, tries))
    assert store.queue.untold() == []


INSIDE = [
    "https://127.0.0.1/",
    "https://localhost/",
    "https://2130706433/",
    "https://0/",
    "https://10.1.2.3:8443/x",
    "https://192.168.0.1/",
    "https://169.254.169.254/latest/meta-data",
    "https://[::1]/",
    "https://[::ffff:10.0.0.1]/",
    "https://[fd00::1]/",
    "https://224.0.0.1/",
    "http://93.184.216.34/",
    "https://ann:secret@93.184.216.34/",
    "file:///etc/passwd",
    "gopher://93.184.216.34/",
    "https://",
    "https://93.184.216.34:99999/",
    "https://93.184.216.34/\n",
    "//93.184.216.34/",
]


@pytest.mark.parametrize("address", INSIDE)
def test_no_webhook_leads_inside(store: Store, address: str) -> None:
    with pytest.raises(SpecError):
        Webhooks(store).check(address)


def test_a_public_address_may_be_told(store: Store) -> None:
    Webhooks(store).check("https://93.184.216.34/hook")


def test_a_name_that_moved_inside_is_not_told(store: Store, listener: HTTPServer) -> None:
    id = finished(store, f"http://127.0.0.1:{listener.server_port}/hook")
    hooks = Webhooks(store)
    asyncio.run(hooks._tell(store.queue.get(id), 0))
    assert Listening.heard == []
