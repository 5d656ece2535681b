"""What every command shares: the store's place, how to tell what happens, and how to end when something is wrong."""

import json
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import typer

from karat.words.errors import KaratError

if TYPE_CHECKING:
    from karat.faces.cli.telling import Teller
    from karat.store.store import Store
    from karat.words.specs import Spec

STORE = "KARAT_STORE"
USUAL_STORE = Path("karat-store")


@dataclass(frozen=True)
class Face:
    """The global options of one call."""

    store_path: Path
    as_json: bool = False
    debug: bool = False

    def store(self) -> "Store":
        from karat.app.chain import open_store

        return open_store(self.store_path)

    def teller(self) -> "Teller":
        from karat.faces.cli.telling import teller

        return teller(as_json=self.as_json)

    def say(self, line: str) -> None:
        """Print a line for people; programs that asked for JSON do not get it."""
        if not self.as_json:
            typer.echo(line)

    def tell(self, value: "Spec | Iterable[Spec]", lines: Iterable[str]) -> None:
        """Print what was asked for: as JSON, one object to a line, or as lines for people."""
        if not self.as_json:
            for line in lines:
                typer.echo(line)
            return
        for each in cast("Iterable[Spec]", value if isinstance(value, list | tuple) else [value]):
            typer.echo(json.dumps(each.model_dump(mode="json"), ensure_ascii=False))


def face_of(context: typer.Context) -> Face:
    return cast(Face, context.find_root().obj)


def table(rows: Iterable[Iterable[str]], *, indent: str = "") -> Iterator[str]:
    """Give rows as lines with aligned columns, wide characters counted as two."""
    from rich.cells import cell_len

    all_rows = [list(row) for row in rows]
    widths = [max(cell_len(cell) for cell in column) for column in zip(*all_rows, strict=True)] if all_rows else []
    for row in all_rows:
        yield (indent + "  ".join(cell + " " * (width - cell_len(cell)) for cell, width in zip(row, widths, strict=True))).rstrip()


def told(error: KaratError, *, as_json: bool) -> None:
    """Say on stderr what is wrong and how to repair it."""
    if as_json:
        facts: dict[str, Any] = {"code": error.code, "problem": error.problem, "repair": error.repair, "exit_code": error.exit_code}
        print(json.dumps({"error": facts}, ensure_ascii=False), file=sys.stderr)
        return
    red, plain = ("\033[31m", "\033[0m") if sys.stderr.isatty() and "NO_COLOR" not in os.environ else ("", "")
    print(f"{red}{error.problem}{plain}\n{error.repair}", file=sys.stderr)


@contextmanager
def quiet_when_nobody_reads() -> Iterator[None]:
    """End without a word when the reader of stdout has gone, as in `karat show … | head -1`."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(141) from None
