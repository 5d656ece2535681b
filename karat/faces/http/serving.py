"""Serving: a socket, the application behind it, and an orderly end."""

import signal
import socket
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path
from types import FrameType

import uvicorn
from fastapi import FastAPI

from karat.app.serving.service import Service, ServiceSettings
from karat.faces.http.app import create_app
from karat.words.errors import SpecError, StoreError
from karat.words.specs import Spec


class Address(Spec):
    """Where a server listens; `certificate` and `key` are PEM files for TLS."""

    host: str = "127.0.0.1"
    port: int = 8000
    certificate: Path | None = None
    key: Path | None = None

    @property
    def is_loopback(self) -> bool:
        try:
            return self.host == "localhost" or ip_address(self.host).is_loopback
        except ValueError:
            return False

    def check(self, *, open: bool) -> None:
        """Raise SpecError for a server that strangers could use, and for half of TLS."""
        if open and not self.is_loopback:
            raise SpecError(
                f"--open lets everyone who reaches {self.host} do everything.", repair="Leave --open out: a key is made for you."
            )
        if (self.certificate is None) != (self.key is None):
            raise SpecError("TLS needs a certificate and its key.", repair="Give both --certificate and --key.")
        for file in (self.certificate, self.key):
            if file is not None and not file.is_file():
                raise SpecError(f"There is no file {file}.", repair="Check the path.")


class OrderlyServer(uvicorn.Server):
    """A server that says when it begins to end: it is no longer ready, and nobody who only watches keeps it waiting."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self.service = service

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        super().handle_exit(sig, frame)
        self.service.end_soon()


def serve(settings: ServiceSettings, address: Address, *, said: Callable[[str, str], None], studio: bool = False) -> None:
    """Serve until asked to end, with or without the studio. `said` is told the address once it listens, and the first key when it is made.

    Running requests have `grace` seconds to end in; then workers give back what they hold.
    """
    address.check(open=settings.open)
    app = create_app(settings)
    if studio:
        add_studio(app, secure=address.certificate is not None)
    first = None if settings.open else app.state.service.keys.first()
    config = uvicorn.Config(
        app,
        host=address.host,
        port=address.port,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=int(settings.grace),
        timeout_keep_alive=30,
        h11_max_incomplete_event_size=65_536,
        ssl_certfile=address.certificate,
        ssl_keyfile=address.key,
    )
    listening = _listen(address)
    scheme = "http" if address.certificate is None else "https"
    host, port = listening.getsockname()[:2]
    said("listening", f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}")
    if first is not None:
        said("key", first.secret)
    for number in (signal.SIGTERM, signal.SIGINT):  # uvicorn raises the signal again after an orderly end, which is no failure
        signal.signal(number, lambda number, frame: None)
    OrderlyServer(config, app.state.service).run(sockets=[listening])


def add_studio(app: FastAPI, *, secure: bool) -> None:
    """Put the studio below the endpoints. Raises SpecError where it is not installed."""
    try:
        from karat.faces.studio.mounting import mount
    except ImportError:
        raise SpecError(
            "The studio is not installed.", repair="Install it with `pip install 'karat[studio]'`, or give --no-studio."
        ) from None
    mount(app, app.state.service, secure=secure)


def _listen(address: Address) -> socket.socket:
    """Give a bound socket. Raises StoreError when the place is taken."""
    try:
        family = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)[0][0]
        listening = socket.socket(family)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((address.host, address.port))
    except OSError as error:
        raise StoreError(
            f"{address.host}:{address.port} cannot be listened on: {error.strerror}.", repair="Choose another --port."
        ) from None
    return listening
