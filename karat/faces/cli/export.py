"""`karat export`."""

from pathlib import Path
from typing import Annotated

import typer

from karat.faces.cli.face import face_of

EPILOG = """karat export chat:live --to hf -o chat-hf

karat export chat:live --to gguf --precision int8 -o chat-gguf

karat export chat.karat --to ctranslate2 --precision int8 -o chat-ct2"""


def register(app: typer.Typer) -> None:
    app.command(epilog=EPILOG)(export)


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
