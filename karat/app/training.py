"""Training: from a snapshot and a few dials to a plan that can be read before anything is spent, and to a run."""

from pathlib import Path
from typing import Any

from karat.app.chain import find
from karat.app.settings import tree_of
from karat.learning.models import Model
from karat.material.data.snapshots import Snapshot
from karat.store.records import Record
from karat.store.store import Store
from karat.values.codecs import image, label, numbers, pretrained_text, text  # noqa: F401 - the built-in codecs register themselves
from karat.words.specs import Spec, read_spec
from karat.work.bases import bring_base
from karat.work.plans import RunSpec
from karat.work.recipes.dials import Dials
from karat.work.runs import folder_of, plan_run, run

__all__ = ["Dials", "PlanLine", "as_yaml", "finished", "hint", "plan", "read_plan", "run", "summary"]

MADE = "made."


class PlanLine(Spec):
    """One line of a plan: what, how much of it, and what that means."""

    name: str
    value: str


def plan(
    store: Store, ref: str, dials: Dials, *, given: tuple[str, ...] = (), through: str | None = None, base: str | None = None
) -> RunSpec:
    """Give the whole spec of a run; `through` names the autoencoder whose latents it learns, `base` the pretrained model it goes on from.

    A base is a folder, a name on the hub or the record of one that was brought before.
    A change that begins with `made.` goes to the codec, as in {"made.size": 32}.
    """
    made = {name.removeprefix(MADE): value for name, value in dials.changes.items() if name.startswith(MADE)}
    rest = {name: value for name, value in dials.changes.items() if not name.startswith(MADE)}
    snapshot = find(store, ref, "snapshot").id
    autoencoder = find(store, through, "run").id if through else None
    brought = bring_base(store, base) if base else None
    return plan_run(store, snapshot, dials.changed(changes=rest), given=given, made=tree_of(made), autoencoder=autoencoder, base=brought)


def read_plan(path: Path) -> RunSpec:
    """Read the whole spec of a run from a file that `as_yaml` wrote, or a run's own spec.json."""
    return read_spec(RunSpec, path)


def as_yaml(spec: Spec) -> str:
    """Give a spec as YAML that reads back to the same spec."""
    import yaml

    values: Any = spec.model_dump(mode="json")
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=120)


def summary(store: Store, spec: RunSpec) -> list[PlanLine]:
    """Say in a few lines what a run will do, before anything is spent."""
    snapshot = Snapshot.open(store, spec.snapshot)
    model, plan, family = Model(spec.model), spec.plan, spec.model.family
    budget = f"{plan.steps:,} steps" if plan.steps is not None else f"{plan.minutes:g} minutes"
    space = spec.model.space
    kind = f"{space.channels} channels" if space.channels else f"{space.vocab} ids"
    lines = {
        "data": f"snapshot {snapshot.id[:12]}: {snapshot.counts['train']:,} to learn from, {snapshot.counts['validation']:,} to choose by",
        "makes": f"{spec.made.kind.removeprefix('pretrained-')}s of {' x '.join(map(str, space.shape)) or 'one position'}, {kind}",
        "given": ", ".join(_given(name, spec) for name in spec.given) or "nothing",
        "model": f"{family.kind}, {model.parameter_count():,} parameters",
        "budget": f"{budget} of {plan.batch} samples, {plan.optimizer} at {plan.rate:g}, seed {plan.seed}",
        "folder": str(folder_of(store, spec)),
    }
    return [PlanLine(name=name, value=value) for name, value in lines.items()]


def hint(store: Store, spec: RunSpec) -> str | None:
    """Say what the plan leaves unused that a user may have meant to use."""
    if not spec.given and Snapshot.open(store, spec.snapshot).labels:
        return "The samples have labels, which this run does not learn; give `--given label` to choose later what is made."
    return None


def finished(store: Store, spec: RunSpec) -> Record:
    """Give the record of a run that is finished."""
    return find(store, folder_of(store, spec).name, "run")


def _given(name: str, spec: RunSpec) -> str:
    names = spec.given[name].state.get("names")
    return f"{name} ({len(names)} of them)" if names else name
