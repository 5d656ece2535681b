"""Webhooks: an address of the asker's is told when a job has ended. Signed as Standard Webhooks are (standardwebhooks.com), tried again
until it answers, and never sent into the server's own network: the address that was checked is the one that is asked.
"""

import asyncio
import base64
import hashlib
import hmac
import json
import os
import secrets
import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from ipaddress import IPv6Address, ip_address
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from karat.app.failures import in_words
from karat.store.queue import Job
from karat.store.store import Store
from karat.words.errors import KaratError, SpecError

PAUSES = (5.0, 30.0, 120.0, 600.0, 3600.0)
"""Seconds before each further try; after the last one a webhook is given up."""
LOOK = 2.0
TIMEOUT = 10.0


class Webhooks:
    """Tells of jobs that have ended. `hosts` may be told whatever their address is."""

    def __init__(self, store: Store, hosts: Sequence[str] = ()) -> None:
        self._store, self._hosts = store, frozenset(hosts)

    def check(self, address: str) -> None:
        """Raise SpecError for an address that will not be told."""
        parts = _parts(address)
        if parts.hostname not in self._hosts and parts.scheme != "https":
            raise SpecError("A webhook is told over https.", repair="Give an address that begins with https://.")
        self._place(parts)

    def secret(self, owner: str) -> str:
        """Give the secret by which an owner knows that a webhook is told by this server."""
        return "whsec_" + base64.b64encode(hmac.digest(self._root(), owner.encode(), "sha256")).decode()

    def start(self) -> None:
        self._telling = asyncio.create_task(self._tell_forever())

    async def close(self) -> None:
        self._telling.cancel()
        with suppress(asyncio.CancelledError):
            await self._telling

    async def _tell_forever(self) -> None:
        while True:
            try:
                waiting = await asyncio.to_thread(self._store.queue.untold)
                await asyncio.gather(*(self._tell(job, tries) for job, tries in waiting))
            except KaratError:
                pass  # a store that cannot be read now is read at the next look
            await asyncio.sleep(LOOK)

    async def _tell(self, job: Job, tries: int) -> None:
        try:
            told = await self._sent(job)
        except KaratError:
            told = False
        pause = None if told or tries >= len(PAUSES) else PAUSES[tries]
        await asyncio.to_thread(self._store.queue.told, job.id, again_in=pause)

    async def _sent(self, job: Job) -> bool:
        """Send what became of a job, once. Raises SpecError when the address may not be told any more."""
        import httpx

        parts = _parts(job.webhook or "")
        place = await asyncio.to_thread(self._place, parts)
        body = json.dumps({"type": f"job.{job.state}", "data": job.model_dump(mode="json")}, ensure_ascii=False).encode()
        headers = {**self._signed(job, body), "content-type": "application/json", "host": parts.netloc}
        shown = f"[{place}]" if ":" in place else place
        url = parts._replace(netloc=shown if parts.port is None else f"{shown}:{parts.port}").geturl()
        try:
            async with httpx.AsyncClient(timeout=TIMEOUT, trust_env=False) as client:
                asked = client.build_request("POST", url, content=body, headers=headers, extensions={"sni_hostname": parts.hostname})
                answer = await client.send(asked, stream=True, follow_redirects=False)
                await answer.aclose()
        except (httpx.HTTPError, httpx.InvalidURL, OSError):
            return False
        return answer.is_success

    def _signed(self, job: Job, body: bytes) -> dict[str, str]:
        now = str(int(time.time()))
        secret = base64.b64decode(self.secret(job.owner).removeprefix("whsec_"))
        signature = hmac.digest(secret, f"{job.id}.{now}.".encode() + body, hashlib.sha256)
        return {"webhook-id": job.id, "webhook-timestamp": now, "webhook-signature": f"v1,{base64.b64encode(signature).decode()}"}

    def _place(self, parts: SplitResult) -> str:
        """Give the address of a host that may be told. Raises SpecError for one inside a network, or that there is not."""
        host = parts.hostname or ""
        try:
            found = {str(each[4][0]) for each in socket.getaddrinfo(host, parts.port or parts.scheme, type=socket.SOCK_STREAM)}
        except (OSError, UnicodeError):
            raise SpecError(f"There is no host {host[:100]!r}.", repair="Check the webhook's address.") from None
        if host not in self._hosts and not all(_is_public(place) for place in found):
            problem = f"The webhook's host {host[:100]!r} is inside a network."
            raise SpecError(problem, repair="Give a public address, or let the server allow it: `karat serve --webhook-host`.")
        return sorted(found)[0]

    def _root(self) -> bytes:
        """Give the server's own secret, made when it is first needed; nobody else may read it."""
        path: Path = self._store.folder / "webhook.key"
        try:
            with suppress(FileExistsError), open(path, "xb", opener=_private) as file:
                file.write(secrets.token_bytes(32))
            return path.read_bytes()
        except OSError as error:
            raise in_words(error) from None


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _parts(address: str) -> SplitResult:
    """Take an address apart. Raises SpecError for what is no plain http address."""
    try:
        parts = urlsplit(address)
        plain = (
            parts.scheme in ("http", "https") and parts.hostname and not parts.username and (parts.port or 1) > 0 and len(address) <= 2_000
        )
    except ValueError:
        plain = False
    if not plain or not address.isprintable():
        raise SpecError(f"{address[:80]!r} is no address for a webhook.", repair="Give one such as https://example.org/hook.")
    return parts


def _is_public(place: str) -> bool:
    found = ip_address(place.partition("%")[0])
    inner = found.ipv4_mapped if isinstance(found, IPv6Address) else None
    return all(each.is_global and not each.is_multicast for each in (found, inner or found))
