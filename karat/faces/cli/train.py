"""`karat train` and `karat runs`."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from karat.faces.cli.face import Face, face_of, table
from karat.words.errors import SpecError

if TYPE_CHECKING:
    from karat.work.plans import RunSpec


class Size(StrEnum):
    """How large the model is."""

    tiny = "tiny"
    small = "small"
    base = "base"
    large = "large"


TRAIN_EPILOG = """karat train digits --given label --minutes 2

karat train emoji --given text --size base --set plan.rate=0.001

karat train chats --base ./qwen3-0.6b --minutes 30

karat train digits --given label --dry-run > plan.yaml

karat train pairs --from helper:live --learn dpo

karat train --spec plan.yaml"""


def register(app: typer.Typer) -> None:
    app.command(epilog=TRAIN_EPILOG)(train)
    app.command(epilog="karat reward pairs --as warm")(reward)
    app.command(epilog="karat runs")(runs)


def train(
    context: typer.Context,
    snapshot: Annotated[str | None, typer.Argument(metavar="SNAPSHOT", help="What to learn from: an id, an alias, or `latest`.")] = None,
    family: Annotated[
        str | None,
        typer.Option(
            metavar="FAMILY",
            help="How to learn: diffusion (if left open), autoregressive (for text), masked (fills gaps), vae, gan, autoencoder, "
            "or one that a package adds.",
        ),
    ] = None,
    given: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="What the model is told: label, numbers, or a column of captions such as text.")
    ] = None,
    size: Annotated[Size, typer.Option(help="How large the model is.")] = Size.small,
    minutes: Annotated[float | None, typer.Option(min=0.01, help="The budget as time; 10 if neither is given.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="The budget as steps, which can be repeated exactly.")] = None,
    seed: Annotated[int, typer.Option(help="Everything random is drawn from it.")] = 0,
    through: Annotated[
        str | None, typer.Option(metavar="RUN", help="Learn the latents of this run: of the family vae or, for texts, autoencoder.")
    ] = None,
    base: Annotated[str | None, typer.Option(metavar="BASE", help="Go on from a pretrained language model: a folder or hub name.")] = None,
    start: Annotated[
        str | None, typer.Option("--from", metavar="RUN|RELEASE", help="Go on from the weights of this run or release, with the same net.")
    ] = None,
    learn: Annotated[
        str | None,
        typer.Option(metavar="WAY", help="Learn verdicts: dpo (from pairs), kto (from thumbs), rft (from own best answers)."),
    ] = None,
    change: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Change anything else, as in family.net.width=48 or made.size=32."),
    ] = None,
    spec: Annotated[Path | None, typer.Option(metavar="FILE", help="Take the whole plan from a file that --dry-run printed.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the whole plan as YAML and end.")] = False,
) -> None:
    """Train a model on a snapshot. The same command again goes on where it was stopped.

    Ctrl-C stops at the next step and keeps everything.
    """
    from karat.app import training
    from karat.app.settings import settings

    face = face_of(context)
    store = face.store()
    if (snapshot is None) == (spec is None):
        raise SpecError(
            "There is nothing to train on." if spec is None else "A plan names its own snapshot.", repair="Give SNAPSHOT or --spec."
        )
    if spec is not None:
        _refuse_dials(context)
        plan = training.read_plan(spec)
    else:
        values = {"family": family, "size": size.value, "steps": steps, "minutes": minutes, "seed": seed, "learn": learn}
        dials = training.Dials.from_values({**values, "changes": settings(change or ())})
        plan = training.plan(store, snapshot or "", dials, given=tuple(given or ()), through=through, base=base, start=start)
    if dry_run:
        typer.echo(plan.to_json() if face.as_json else training.as_yaml(plan), nl=face.as_json)
    else:
        _train(face, plan)


def _train(face: Face, plan: "RunSpec") -> None:
    """Say what a plan will do, and do it."""
    from karat.app import training
    from karat.faces.cli.telling import follow, stopping

    store = face.store()
    for line in table(([line.name, line.value] for line in training.summary(store, plan)), indent="  "):
        face.say(line)
    if advice := training.hint(store, plan):
        face.say(f"Note: {advice}")
    with stopping() as stop:
        end = follow(training.run(store, plan, stop=stop), face.teller())
    _say_next(face, end.result)


def _refuse_dials(context: typer.Context) -> None:
    """A plan says everything: dials beside it would be ignored."""
    for name in ("family", "given", "size", "minutes", "steps", "seed", "through", "base", "start", "learn", "change"):
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            option = {"change": "set", "start": "from"}.get(name, name)
            raise SpecError(f"--{option} has no effect beside --spec.", repair="Change it in the file, or leave --spec out.")


def _say_next(face: Face, result: str) -> None:
    face.say(f"Run {result[:12]}. Next: karat evaluate {result[:12]}")


def reward(
    context: typer.Context,
    snapshot: Annotated[str, typer.Argument(metavar="SNAPSHOT", help="Verdicts on answers: an id, an alias, or `latest`.")],
    name: Annotated[str | None, typer.Option("--as", metavar="ALIAS", help="An alias for the reward.")] = None,
) -> None:
    """Learn what verdicts say of an answer as one number, to keep the best of several answers by it."""
    from karat.app.rewarding import reward_snapshot
    from karat.faces.cli.telling import follow

    face = face_of(context)
    end = follow(reward_snapshot(face.store(), snapshot, alias=name), face.teller())
    face.say(f"Next: karat generate RELEASE --prompt … --best-of 8 --by {name or end.result[:12]}")


def runs(context: typer.Context) -> None:
    """List all runs, finished or not, the newest first."""
    from karat.app.chain import runs as all_runs

    face = face_of(context)
    found = all_runs(face.store())
    rows = [["RUN", "STATE", "FAMILY", "GIVEN", "SNAPSHOT", "STEPS", "CHOICE"]]
    for run in found:
        choice = f"{run.figures['choice']:.3f}" if "choice" in run.figures else ""
        name = run.record[:12] if run.record else run.folder[:12]
        rows.append([name, run.state, run.family, ", ".join(run.given), run.snapshot[:12], f"{run.step:,}", choice])
    face.tell(found, table(rows) if found else ["There are no runs yet. Start one: karat train SNAPSHOT"])
