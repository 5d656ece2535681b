"""`karat show`: a thing, what it came from and what was made of it; and `karat remove`, for what nothing was made of."""

import json
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from karat.faces.cli.face import face_of, table

if TYPE_CHECKING:
    from karat.app.chain import Chain, Link


def register(app: typer.Typer) -> None:
    app.command(epilog="karat show digits:live\n\nkarat show out/00000.png\n\nkarat show latest --full")(show)
    app.command(epilog="karat remove 3fa9c1d2e4b5 --yes")(remove)


def show(
    context: typer.Context,
    ref: Annotated[str, typer.Argument(metavar="ID|ALIAS|FILE", help="Anything on the chain: an id, an alias, `latest`, or a file.")],
    full: Annotated[bool, typer.Option("--full", help="Also print the whole spec and all facts.")] = False,
) -> None:
    """Show a thing, what it came from and what was made of it."""
    from karat.app.chain import show as chain_of

    face = face_of(context)
    found = chain_of(face.store(), ref)
    face.tell(found, _lines(found, full))


def remove(
    context: typer.Context,
    ref: Annotated[str, typer.Argument(metavar="RUN|SOURCE", help="An unfinished run, as `karat runs` names it, or the id of a source.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Remove an unfinished run, or an import of which nothing was made, with all its files."""
    from karat.app.removing import remove as remove_from
    from karat.words.errors import SpecError

    face = face_of(context)
    if not yes and not (sys.stdin.isatty() and typer.confirm(f"Remove {ref} for good?")):
        raise SpecError(f"{ref} was not removed.", repair="Say `karat remove REF --yes` if it is to be gone for good.")
    gone = remove_from(face.store(), ref)
    face.tell(gone, [f"Removed the {gone.kind} {gone.id[:12]} and {gone.files:,} files."])


def _lines(found: "Chain", full: bool) -> Iterator[str]:
    record = found.record
    yield f"{record.kind} {record.id}"
    facts = [("is", found.about), ("made at", _moment(record.at)), ("called", ", ".join(found.aliases))]
    facts += [("originality", found.originality), ("file", found.file or "")]
    yield from table([name, value] for name, value in facts if value)
    if full:
        yield json.dumps({"spec": record.spec, "facts": record.facts}, indent=2, ensure_ascii=False)
    yield "It came from" if found.came_from else "It came from nothing else in this store."
    yield from _links(found.came_from)
    counts = ", ".join(f"{count:,} {kind}{'s' if count > 1 else ''}" for kind, count in found.made_counts.items())
    yield f"Made of it: {counts}" if counts else "Nothing was made of it yet."
    yield from _links(found.made)
    if (more := sum(found.made_counts.values()) - len(found.made)) > 0:
        yield f"  … and {more:,} more"


def _links(links: "Iterable[Link]") -> Iterator[str]:
    return table(([link.kind, link.id[:12], link.about] for link in links), indent="  ")


def _moment(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))
