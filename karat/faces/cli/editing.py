"""`karat edit`."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from karat.faces.cli.face import face_of
from karat.words.errors import SpecError

if TYPE_CHECKING:
    from karat.app import editing

EPILOG = """karat edit quotes:live --text "The ___ of the beholder" -n 3

karat edit quotes:live --text "He who laughs last laughs best" --span 16:21

karat edit captions:live --between "red heart" "blue square" --steps 5

karat edit captions:live --text "man running" --toward women --away men

karat edit digits:live --image in.png --mask mask.png --label 3 -n 4

karat edit digits:live --image in.png --strength 0.4"""

HEARS = {
    "image": ("image", "mask", "label", "strength", "steps", "count", "given", "seed", "change"),
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
    image: Annotated[Path | None, typer.Option(metavar="FILE", help="The picture to edit, of any size.")] = None,
    mask: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A PNG of the picture's size, transparent where it is made anew; left out, the whole is varied."),
    ] = None,
    label: Annotated[str | None, typer.Option(help="The label that the picture is to have.")] = None,
    text: Annotated[str | None, typer.Option(help="The text to edit; ___ stands where something is to be filled in.")] = None,
    span: Annotated[
        list[str] | None, typer.Option(metavar="FIRST:LAST", help="Characters to write anew, counted from 0, without the last.")
    ] = None,
    tokens: Annotated[int | None, typer.Option(min=1, help="Tokens in each gap; left out, the model chooses.")] = None,
    between: Annotated[tuple[str, str] | None, typer.Option(help="Go from one text to another.")] = None,
    toward: Annotated[str | None, typer.Option(metavar="LABEL", help="Move the text towards the samples of a label.")] = None,
    away: Annotated[str | None, typer.Option(metavar="LABEL", help="… and away from those of this one; left out, from all others.")] = None,
    strength: Annotated[
        float | None,
        typer.Option(
            help="How far to move a text: 1 is from the middle of one label to that of the other. Of a picture, how much is lost: up to 1."
        ),
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Texts on the way between two (5), or steps of sampling.")] = None,
    count: Annotated[int, typer.Option("--count", "-n", min=1, help="How many ways of filling the gaps, or of the picture.")] = 1,
    given: Annotated[list[str] | None, typer.Option(metavar="NAME=VALUE", help="A condition that the model knows.")] = None,
    seed: Annotated[int, typer.Option(help="The same seed makes the same files.")] = 0,
    change: Annotated[list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="Change another sampling option.")] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder to write to.")] = Path("out"),
) -> None:
    """Edit a text (fill gaps, rewrite spans, go from one to another, move it towards a label) or a picture: a part, or the whole of it."""
    from karat.app.brought import read_pictures
    from karat.app.editing import edit as edit_text
    from karat.app.retouching import Retouch, retouch
    from karat.faces.cli.telling import Spoken, follow, stopping

    face = face_of(context)
    asked = [each for each in (text, between, image) if each is not None]
    if len(asked) != 1:
        said = "Two things are asked for." if asked else "There is nothing to edit."
        raise SpecError(said, repair="Give --text, --between or --image.")
    kind = "image" if image is not None else "between" if between is not None else "toward" if toward is not None else "text"
    _refuse_others(context, kind=kind)
    with stopping() as stop:
        if image is not None:
            kept = read_pictures(face.store(), image, mask)
            given = [*(given or ()), *([] if label is None else [f"label={label}"])]
            picture = Retouch.from_values({**_common(context), **kept, "given": _conditions(given), "strength": strength})
            follow(retouch(face.store(), release, picture, out, stop=stop), face.teller())
        else:
            teller = face.teller() if face.as_json else Spoken(face.teller(), streams=False)
            follow(edit_text(face.store(), release, _asked(context, kind), out, stop=stop), teller)


def _asked(context: typer.Context, kind: str) -> "editing.Edit | editing.Way | editing.Steer":
    """Give what is asked of a text."""
    from karat.app import editing

    said = context.params
    if kind == "between":
        return editing.Way.from_values({"between": said["between"], "steps": 5 if said["steps"] is None else said["steps"]})
    if kind == "toward":
        strength = 1.0 if said["strength"] is None else said["strength"]
        return editing.Steer(text=said["text"], toward=said["toward"], away=said["away"], strength=strength)
    own = {"text": said["text"], "spans": editing.spans(said["span"] or ()), "tokens": said["tokens"]}
    return editing.Edit.from_values({**_common(context), **own, "given": _conditions(said["given"] or ())})


def _common(context: typer.Context) -> dict[str, Any]:
    """Give what requests for texts and for pictures have in common."""
    from karat.app.settings import settings

    said = context.params
    sampling = ({} if said["steps"] is None else {"steps": said["steps"]}) | settings(said["change"] or ())
    return {"sampling": sampling, "count": said["count"], "seed": said["seed"]}


def _conditions(words: Sequence[str]) -> dict[str, str]:
    from karat.app.settings import pairs

    return dict(pairs(words, option="--given"))


def _refuse_others(context: typer.Context, *, kind: str) -> None:
    """Refuse options that would be ignored."""
    for name in context.params:
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE" and name not in (*HEARS[kind], "release", "out"):
            option = "set" if name == "change" else name
            raise SpecError(f"--{option} has no effect beside --{kind}.", repair="Leave one of them out.")
