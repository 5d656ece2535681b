"""`karat edit`."""

from pathlib import Path
from typing import Annotated

import typer

from karat.faces.cli.face import face_of
from karat.words.errors import SpecError

EPILOG = """karat edit quotes:live --text "The ___ of the beholder" -n 3

karat edit quotes:live --text "He who laughs last laughs best" --span 16:21

karat edit captions:live --between "red heart" "blue square" --steps 5

karat edit captions:live --text "man running" --toward women --away men"""

HEARS = {
    "between": ("between", "steps"),
    "toward": ("text", "toward", "away", "strength"),
    "text": ("text", "span", "tokens", "steps", "count", "given", "seed", "change"),
}
"""The options that each kind of edit listens to, beside the release and the folder."""


def register(app: typer.Typer) -> None:
    app.command(epilog=EPILOG)(edit)


def edit(
    context: typer.Context,
    release: Annotated[str, typer.Argument(metavar="RELEASE", help="A release: an alias, an id, `latest`, or a .karat file.")],
    text: Annotated[str | None, typer.Option(help="The text to edit; ___ stands where something is to be filled in.")] = None,
    span: Annotated[
        list[str] | None, typer.Option(metavar="FIRST:LAST", help="Characters to write anew, counted from 0, without the last.")
    ] = None,
    tokens: Annotated[int | None, typer.Option(min=1, help="Tokens in each gap; left out, the model chooses.")] = None,
    between: Annotated[tuple[str, str] | None, typer.Option(help="Go from one text to another.")] = None,
    toward: Annotated[str | None, typer.Option(metavar="LABEL", help="Move the text towards the samples of a label.")] = None,
    away: Annotated[str | None, typer.Option(metavar="LABEL", help="… and away from those of this one; left out, from all others.")] = None,
    strength: Annotated[float, typer.Option(help="How far to move: 1 is from the middle of one label to that of the other.")] = 1.0,
    steps: Annotated[int | None, typer.Option(min=1, help="Texts on the way between two (5), or steps of sampling.")] = None,
    count: Annotated[int, typer.Option("--count", "-n", min=1, help="How many ways of filling the gaps.")] = 1,
    given: Annotated[list[str] | None, typer.Option(metavar="NAME=VALUE", help="A condition that the model knows.")] = None,
    seed: Annotated[int, typer.Option(help="The same seed makes the same texts.")] = 0,
    change: Annotated[list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="Change another sampling option.")] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder to write to.")] = Path("out"),
) -> None:
    """Edit a text: fill gaps, rewrite spans, go from one text to another, or move it towards a label."""
    from karat.app import editing
    from karat.app.settings import pairs, settings
    from karat.faces.cli.telling import Spoken, follow, stopping

    face = face_of(context)
    if (text is None) == (between is None):
        raise SpecError("There is nothing to edit." if text is None else "Two things are asked for.", repair="Give --text or --between.")
    _refuse_others(context, kind="between" if between is not None else "toward" if toward is not None else "text")
    asked: editing.Edit | editing.Way | editing.Steer
    if between is not None:
        asked = editing.Way.from_values({"between": between, "steps": 5 if steps is None else steps})
    elif toward is not None:
        asked = editing.Steer(text=text or "", toward=toward, away=away, strength=strength)
    else:
        sampling = ({} if steps is None else {"steps": steps}) | settings(change or ())
        values = {"text": text, "spans": editing.spans(span or ()), "tokens": tokens, "sampling": sampling}
        asked = editing.Edit.from_values({**values, "count": count, "seed": seed, "given": dict(pairs(given or (), option="--given"))})
    teller = face.teller() if face.as_json else Spoken(face.teller(), streams=False)
    with stopping() as stop:
        follow(editing.edit(face.store(), release, asked, out, stop=stop), teller)


def _refuse_others(context: typer.Context, *, kind: str) -> None:
    """Refuse options that would be ignored."""
    for name in context.params:
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE" and name not in (*HEARS[kind], "release", "out"):
            option = "set" if name == "change" else name
            raise SpecError(f"--{option} has no effect beside --{kind}.", repair="Leave one of them out.")
