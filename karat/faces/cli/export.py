"""`karat export` and `karat engine`."""

from pathlib import Path
from typing import Annotated

import typer

from karat.faces.cli.face import face_of, table

EPILOG = """karat export chat:live --to hf -o chat-hf

karat export chat:live --to gguf --precision int8 -o chat-gguf

karat export chat.karat --to ctranslate2 --precision int8 -o chat-ct2"""


def register(app: typer.Typer) -> None:
    app.command(epilog=EPILOG)(export)
    app.command(epilog="karat engine chat:live")(engine)


def export(
    context: typer.Context,
    release: Annotated[str, typer.Argument(metavar="RELEASE", help="A text release: an alias, an id, `latest`, or a .karat file.")],
    to: Annotated[str, typer.Option(metavar="FORMAT", help="hf (transformers, vLLM), gguf (llama.cpp), ctranslate2 or onnx.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FOLDER", help="The folder to write; it must not be there yet.")],
    precision: Annotated[
        str | None, typer.Option(help="How numbers are kept: float32 (usual), bfloat16 (hf, gguf) or int8 (gguf, ctranslate2).")
    ] = None,
) -> None:
    """Write a language model in the form of another program, with its card and its lineage."""
    from karat.app.exporting import export_release
    from karat.faces.cli.telling import follow

    face = face_of(context)
    follow(export_release(face.store(), release, out, to=to, precision=precision), face.teller())


def engine(
    context: typer.Context,
    release: Annotated[str, typer.Argument(metavar="RELEASE", help="A text release: an alias, an id, `latest`, or a .karat file.")],
) -> None:
    """Measure which program writes fastest with a text release, and use the one that writes as it does."""
    from karat.app.engines import choose_engine, figures_of
    from karat.faces.cli.telling import follow

    face = face_of(context)
    store = face.store()
    end = follow(choose_engine(store, release), face.teller())
    rows = [["ENGINE", "TOKENS/S", "16 AT ONCE", "BITS PER BYTE", "SAME TEXTS", ""]]
    for each in figures_of(store, end.result):
        speeds = [f"{each.tokens_per_second[batch]:,.0f}" for batch in (1, 16)]
        rows.append([each.engine, *speeds, f"{each.bits_per_byte:.4g}", f"{each.same:.0%}", "" if each.passes else "writes otherwise"])
    for row in table(rows, indent="  "):
        face.say(row)
