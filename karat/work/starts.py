"""Starts: runs and releases whose weights a run goes on from, with the same codecs, the same family and the same net."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from karat.learning.families.preferences import DpoOptions, KtoOptions, RftOptions
from karat.material.data.snapshots import Snapshot
from karat.material.releases.release import Release
from karat.store.store import Store
from karat.values.tensors import TensorFile
from karat.words.errors import NotFoundError, SpecError
from karat.words.specs import Spec
from karat.work.optimizers import optimizers
from karat.work.plans import RunSpec, TrainingPlan
from karat.work.recipes.dials import Dials
from karat.work.recipes.recipes import change

GENTLY = 0.1
"""The rate at which a run goes on, as a share of the one at which it learnt."""
PASSES = 5
"""How often verdicts are gone through, where no budget is given."""
LESSONS: dict[str, type[Spec]] = {"dpo": DpoOptions, "kto": KtoOptions, "rft": RftOptions}
TEACHING = {"optimizer": "adamw", "batch": 32, "warmup": 10, "average": 0.98, "weight_decay": 0.0, "judged": 0}
RATES = {"pretrained": 5e-5}
RATE = 6e-4
"""How verdicts are gone through: far more slowly than the data was, and the more so the more a model has learnt before."""


@dataclass(frozen=True)
class Start:
    """What a run goes on from: its whole spec, its weights, and its own run where the store has it."""

    spec: RunSpec
    weights: Mapping[str, Tensor]

    @classmethod
    def open(cls, store: Store, id: str) -> "Start":
        """Open the run or release of a record."""
        record = store.get(id)
        if record.made is None or not store.has(record.made):
            raise NotFoundError(f"The weights of {record.kind} {id[:12]} are gone from the store.", repair="Start from another.")
        if record.kind == "release":
            release = Release.open(store.path(record.made))
            return cls(RunSpec.from_json(json.dumps(release.json("spec.json"))), release.tensors())
        if record.kind != "run":
            raise NotFoundError(f"{id[:12]} is a {record.kind}, neither a run nor a release.", repair="Start from one of these.")
        payload = store.read(record.made)
        return cls(RunSpec.from_values(record.spec), TensorFile(lambda start, length: payload[start : start + length], len(payload)))


def plan_from(store: Store, start: str, snapshot: Snapshot, dials: Dials) -> RunSpec:
    """Give the whole spec of a run that goes on from another on a snapshot: everything but the plan is as it was."""
    before = Start.open(store, start).spec
    if dials.family not in (None, before.model.family.kind):
        raise SpecError(f"The start is of the family {before.model.family.kind}.", repair="Leave out --family, or --from.")
    usual = {**before.plan.model_dump(), "rate": GENTLY * before.plan.rate, "steps": None, "minutes": None}
    budget = {"steps": dials.steps} if dials.steps is not None else {"minutes": dials.minutes or 10.0}
    return before.changed(
        snapshot=snapshot.id,
        base=None,
        start=start,
        learn=None,
        model=before.model.finished(),
        plan=_plan({**usual, **budget, "seed": dials.seed}, dials.changes),
    )


def taught(spec: RunSpec, snapshot: Snapshot, dials: Dials, options: Mapping[str, Any]) -> RunSpec:
    """Give the spec of a run that learns verdicts in place of the data. Raises SpecError for one that goes on from nothing."""
    if spec.start is None and spec.base is None:
        raise SpecError("Verdicts are about answers that a model gives already.", repair="Name it: --from RUN, or --base FOLDER.")
    changes = {place: value for place, value in dials.changes.items() if place.startswith("plan.")}
    learn = LESSONS[dials.learn or "dpo"].from_values(dict(options))
    steps = dials.steps if dials.steps or dials.minutes else max(50, PASSES * snapshot.counts["train"] // int(str(TEACHING["batch"])))
    rate = RATES.get(spec.model.family.kind, RATE)
    plan = _plan({**TEACHING, "rate": rate, "steps": steps, "minutes": dials.minutes, "seed": dials.seed}, changes)
    return spec.changed(learn=learn, plan=plan)


def _plan(usual: Mapping[str, Any], changes: Mapping[str, Any]) -> TrainingPlan:
    """Give a plan with what was changed. Raises SpecError for a change to anything else, which stays what the start has."""
    tree: dict[str, Any] = {"plan": dict(usual)}
    for place, value in changes.items():
        if place.partition(".")[0] != "plan":
            raise SpecError(f"{place} is what it was at the start.", repair="Change the plan and the lessons alone: plan., learn.")
        change(tree, place, value)
    plan = TrainingPlan.from_values(tree["plan"])
    optimizers[plan.optimizer]  # refuses an unknown one before anything is spent
    return plan
