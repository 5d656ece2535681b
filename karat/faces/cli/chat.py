"""`karat chat`."""

import sys
from collections.abc import Iterator
from typing import Annotated

import typer

from karat.faces.cli.face import face_of

EPILOG = """karat chat helper:live --persona "You are brief."

echo "How are you?" | karat chat helper:live --seed 3"""


def register(app: typer.Typer) -> None:
    app.command(epilog=EPILOG)(chat)


def chat(
    context: typer.Context,
    release: Annotated[str, typer.Argument(metavar="RELEASE", help="A release: an alias, an id, `latest`, or a .karat file.")],
    persona: Annotated[str, typer.Option(help="What the model is told of itself before the first turn.")] = "",
    seed: Annotated[int, typer.Option(help="The same seed and the same words give the same answers.")] = 0,
    change: Annotated[list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="Change an option of writing.")] = None,
) -> None:
    """Converse with a release, a line to a turn. Ctrl-D ends."""
    from karat.app.chatting import Conversation
    from karat.app.settings import settings
    from karat.faces.cli.telling import JsonLines, PlainLines, Spoken, Teller

    face = face_of(context)
    conversation = Conversation(face.store(), release, persona=persona, seed=seed, sampling=settings(change or ()))
    teller: Teller = JsonLines() if face.as_json else Spoken(PlainLines(), streams=True)
    for line in _lines(asks=sys.stdin.isatty() and not face.as_json):
        for event in conversation.say(line):
            teller.tell(event)


def _lines(*, asks: bool) -> Iterator[str]:
    """Give what is said, line by line, until the input ends or Ctrl-C is pressed."""
    try:
        while True:
            if line := (input("> ") if asks else input()).strip():
                yield line
    except (EOFError, KeyboardInterrupt):
        if asks:
            typer.echo()
