"""`karat evaluate`, `karat release` and `karat alias`."""

from pathlib import Path
from typing import Annotated

import typer

from karat.faces.cli.face import face_of, table
from karat.words.errors import SpecError

Run = Annotated[str, typer.Argument(metavar="RUN", help="A finished run: its id, an alias, or `latest`.")]


def register(app: typer.Typer) -> None:
    app.command(epilog="karat evaluate latest --samples 1000")(evaluate)
    app.command(epilog="karat release latest --as digits:live --title 'Digits' -o digits.karat")(release)
    app.command(epilog="karat alias\n\nkarat alias digits:live\n\nkarat alias digits:live 3fa9c1d2\n\nkarat alias digits:live --rollback")(
        alias
    )


def evaluate(
    context: typer.Context,
    run: Run,
    samples: Annotated[
        int | None, typer.Option(min=2, help="How many samples to make and score (500 pictures, 150 texts); more make narrower intervals.")
    ] = None,
    seed: Annotated[int, typer.Option(help="The samples are drawn from it.")] = 1,
    change: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="Change anything else, as in sampling.steps=12.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The folder for report.html and report.json; the run's if not given.")
    ] = None,
) -> None:
    """Score a run on data that neither trained nor chose it, and write the report."""
    from karat.app.chain import find

    face = face_of(context)
    store = face.store()
    find(store, run, "run")  # what is refused is refused before anything is loaded
    from karat.app.evaluating import EvaluatingOptions, evaluate_run
    from karat.app.reports import save_report, scores_of
    from karat.app.settings import settings, tree_of
    from karat.faces.cli.telling import follow

    tree = tree_of(settings(change or ()))
    options = EvaluatingOptions.from_values({"samples": samples, "seed": seed, **tree})
    end = follow(evaluate_run(store, run, options), face.teller())
    rows = [["SCORE", "IN", "VALUE", "FROM", "TO", "REAL", "NO MODEL"]]
    for line in scores_of(store, end.result):
        numbers = (line.value, line.low, line.high, line.real, line.trivial)
        shown = ["" if number is None else f"{number:.3g}" for number in numbers]
        rows.append([line.title, line.space, *shown[:-1], f"{shown[-1]} {line.baseline}".strip()])
    for row in table(rows, indent="  "):
        face.say(row)
    told = face.teller()
    for event in save_report(store, end.result, out):
        told.tell(event)
    face.say(f"Next: karat release {store.get(end.result).made_from[0][:12]}")


def release(
    context: typer.Context,
    run: Run,
    name: Annotated[str | None, typer.Option("--as", metavar="ALIAS", help="An alias for the release, as in digits:live.")] = None,
    title: Annotated[str, typer.Option(help="What people call it; it stands in every file that it makes.")] = "",
    out: Annotated[Path | None, typer.Option("--out", "-o", metavar="FILE", help="Also write it to a .karat file or a folder.")] = None,
) -> None:
    """Make a signed release of an evaluated run: all that a stranger needs to make files with it and to check them."""
    from karat.app.releasing import release_run
    from karat.faces.cli.telling import follow

    face = face_of(context)
    end = follow(release_run(face.store(), run, title=title, alias=name, out=out), face.teller())
    face.say(f"Next: karat generate {name or end.result[:12]} -n 16")


def alias(
    context: typer.Context,
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="The alias; without one, all are listed.")] = None,
    ref: Annotated[
        str | None, typer.Argument(metavar="REF", help="What it points at from now on; without it, its history is shown.")
    ] = None,
    rollback: Annotated[bool, typer.Option("--rollback", help="Let it point at what it pointed at before.")] = False,
) -> None:
    """List aliases, show the history of one, let one point at something, or roll it back."""
    from karat.app import aliasing

    face = face_of(context)
    if rollback and (name is None or ref is not None):
        raise SpecError("--rollback takes a NAME and nothing else.", repair="Write `karat alias NAME --rollback`.")
    store = face.store()
    if name is None:
        found = aliasing.aliases(store)
    elif rollback:
        found = [aliasing.roll_back(store, name)]
    else:
        found = [aliasing.point(store, name, ref)] if ref is not None else aliasing.history(store, name)
    rows = [[line.name, line.kind, line.record[:12], line.about] for line in found]
    face.tell(found, table(rows) if found else ["There are no aliases yet. Make one: karat alias NAME REF"])
