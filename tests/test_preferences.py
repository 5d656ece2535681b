"""Learning from verdicts: the losses, the rows, the reward, and a run from pairs to a release that is a plain model."""

import importlib
import itertools
import json
import math
import random
from pathlib import Path

import pytest
import torch

from karat.app.evaluating import evaluate_run, open_run
from karat.app.proving import reproduce_asset
from karat.app.releasing import load_release, open_release, release_run
from karat.app.rewarding import reward_snapshot
from karat.app.training import Dials, plan, run, summary
from karat.app.writing import Asked, Prompts, make_asked
from karat.learning.families.preferences import Contrast, DpoOptions, KtoOptions, Prospect
from karat.learning.models import Model
from karat.material.data.importing import import_source
from karat.material.data.policy import CheckPolicy
from karat.material.data.snapshots import Snapshot, SnapshotSpec, make_snapshot
from karat.material.data.split import Fractions
from karat.material.data.texts.verdicts import Judged, JudgedSplit, encode_verdicts, verdicts_of
from karat.material.rewards import agreement, learn_reward, share
from karat.store.store import Store
from karat.values.given import Given
from karat.values.passages import Passage, Turn
from karat.words.errors import Cancelled, DataError, SpecError
from karat.words.events import Finished, Warned
from karat.work.checkpoints import same_weights
from karat.work.codecs import load_codec
from karat.work.orders import Order, WritingOptions
from karat.work.rewards import open_reward
from karat.work.runs import folder_of
from karat.work.training import chosen_weights
from karat.work.writing import Writer

ANIMALS = ("fox", "owl", "hare", "goat", "newt", "crane", "otter", "lynx", "whale", "heron")
WARM, COLD = ("gladly", "my dear", "lovely"), ("again", "if I must", "dull")


def last(events) -> Finished:
    *_, end = events
    assert isinstance(end, Finished)
    return end


def snapshot_of(store: Store, folder: Path, name: str, rows: list[dict]) -> str:
    (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    source = last(import_source(store, folder / f"{name}.jsonl")).result
    fractions = Fractions(train=0.6, validation=0.2, test=0.1, judge=0.1)
    return last(make_snapshot(store, SnapshotSpec(sources=(source,), policy=CheckPolicy(near_overlap=0), fractions=fractions))).result


def talk(chance: random.Random, tone: tuple[str, ...]) -> tuple[str, str]:
    prompt, said, _ = talk_twice(chance, tone)
    return prompt, said


def talk_twice(chance: random.Random, tone: tuple[str, ...]) -> tuple[str, str, str]:
    animal = chance.choice(ANIMALS)
    one, other = (f"{chance.choice(tone)} the {animal} is {chance.choice(('old', 'red', 'slow'))}" for _ in range(2))
    return f"tell me of the {animal} {chance.randrange(40)}", one, other


class World:
    """A store with a start that learnt conversations of both tones, and verdicts for the warm one."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.store = folder, Store.open(folder / "store")
        chance = random.Random(0)
        talks = [talk(chance, tone) for _ in range(150) for tone in (WARM, COLD)]
        self.talks = snapshot_of(self.store, folder, "talks", [{"prompt": p, "completion": a} for p, a in talks])
        changes = {"family.net.depth": 1, "family.net.width": 32, "plan.checks": 1, "made.vocab": 300, "made.length": 96}
        self.start = self.learnt(self.talks, {"size": "tiny", "steps": 120, "changes": changes}, None)
        rows = []
        for _ in range(160):
            prompt, warm = talk(chance, WARM)
            cold = f"{chance.choice(COLD)} {warm.partition(' the ')[2]}"
            pair = (warm, cold) if chance.random() > 0.1 else (cold, warm)
            rows.append({"prompt": prompt, "chosen": pair[0], "rejected": pair[1]})
        self.pairs = snapshot_of(self.store, folder, "pairs", rows)
        judged = zip(rows, itertools.cycle(("chosen", "rejected")))
        thumbs = [{"prompt": row["prompt"], "completion": row[side], "thumb": side == "chosen"} for row, side in judged]
        self.thumbs = snapshot_of(self.store, folder, "thumbs", thumbs)

    def plan(self, snapshot: str, dials: dict, start: str | None):
        return plan(self.store, snapshot, Dials.from_values(dials), start=start)

    def learnt(self, snapshot: str, dials: dict, start: str | None) -> str:
        return last(run(self.store, self.plan(snapshot, dials, start))).result


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> World:
    return World(tmp_path_factory.mktemp("verdicts"))


def parts(world: World, snapshot: str, form: str) -> tuple[Model, JudgedSplit]:
    _, ready, _ = open_run(world.store, world.start)
    opened = Snapshot.open(world.store, snapshot)
    return ready.model, JudgedSplit(encode_verdicts(world.store, opened, "train", ready.made, form))


def test_rows_hold_both_answers_and_weigh_the_answers_alone(world):
    _, ready, _ = open_run(world.store, world.start)
    _, rows = parts(world, world.pairs, "pairs")
    found = list(verdicts_of(world.store, Snapshot.open(world.store, world.pairs), "train"))
    x, given = rows.values([0, 1]), rows.conditions([0, 1])
    assert x.shape == given.weight.shape == (2, 2, ready.made.length)
    for row, each in enumerate(found[:2]):
        for side, text in enumerate((each.answer, each.rejected)):
            assert ready.made.text(x[row, side][given.weight[row, side] > 0].tolist()) == text


def test_losses_begin_at_nothing_and_do_what_the_papers_say(world):
    for options, objective_of, snapshot, form in (
        (DpoOptions(doubt=0.1, beta=0.5), Contrast, world.pairs, "pairs"),
        (KtoOptions(beta=0.5), Prospect, world.thumbs, "thumbs"),
    ):
        model, rows = parts(world, snapshot, form)
        x, given = next(rows.batches(8))
        log_B2 = -(model.family.errors(x.flatten(0, 1), Given()).view(x.shape) * given.weight).sum(-1).detach()
        objective = objective_of(model.family, options)
        held = Given({**given.values, "reference": log_B2}, {}, given.weight)
        begun = objective.held_out(x, held, torch.Generator())
        assert begun["preference"].abs().max() < 1e-5
        assert begun["agrees"].shape == (8,)
        moved_B2 = torch.randn(8, 2, generator=torch.Generator().manual_seed(1)) * 3
        held = Given({**given.values, "reference": log_B2 - moved_B2}, {}, given.weight)
        found = objective.held_out(x, held, torch.Generator())["preference"]
        if form == "pairs":
            lead = 0.5 * (moved_B2[:, 0] - moved_B2[:, 1])
            wanted = -0.9 * lead.sigmoid().log() - 0.1 * (-lead).sigmoid().log() - math.log(2)
        else:
            worth, far = given.values["worth"], moved_B2[:, 1].mean().clamp(min=0)
            lead = 0.5 * (moved_B2[:, 0] - far)
            wanted = torch.where(worth > 0, 1 - lead.sigmoid(), 1 - (-lead).sigmoid()) * worth.abs() - 0.5 * worth.abs()
        assert torch.allclose(found, wanted, atol=1e-4)
        (loss := objective.loss("next", x, held, torch.Generator())).total.backward()
        assert loss.total.isfinite()
        assert all(parameter.grad is not None for parameter in model.family.net.parameters())


def test_thumbs_of_both_kinds_count_alike_and_pairs_are_thumbs_too(world):
    for snapshot in (world.thumbs, world.pairs):
        _, rows = parts(world, snapshot, "thumbs")
        worth = rows.conditions(range(len(rows))).values["worth"]
        assert float(worth[worth > 0].sum()) == pytest.approx(-float(worth[worth < 0].sum()), rel=1e-4)
    with pytest.raises(DataError, match="no pairs"):
        parts(world, world.thumbs, "pairs")


def test_a_reward_finds_the_taste_and_says_so(world):
    found = last(reward_snapshot(world.store, world.pairs, alias="warm"))
    facts = world.store.get(found.result).facts
    assert facts["low"] > 0.6
    reward = open_reward(world.store, found.result)
    asked = Passage(turns=(Turn(role="user", text="tell me of the fox 3"),))
    assert reward(asked, "gladly the fox is red") > reward(asked, "dull the fox is red")
    thumbs = store_reward(world, world.thumbs)
    assert thumbs(asked, "gladly the fox is red") > thumbs(asked, "dull the fox is red")


def random_verdicts(world: World, name: str, seed: int) -> str:
    chance = random.Random(seed)
    said = [talk_twice(chance, WARM + COLD) for _ in range(140)]
    rows = [{"prompt": prompt, "chosen": one, "rejected": other} for prompt, one, other in said if one != other]
    return snapshot_of(world.store, world.folder, name, rows)


def store_reward(world: World, snapshot: str):
    return open_reward(world.store, last(reward_snapshot(world.store, snapshot)).result)


def test_a_reward_of_random_verdicts_is_refused_by_rejection_sampling(world):
    snapshot = random_verdicts(world, "random", 5)
    assert any(isinstance(event, Warned) for event in reward_snapshot(world.store, snapshot))
    with pytest.raises(DataError, match="coin"):
        world.plan(snapshot, {"learn": "rft"}, world.start)
    with pytest.raises(DataError, match="verdicts; a reward needs"):
        learn_reward([Judged(Passage(), "a", "b")] * 3)
    assert agreement(store_reward(world, world.pairs), []) == (0.5, 0.0, 1.0)
    assert share(60, 100)[1:] == pytest.approx((0.5020, 0.6906), abs=1e-3), "Wilson's interval"


TEACHING = {"steps": 40, "seed": 1, "changes": {"plan.rate": 3e-3, "plan.warmup": 2, "plan.checks": 3, "plan.average": 0.9}}


@pytest.mark.parametrize(("way", "verdicts"), [("dpo", "pairs"), ("kto", "thumbs")])
def test_verdicts_are_learnt_and_what_comes_of_it_is_a_plain_model(world, way, verdicts):
    made = world.learnt(getattr(world, verdicts), {"learn": way, **TEACHING}, world.start)
    record, ready, spec = open_run(world.store, made)
    start = open_run(world.store, world.start)
    assert spec.learn is not None
    assert spec.learn.kind == way
    assert world.start in record.made_from
    assert spec.model == start[2].model, "the same family with the same net"
    assert ready.model.state_dict().keys() == start[1].model.state_dict().keys()
    assert warm_share(ready) > warm_share(start[1]) + 0.2


def warm_share(ready) -> float:
    orders = [
        Order(Passage(turns=(Turn(role="user", text=f"tell me of the {a}"),)), WritingOptions(), (0, i)) for i, a in enumerate(ANIMALS * 8)
    ]
    return sum(text.text.startswith(WARM) for text in Writer(ready.model, ready.made).written(orders)) / len(orders)


def test_a_stopped_run_goes_on_to_the_bit(world):
    spec = world.plan(world.pairs, {"learn": "dpo", "seed": 3, **TEACHING, "steps": 8}, world.start)
    calls = itertools.count()
    with pytest.raises(Cancelled):
        list(run(world.store, spec, stop=lambda: next(calls) > 4))
    assert not (folder_of(world.store, spec) / "record").exists()
    made = world.store.get(last(run(world.store, spec)).result)
    again = spec.changed(plan=spec.plan.changed(keep=3, save_minutes=7.0))
    assert folder_of(world.store, again) == folder_of(world.store, spec), "where it ran is no part of what was asked"
    weights, facts = chosen_weights(folder_of(world.store, spec))
    (folder_of(world.store, spec)).rename(world.folder / "stopped")
    once = world.store.get(last(run(world.store, spec)).result)
    assert once.made == made.made
    assert same_weights(weights, chosen_weights(folder_of(world.store, spec))[0])
    assert facts["step"] == 8


def test_verdicts_that_say_nothing_leave_the_start_as_it_was(world):
    snapshot = random_verdicts(world, "nothing", 7)
    end = last(run(world.store, world.plan(snapshot, {"learn": "dpo", **TEACHING, "steps": 12}, world.start)))
    assert end.figures["chosen"] == 0
    made, start = (world.store.get(each).made for each in (end.result, world.start))
    assert made == start


def test_rejection_sampling_and_best_of_by_a_reward(world, tmp_path):
    changes = {"learn.prompts": 64, "learn.tries": 4, "learn.original": 0.25, "plan.rate": 3e-3, "plan.batch": 8, "plan.checks": 2}
    spec = world.plan(world.pairs, {"learn": "rft", "steps": 30, "changes": changes}, world.start)
    assert "agrees with" in next(line.value for line in summary(world.store, spec) if line.name == "learns")
    made = last(run(world.store, spec)).result
    record, ready, _ = open_run(world.store, made)
    assert spec.learn.reward in record.made_from
    assert warm_share(ready) > warm_share(open_run(world.store, world.start)[1])
    last(evaluate_run(world.store, made))
    release = last(release_run(world.store, made, alias="helper:live")).result
    _, opened = open_release(world.store, release)
    again, shipped = load_release(opened)
    assert same_weights(again.model.state_dict(), ready.model.state_dict())
    assert shipped.model.family.kind == "autoregressive"
    store_reward(world, world.pairs)
    asked = Asked(count=2, sampling={"best_of": 4, "by": "latest"})
    end = last(make_asked(world.store, "helper:live", asked, tmp_path / "out", prompts=Prompts.of("tell me of the fox")))
    assert end.figures["assets"] == 2
    asset = next(iter(world.store.find("asset"))).id
    assert last(reproduce_asset(world.store, asset, tmp_path / "again")).result
    going = world.plan(world.pairs, {"learn": "dpo", "steps": 2}, release)
    assert last(run(world.store, going)).figures["steps"] == 2


def test_what_does_not_go_together_is_refused(world, tmp_path):
    with pytest.raises(SpecError, match="answers that a model gives"):
        world.plan(world.pairs, {"learn": "dpo"}, None)
    with pytest.raises(SpecError, match="more than one way"):
        world.plan(world.pairs, {"changes": {"learn.beta": 1}}, world.start)
    with pytest.raises(SpecError, match="what it was at the start"):
        world.plan(world.pairs, {"changes": {"family.net.width": 8}}, world.start)
    with pytest.raises(SpecError, match="has no bete"):
        world.plan(world.pairs, {"learn": "dpo", "changes": {"learn.bete": 1}}, world.start)
    with pytest.raises(SpecError, match="chooses among several"):
        WritingOptions(by="x").check()
    spec = world.plan(world.talks, {"learn": "dpo", "steps": 2}, world.start)
    with pytest.raises(DataError, match="no pairs"):
        list(run(world.store, spec))
    (tmp_path / "plain.jsonl").write_text("".join(json.dumps({"text": f"{a} and {b}"}) + "\n" for a in ANIMALS for b in ANIMALS))
    texts = last(
        make_snapshot(world.store, SnapshotSpec(sources=(last(import_source(world.store, tmp_path / "plain.jsonl")).result,)))
    ).result
    stream = world.learnt(texts, {"size": "tiny", "steps": 1, "changes": {"family.net.depth": 1, "plan.checks": 0}}, None)
    with pytest.raises(SpecError, match="answers nothing"):
        list(run(world.store, world.plan(world.pairs, {"learn": "dpo", "steps": 2}, stream)))
    codec = load_codec(open_run(world.store, stream)[2].made, world.store.read)
    assert codec.options.packing == "stream"


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_taste_comes_through_and_random_verdicts_do_not(tmp_path, monkeypatch):
    """The bounds are those that the benchmark's page states."""
    monkeypatch.syspath_prepend(Path(__file__).parent.parent / "benchmarks")
    rater = importlib.import_module("preferences")
    world = rater.World(tmp_path, 0, steps=500)
    for flips, comes_through in ((rater.FLIPS, True), (0.5, False)):
        pairs, _ = world.verdicts(1000, flips=flips)
        found = world.compared(world.learn(pairs, Dials(learn="dpo"), world.start))
        assert (found["won"]["low"] > 0.5) == comes_through
        assert comes_through or found["won"]["low"] <= 0.5 <= found["won"]["high"]
        assert found["bits per byte"] < 1.1
        assert found["distinct-2"] > 0.9
