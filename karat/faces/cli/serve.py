"""`karat serve`, `karat worker` and `karat key`."""

import json
from pathlib import Path
from typing import Annotated

import typer

from karat.faces.cli.face import face_of, table

SERVE_EPILOG = """karat serve

karat serve --host 0.0.0.0 --port 443 --certificate cert.pem --key key.pem --workers 2

karat serve --open"""
KEY_EPILOG = """karat key "the shop" --scope generate --days 90 --per-minute 120 --budget 50

karat key --list"""


def register(app: typer.Typer) -> None:
    app.command(epilog=SERVE_EPILOG)(serve)
    app.command(epilog="karat worker --memory 4096")(worker)
    app.command(epilog=KEY_EPILOG)(key)


def serve(
    context: typer.Context,
    host: Annotated[str, typer.Option(help="The address to listen on; 0.0.0.0 is all of this machine's.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port; 0 takes a free one.")] = 8000,
    workers: Annotated[int, typer.Option(min=0, help="Worker processes, which hold the models.")] = 1,
    threads: Annotated[int, typer.Option(min=1, help="Threads of each worker.")] = 1,
    memory: Annotated[int, typer.Option(min=1, help="MiB of weights that each worker keeps loaded.")] = 2048,
    certificate: Annotated[Path | None, typer.Option(metavar="FILE", help="A certificate for TLS, as PEM.")] = None,
    key: Annotated[Path | None, typer.Option(metavar="FILE", help="The certificate's key, as PEM.")] = None,
    grace: Annotated[float, typer.Option(min=0, help="Seconds that running requests have when the server is asked to end.")] = 20.0,
    webhook_host: Annotated[
        list[str] | None, typer.Option(metavar="HOST", help="A host inside your network that webhooks may name; others must be public.")
    ] = None,
    studio: Annotated[bool, typer.Option(help="Serve the studio, for people in a browser.")] = True,
    open: Annotated[bool, typer.Option("--open", help="Ask for no key; only on this machine's own address.")] = False,
) -> None:
    """Serve the studio and releases over HTTP, with OpenAI's endpoints and Karat's own. The first start prints a key, once."""
    from karat.words.errors import SpecError

    try:
        from karat.app.serving.service import ServiceSettings
        from karat.faces.http.serving import Address, serve
    except ImportError as error:
        raise SpecError(f"Serving needs a library that is not installed: {error.name}.", repair='pip install "karat[serve]".') from None

    face = face_of(context)
    settings = ServiceSettings(
        store=face.store_path,
        workers=workers,
        threads=threads,
        memory=memory << 20,
        grace=grace,
        open=open,
        webhook_hosts=tuple(webhook_host or ()),
    )

    def said(what: str, value: str) -> None:
        plain = {"listening": f"Karat serves {value}", "key": f"The first key, shown this once: {value}"}
        typer.echo(json.dumps({what: value}) if face.as_json else plain[what])

    serve(settings, Address(host=host, port=port, certificate=certificate, key=key), said=said, studio=studio)


def worker(
    context: typer.Context,
    memory: Annotated[int, typer.Option(min=1, help="MiB of weights to keep loaded.")] = 2048,
    parent: Annotated[int | None, typer.Option(hidden=True, help="End when this process does.")] = None,
) -> None:
    """Do the jobs of a store until asked to end. What is not finished then waits for another worker."""
    from karat.app.serving.working import work

    work(face_of(context).store(), memory=memory << 20, parent=parent)


def key(
    context: typer.Context,
    name: Annotated[str | None, typer.Argument(help="Who will use it.")] = None,
    scope: Annotated[list[str] | None, typer.Option(help="What it is for: generate, review, train or admin.")] = None,
    days: Annotated[float | None, typer.Option(min=0, help="Days that it holds; for good if not given.")] = None,
    per_minute: Annotated[float | None, typer.Option(min=1, help="Calls that it allows a minute.")] = None,
    budget: Annotated[
        float | None, typer.Option(min=0, help="Money that may be spent with it, at the prices that `karat prices` declares.")
    ] = None,
    rotate: Annotated[str | None, typer.Option(metavar="ID", help="Make one that follows this key, which ends in an hour.")] = None,
    revoke: Annotated[str | None, typer.Option(metavar="ID", help="End this key now.")] = None,
    listed: Annotated[bool, typer.Option("--list", help="List all keys.")] = False,
) -> None:
    """Make a key for the server, or end one. A key is shown once."""
    from karat.app.costs import prices
    from karat.app.keys import Keyring
    from karat.words.errors import SpecError

    face = face_of(context)
    store = face.store()
    ring = Keyring(store)
    if revoke:
        ended = ring.revoke(revoke)
        face.tell(ended, [f"The key {ended.id} has ended."])
    elif rotate or name:
        seconds = None if days is None else days * 86_400
        scopes = scope or ["generate"]
        made = ring.rotate(rotate) if rotate else ring.make(name or "", scopes, seconds=seconds, per_minute=per_minute, budget=budget)
        face.tell(made, [f"Key {made.key.id} for {made.key.name}, shown this once:", made.secret])
        if budget is not None and not prices(store).device_hour:
            face.say("Note: nothing costs anything yet, so the budget bounds nothing. Declare prices: karat prices --device-hour 0.9")
    elif listed:
        keys = ring.all()
        rows = [["KEY", "NAME", "SCOPES"], *([each.id, each.name, ", ".join(each.scopes)] for each in keys if each.revoked is None)]
        face.tell(keys, table(rows))
    else:
        raise SpecError("There is nothing to do.", repair="Give a name for a new key, or --list.")
