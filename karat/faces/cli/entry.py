"""The entry: global options, the tree of commands, and what a failure looks like. Nothing here imports torch."""

import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

import karat
from karat.faces.cli import (
    chain,
    chat,
    data,
    demo,
    editing,
    explanation,
    export,
    generation,
    labelling,
    moving,
    proofs,
    releases,
    serve,
    train,
    value,
)
from karat.faces.cli.face import STORE, USUAL_STORE, Face, quiet_when_nobody_reads, told
from karat.words.errors import KaratError

EPILOG = """The chain, from a folder of pictures to proven assets:

karat data import pictures --licence CC0-1.0

karat data snapshot latest --name pictures

karat train pictures --given label --minutes 10

karat evaluate latest

karat release latest --as pictures:live

karat generate pictures:live -n 64 --seed 3 -o out

karat verify out/*.png

Or see all of it on real handwritten digits in five minutes: karat demo"""

app = typer.Typer(
    name="karat",
    help="Turn a team's own data into generated content that the team can release.",
    epilog=EPILOG,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(data.app)
for commands in (train, releases, export, generation, chat, editing, explanation, labelling, proofs, chain, value, serve, moving, demo):
    commands.register(app)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"karat {karat.__version__}")
        raise typer.Exit()


@app.callback()
def options(
    context: typer.Context,
    store: Annotated[Path, typer.Option(envvar=STORE, help="The folder that holds everything Karat remembers.")] = USUAL_STORE,
    json: Annotated[bool, typer.Option("--json", help="Print JSON, one object to a line, for programs.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Print the traceback when Karat itself fails.")] = False,
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and end.")] = False,
) -> None:
    context.obj = Face(store, as_json=json, debug=debug)


class UnexpectedError(KaratError):
    """A mistake of Karat's own."""

    code = "unexpected"
    exit_code = 70


def main() -> None:
    """Run the command line and end the process with its exit code."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run one command and give its exit code: 0, that of the error, or 70 when Karat itself failed."""
    ordered = _globals_first(list(arguments))
    as_json, debug = "--json" in ordered, "--debug" in ordered
    try:
        with quiet_when_nobody_reads():
            app(ordered)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except Exception as error:
        if debug:
            traceback.print_exc()
        said = _said(error)
        told(said, as_json=as_json)
        return said.exit_code
    return 0


def _said(error: Exception) -> KaratError:
    if isinstance(error, KaratError):
        return error
    if isinstance(error, OSError | MemoryError):
        from karat.app.failures import in_words

        return in_words(error)
    return UnexpectedError(
        f"Karat failed where it should not: {type(error).__name__}: {error}",
        repair="Please report it with this line and what the same command prints with --debug.",
    )


def _globals_first(words: list[str]) -> list[str]:
    """Move the global options to the front, so that they may stand anywhere before a bare `--`."""
    end = words.index("--") if "--" in words else len(words)
    first, rest = [], []
    place = 0
    while place < end:
        if words[place] == "--store" and place + 1 < end:
            first += words[place : place + 2]
            place += 1
        elif words[place] in ("--json", "--debug") or words[place].startswith("--store="):
            first.append(words[place])
        else:
            rest.append(words[place])
        place += 1
    return first + rest + words[end:]
