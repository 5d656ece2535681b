"""`karat demo`."""

from pathlib import Path
from typing import Annotated

import typer

from karat.faces.cli.face import face_of


def register(app: typer.Typer) -> None:
    app.command(epilog="karat demo --minutes 1")(demo)


def demo(
    context: typer.Context,
    minutes: Annotated[float, typer.Option(min=0.05, help="How long to train; everything else takes about as long again.")] = 2.0,
    folder: Annotated[Path, typer.Option(help="The folder that everything goes into.")] = Path("demo"),
) -> None:
    """See the whole chain on real handwritten digits: import, check, snapshot, train, evaluate, release, generate, verify.

    In about five minutes; each step says the command that does the same. Run again, it goes on where it was.
    """
    from karat.app.demo import run_demo
    from karat.faces.cli.telling import follow, stopping

    face = face_of(context)
    with stopping() as stop:
        follow(run_demo(folder, minutes=minutes, stop=stop), face.teller())
