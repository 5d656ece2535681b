"""`karat generate`."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from karat.faces.cli.face import face_of

EPILOG = """karat generate digits:live -n 64 --label 7 --seed 3 -o out

karat generate digits:live -n 10 --each label -o out --sheet sheet.png

karat generate digits:live --walk 3 4 -n 12 --label 7 --sheet walk.gif

karat generate emoji.karat -n 8 --text "a red heart" --guidance 2

karat generate quotes:live -n 3 --prompt "The best way to" --set top_p=0.9 --set most=40

karat generate helper:live --file prompts.jsonl --system "You are brief." --set temperature=0

karat generate helper:live --prompt "Tell me about Bergen." --best-of 8 --by warm"""


def register(app: typer.Typer) -> None:
    app.command(epilog=EPILOG)(generate)


def generate(
    context: typer.Context,
    release: Annotated[str, typer.Argument(metavar="RELEASE", help="A release: an alias, an id, `latest`, or a .karat file.")],
    count: Annotated[int, typer.Option("--count", "-n", min=1, help="How many assets.")] = 1,
    label: Annotated[str | None, typer.Option(help="The label to make.")] = None,
    text: Annotated[str | None, typer.Option(help="The text to make a picture of.")] = None,
    given: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="Any other condition that the model knows, by its name.")
    ] = None,
    prompt: Annotated[str | None, typer.Option(help="For releases of texts: what to go on from, or to answer.")] = None,
    system: Annotated[str, typer.Option(help="For releases that answer: what they are told before the prompt.")] = "",
    file: Annotated[Path | None, typer.Option(metavar="JSONL", help="Many prompts, one to a line; --count texts of each.")] = None,
    each: Annotated[
        str | None, typer.Option(metavar="NAME", help="Make --count assets of each value of this condition, as in label.")
    ] = None,
    walk: Annotated[
        tuple[int, int] | None,
        typer.Option(metavar="SEED SEED", help="Go from the picture of one seed to that of another, in -n pictures."),
    ] = None,
    seed: Annotated[int, typer.Option(help="The same seed makes the same files.")] = 0,
    first: Annotated[int, typer.Option(min=0, help="The index of the first asset; 0 to 9 and 10 to 19 are the same as 0 to 19.")] = 0,
    steps: Annotated[int | None, typer.Option(min=1, help="Steps of sampling: more are slower and finer.")] = None,
    guidance: Annotated[float | None, typer.Option(min=0, help="1 as learnt; more keeps closer to what is given and varies less.")] = None,
    solver: Annotated[str | None, typer.Option(help="The solver of a diffusion model: heun, euler, midpoint or dpm++2m.")] = None,
    best_of: Annotated[int | None, typer.Option(min=1, help="For releases of texts: write so many and keep the best.")] = None,
    by: Annotated[str | None, typer.Option(metavar="REWARD", help="With --best-of: the reward that says which one is the best.")] = None,
    change: Annotated[list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="Change another sampling option.")] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder to write to.")] = Path("out"),
    sheet: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also draw a contact sheet of the assets as a PNG, or a film as a .gif.")
    ] = None,
) -> None:
    """Make assets: files that say where they come from, each with a record on the chain."""
    from karat.app.generating import Asked
    from karat.app.settings import pairs, settings
    from karat.app.writing import Prompts, make_asked
    from karat.faces.cli.telling import Spoken, follow, stopping

    face = face_of(context)
    named = {"label": label, "text": text} | dict(pairs(given or (), option="--given"))
    dials = {"steps": steps, "guidance": guidance, "solver": solver, "best_of": best_of, "by": by}
    sampling = {name: value for name, value in dials.items() if value is not None} | settings(change or ())
    asked = Asked(
        count=count,
        seed=seed,
        first=first,
        given={name: value for name, value in named.items() if value is not None},
        each=each,
        sampling=sampling,
        walk=walk,
    )
    prompts = Prompts.of(prompt, file=file, system=system)
    with stopping() as stop:
        events = make_asked(face.store(), release, asked, out, prompts=prompts, sheet=sheet, stop=stop)
        streams = count == 1 and file is None and sys.stdout.isatty()
        follow(events, face.teller() if face.as_json else Spoken(face.teller(), streams=streams))
