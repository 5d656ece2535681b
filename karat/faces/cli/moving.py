"""`karat move`."""

from typing import Annotated

import typer

from karat.faces.cli.face import face_of
from karat.words.errors import SpecError

EPILOG = """karat move --database postgresql://karat@localhost/karat

karat move --blobs "s3://karat/team?endpoint=http://127.0.0.1:9000"

karat move --database folder --blobs folder"""


def register(app: typer.Typer) -> None:
    app.command(epilog=EPILOG)(move)


def move(
    context: typer.Context,
    database: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Where the records are to be: PostgreSQL, or `folder` for SQLite in the store's folder."),
    ] = None,
    blobs: Annotated[str | None, typer.Option(metavar="URL", help="Where the blobs are to be: a bucket of S3, or `folder`.")] = None,
) -> None:
    """Move the store to PostgreSQL, to S3, or back into its folder. Nothing else may be at work on it meanwhile."""
    from karat.app.moving import move
    from karat.faces.cli.telling import follow

    if database is None and blobs is None:
        raise SpecError("There is nothing to do.", repair="Give --database, --blobs or both.")
    face = face_of(context)
    follow(move(face.store_path, database=database, blobs=blobs), face.teller())
