"""`karat verify` and `karat reproduce`."""

from pathlib import Path
from typing import Annotated

import typer

from karat.faces.cli.face import face_of, table


def register(app: typer.Typer) -> None:
    app.command(epilog="karat verify out/*.png digits.karat")(verify)
    app.command(epilog="karat reproduce latest -o again")(reproduce)


def verify(
    context: typer.Context,
    files: Annotated[list[Path], typer.Argument(metavar="FILE…", help="Assets, or releases.")],
) -> None:
    """Say what can be proved of files: who made them, and that no byte was changed. Fails when one is not proved."""
    from karat.app.proving import failure, verify_file

    face = face_of(context)
    store = face.store()
    found = [verify_file(store, path) for path in files]
    shown = found if len(found) <= 20 else [each for each in found if each.state != "proved"]
    face.tell(found, table([each.path, each.state, each.says] for each in shown))
    proved = sum(each.state == "proved" for each in found)
    face.say(f"{proved:,} of {len(found):,} files are proved.")
    if wrong := failure(found):
        raise wrong


def reproduce(
    context: typer.Context,
    asset: Annotated[str, typer.Argument(metavar="ASSET", help="An asset: its id, its file, or `latest`.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder to write to.")] = Path("again"),
) -> None:
    """Make an asset again from its record, and fail when a byte differs."""
    from karat.app.proving import reproduce_asset
    from karat.faces.cli.telling import follow

    face = face_of(context)
    follow(reproduce_asset(face.store(), asset, out), face.teller())
