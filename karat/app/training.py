"""Training: from a snapshot and a few dials to a plan that can be read before anything is spent, and to a run."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from karat.app.chain import find
from karat.app.settings import tree_of
from karat.learning.families.preferences import Lessons, RftOptions
from karat.learning.models import Model
from karat.material.data.snapshots import Snapshot
from karat.store.placing import write_whole
from karat.store.records import Record
from karat.store.store import Store
from karat.values.codecs import image, label, numbers, pretrained_text, text  # noqa: F401 - the built-in codecs register themselves
from karat.words.errors import SpecError
from karat.words.specs import Spec, read_spec
from karat.work.bases import bring_base
from karat.work.plans import RunSpec
from karat.work.recipes.dials import Dials
from karat.work.rewards import check_reward, in_words, make_reward
from karat.work.runs import folder_of, plan_run, run
from karat.work.starts import plan_from, taught

__all__ = ["Dials", "PlanLine", "as_yaml", "finished", "hint", "keep", "plan", "read_plan", "run", "summary"]

MADE, LEARN = "made.", "learn."


class PlanLine(Spec):
    """One line of a plan: what, how much of it, and what that means."""

    name: str
    value: str


def plan(
    store: Store,
    ref: str,
    dials: Dials,
    *,
    given: tuple[str, ...] = (),
    through: str | None = None,
    base: str | None = None,
    start: str | None = None,
) -> RunSpec:
    """Give the whole spec of a run: `through` names the autoencoder whose latents it learns, `base` the pretrained model and `start` the
    run or release that it goes on from.

    A base is a folder, a name on the hub or the record of one that was brought before.
    A change that begins with `made.` goes to the codec, as in {"made.size": 32}, one that begins with `learn.` to how verdicts are learnt.
    """
    made, learn = ({n.removeprefix(to): v for n, v in dials.changes.items() if n.startswith(to)} for to in (MADE, LEARN))
    rest = dials.changed(changes={name: value for name, value in dials.changes.items() if not name.startswith((MADE, LEARN))})
    if learn and dials.learn is None:
        raise SpecError("Only verdicts are learnt in more than one way.", repair="Name one: --learn dpo, kto or rft.")
    snapshot = Snapshot.open(store, find(store, ref, "snapshot").id)
    if start is not None:
        if given or through or base or made:
            raise SpecError("What a run is given and makes is what its start had.", repair="Leave out --given, --through, --base and made.")
        spec = plan_from(store, find(store, start, "run", "release").id, snapshot, rest)
    else:
        autoencoder = find(store, through, "run").id if through else None
        brought = bring_base(store, base) if base else None
        spec = plan_run(store, snapshot.id, rest, given=given, made=tree_of(made), autoencoder=autoencoder, base=brought)
    return spec if dials.learn is None else taught(spec, snapshot, rest, _lessons(store, snapshot, dials, learn))


def _lessons(store: Store, snapshot: Snapshot, dials: Dials, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Give the options of how verdicts are learnt, with the reward that rejection sampling needs. Raises DataError for a blind one."""
    options = tree_of(changes)
    if dials.learn == "rft":
        reward = find(store, options["reward"], "reward") if "reward" in options else store.get(make_reward(store, snapshot))
        check_reward(reward)
        options["reward"] = reward.id
    return options


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
        **({"goes on from": f"{store.get(spec.start).kind} {spec.start[:12]}"} if spec.start else {}),
        **({"learns": _learns(store, spec.learn)} if spec.learn else {}),
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


def _learns(store: Store, learn: Lessons) -> str:
    """Say how verdicts are learnt."""
    if isinstance(learn, RftOptions):
        trusted = in_words(store.get(learn.reward)) if learn.reward else "nothing"
        return f"the best of {learn.tries} answers, by a reward that agrees with {trusted}"
    return f"verdicts by {learn.kind.upper()}, beta {learn.beta:g}"


def keep(store: Store, spec: RunSpec) -> str:
    """Keep a plan in the folder of its run, and give the folder's name. A plan that was kept before stays."""
    folder = folder_of(store, spec)
    if not (folder / "spec.json").exists():
        write_whole(folder / "spec.json", spec.to_json().encode())
    return folder.name


def finished(store: Store, spec: RunSpec) -> Record:
    """Give the record of a run that is finished."""
    return find(store, folder_of(store, spec).name, "run")


def _given(name: str, spec: RunSpec) -> str:
    names = spec.given[name].state.get("names")
    return f"{name} ({len(names)} of them)" if names else name
