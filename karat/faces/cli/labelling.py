"""`karat label`."""

from typing import Annotated

import typer

from karat.faces.cli.face import face_of

EPILOG = """karat label letters --by topics:live

karat label letters --by helper:live --as summary

karat label letters --by topics:live --choice praise --choice blame --least 0.8"""


def register(app: typer.Typer) -> None:
    app.command(epilog=EPILOG)(label)


def label(
    context: typer.Context,
    source: Annotated[str, typer.Argument(metavar="REF", help="A source of texts, or the snapshot of one: its id, an alias, or `latest`.")],
    by: Annotated[str, typer.Option(metavar="RELEASE", help="The release that answers.")],
    column: Annotated[str, typer.Option("--as", metavar="NAME", help="What its answers become: label, or a column of captions.")] = "label",
    choice: Annotated[
        list[str] | None,
        typer.Option(metavar="TEXT", help="What it may answer; if not given, what it learnt to answer, if that is little."),
    ] = None,
    least: Annotated[float, typer.Option(help="Leave out answers that the model held for less likely than this.")] = 0.0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Also label texts that have a label.")] = False,
) -> None:
    """Let a release label texts: a new source of the same texts with labels, or with captions to train on. The old one stays."""
    from karat.app import labelling
    from karat.faces.cli.telling import follow

    face = face_of(context)
    wish = {"column": column, "choices": choice or (), "least": least, "overwrite": overwrite}
    end = follow(labelling.label(face.store(), source, by, wish), face.teller())
    face.say(f"Next: karat data snapshot {end.result[:12]}")
