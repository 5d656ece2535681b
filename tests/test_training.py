"""Training ends in the same bits however often it is stopped, killed or repeated; what goes wrong leaves the last checkpoint whole."""

import multiprocessing
import random
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from hardship import file_size_limit
from hypothesis import given as examples
from hypothesis import settings
from hypothesis import strategies as st
from runs import FORMS, GIVEN, OFTEN, PLAN, look, model_that_drops, space_of, train_slowly
from test_data import imported, snapshot_of
from tiny import CONDITIONS, SPACES, Toy, codec_of, model_of, png
from torch import Tensor

from karat.learning.models import Model
from karat.material.data.snapshots import Snapshot
from karat.store.store import Store
from karat.values.codecs.codec import codecs
from karat.values.given import Given
from karat.words.errors import BusyError, Cancelled, StoreError, TrainingError
from karat.words.events import Event, Finished, Progress, Saved, Scored, Started
from karat.work.averages import Average
from karat.work.checkpoints import existing, read_checkpoint, same_weights, write_checkpoint
from karat.work.lanes import Lanes
from karat.work.muon import divide, orthogonal
from karat.work.optimizers import is_averaging, optimizers
from karat.work.plans import FittedCodec, RunSpec, TrainingPlan
from karat.work.runs import run as run_spec
from karat.work.training import Run, begin, check, chosen_weights, held_out_losses, settled_plan, take_step, train


def ended(form: str, folder: Path, plan: TrainingPlan = PLAN, **options: Any) -> list[Event]:
    return list(train(model_that_drops(form, space_of(form)), Toy(space_of(form), GIVEN), plan, folder, look=look, **options))


def after(count: int) -> Callable[[], bool]:
    """Say stop once asked more often than that."""
    asked = iter(range(count))
    return lambda: next(asked, None) is None


def state(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    found = read_checkpoint(folder)
    assert found is not None
    tensors, facts = found
    return tensors, {name: value for name, value in facts.items() if name != "clock"}


def assert_same(one: Path, other: Path) -> None:
    (tensors, facts), (others, other_facts) = state(one), state(other)
    assert same_weights(tensors, others)
    assert facts == other_facts
    assert {name.partition("/")[0] for name in tensors} == {"model", "average", "best", "optimizer"}


# ---- stopped, killed, repeated


@pytest.mark.parametrize("form", FORMS)
def test_a_stopped_run_goes_on_to_the_same_bits(form: str, tmp_path: Path) -> None:
    events = ended(form, tmp_path / "whole")
    for stop in (after(1), after(5), after(3)):
        with pytest.raises(Cancelled, match="everything is kept"):
            ended(form, tmp_path / "parts", stop=stop)
    ended(form, tmp_path / "parts")
    assert_same(tmp_path / "whole", tmp_path / "parts")
    assert isinstance(events[-1], Finished)
    assert events[-1].figures["chosen"] == state(tmp_path / "parts")[1]["best"]["step"] == 13


@pytest.mark.parametrize("form", [form for form in FORMS if "transformer" in form])
def test_a_killed_run_goes_on_to_the_same_bits(form: str, tmp_path: Path) -> None:
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["karat.work.training", "tokenizers", "PIL.Image"])
    process = processes.Process(target=train_slowly, args=(form, tmp_path / "killed", torch.get_num_threads()))
    process.start()
    while process.is_alive() and not list((tmp_path / "killed").glob("step-*")):
        time.sleep(0.002)
    time.sleep(random.Random(form).uniform(0, 0.1))
    process.kill()
    process.join()
    assert process.exitcode == -9
    step = state(tmp_path / "killed")[1]["step"]
    assert 0 < step < 14
    ended(form, tmp_path / "whole")
    ended(form, tmp_path / "killed")
    assert_same(tmp_path / "whole", tmp_path / "killed")
    assert not list((tmp_path / "killed").glob(".step-*"))


@pytest.mark.parametrize("optimizer", optimizers)
def test_every_optimizer_goes_on_exactly_and_learns(optimizer: str, tmp_path: Path) -> None:
    form, plan = "diffusion/transformer", PLAN.changed(optimizer=optimizer)
    ended(form, tmp_path / "whole", plan)
    with pytest.raises(Cancelled):
        ended(form, tmp_path / "parts", plan, stop=after(6))
    ended(form, tmp_path / "parts", plan)
    assert_same(tmp_path / "whole", tmp_path / "parts")
    space = SPACES["table"]
    long = TrainingPlan(steps=150, batch=16, rate=5e-3, warmup=10, optimizer=optimizer, checks=0, average=0.9, judged=0)
    model, data = model_of(form, space), Toy(space, {})
    before = held_out_losses(model, data, long.seed)["held-out loss"]
    (scored,) = [event for event in train(model, data, long, tmp_path / "long") if isinstance(event, Scored)]
    assert scored.figures["held-out loss"] < 0.8 * before


def test_a_budget_of_minutes_is_kept_and_repeated_by_its_steps(tmp_path: Path) -> None:
    form, plan = "gan/transformer", PLAN.changed(steps=None, minutes=0.02, judged=2)
    begun = time.monotonic()
    ended(form, tmp_path / "minutes", plan)
    assert 0.4 < time.monotonic() - begun < 10
    facts = state(tmp_path / "minutes")[1]
    settled = settled_plan(plan, facts)
    assert settled.steps == facts["step"] > 3
    assert settled.minutes is None
    ended(form, tmp_path / "steps", settled)
    (tensors, _), (others, _) = state(tmp_path / "minutes"), state(tmp_path / "steps")
    assert same_weights(tensors, others)


@pytest.mark.parametrize("decay", [0.0, 1.0])
def test_a_budget_of_minutes_ends_with_any_fall(decay: float, tmp_path: Path) -> None:
    plan = PLAN.changed(steps=None, minutes=0.003, decay=decay, judged=0)
    assert isinstance(ended("diffusion/transformer", tmp_path, plan)[-1], Finished)


# ---- on the chain


def asked_of(store: Store, folder: Path, plan: TrainingPlan) -> RunSpec:
    for name in ("fox", "heron"):
        (folder / name).mkdir(parents=True)
        for number in range(9):
            (folder / name / f"{number}.png").write_bytes(png(16, 28 * number + (name == "fox") * 14))
    snapshot = snapshot_of(store, imported(store, folder))
    label = codecs["label"].fit({}, snapshot.labels)
    return RunSpec(
        snapshot=snapshot.id,
        made=FittedCodec(kind="image", state=codec_of("image").state()),
        given={"label": FittedCodec(kind="label", state=label.state())},
        model=model_of("diffusion/convnet", SPACES["image"], {"label": label.space}).spec,
        plan=plan,
    )


def test_a_run_is_done_once_and_its_record_repeats_it(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    spec = asked_of(store, tmp_path / "data", PLAN.changed(steps=None, minutes=0.01, judged=0, batch=3))
    first = list(run_spec(store, spec))[-1]
    (again,) = run_spec(store, spec)
    assert isinstance(first, Finished)
    assert isinstance(again, Finished)
    assert again.result == first.result
    record = store.get(first.result)
    settled = RunSpec.from_values(record.spec)
    assert settled.plan.steps == first.figures["steps"]
    repeated = list(run_spec(store, settled))[-1]
    assert isinstance(repeated, Finished)
    assert store.get(repeated.result).made == record.made
    assert list(record.made_from) == [spec.snapshot]


def test_few_data_are_gone_through_no_more_often_than_said(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    plan = PLAN.changed(steps=None, minutes=10, passes=3, batch=4, judged=0)
    spec = asked_of(store, tmp_path / "animals", plan)
    *_, end = run_spec(store, spec)
    assert isinstance(end, Finished)
    assert end.figures["steps"] == round(3 * Snapshot.open(store, spec.snapshot).counts["train"] / 4)
    assert "seen 3 times" in end.summary


def test_two_trainings_of_one_run_do_not_meet(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    spec = asked_of(store, tmp_path / "data", PLAN.changed(judged=0))
    one = run_spec(store, spec)
    next(one)
    with pytest.raises(BusyError):
        next(run_spec(Store.open(tmp_path / "store"), spec))
    *_, last = one
    assert isinstance(last, Finished)


# ---- checkpoints


def save_three(folder: Path) -> list[Path]:
    return [write_checkpoint(folder, step, {"w": torch.arange(5.0) * step}, {"note": f"at {step}"}, keep=3) for step in (10, 20, 30)]


def change_a_byte(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place % len(content)] ^= 1
    path.write_bytes(content)


def cut(path: Path, place: int) -> None:
    path.write_bytes(path.read_bytes()[: place % path.stat().st_size])


def remove(path: Path, place: int) -> None:
    path.unlink()


@pytest.mark.parametrize("name", ["state.safetensors", "state.json"])
@pytest.mark.parametrize("damage", [change_a_byte, cut, remove])
def test_a_damaged_checkpoint_gives_way_to_the_one_before(tmp_path: Path, name: str, damage: Callable[[Path, int], None]) -> None:
    paths = save_three(tmp_path)
    chance = random.Random(name)
    for left, path in reversed(list(enumerate(paths))):
        spared = tmp_path.parent / "spared"
        for place in (0, -1, *(chance.randrange(10_000) for _ in range(20))):
            shutil.copytree(path, spared, dirs_exist_ok=True)
            damage(path / name, place)
            if left == 0:
                with pytest.raises(TrainingError, match="All 3 checkpoints"):
                    read_checkpoint(tmp_path)
            else:
                assert state(tmp_path)[1] == {"step": 10 * left, "note": f"at {10 * left}"}
            shutil.copytree(spared, path, dirs_exist_ok=True)
        damage(path / name, 3)


def test_only_the_newest_checkpoints_are_kept_and_a_damaged_one_is_written_again(tmp_path: Path) -> None:
    paths = save_three(tmp_path)
    cut(paths[2] / "state.json", 9)
    (tmp_path / ".step-000000025").mkdir()
    write_checkpoint(tmp_path, 25, {"w": torch.ones(1)}, {}, keep=2)
    assert [path.name for path in existing(tmp_path)] == ["step-000000020", "step-000000025"]
    assert not list(tmp_path.glob(".*"))
    cut(paths[1] / "state.json", 9)
    write_checkpoint(tmp_path, 20, {"w": torch.ones(1)}, {}, keep=2)
    assert state(tmp_path)[1]["step"] == 20
    assert read_checkpoint(tmp_path / "nothing") is None


def test_a_run_goes_on_from_the_checkpoint_before_a_damaged_one(tmp_path: Path) -> None:
    form = "vae/transformer"
    ended(form, tmp_path / "whole")
    with pytest.raises(Cancelled):
        ended(form, tmp_path / "parts", PLAN.changed(save_minutes=OFTEN), stop=after(9))
    newest = existing(tmp_path / "parts")[-1]
    change_a_byte(newest / "state.safetensors", 5000)
    ended(form, tmp_path / "parts")
    assert_same(tmp_path / "whole", tmp_path / "parts")


def test_a_full_disk_is_one_clear_error_and_the_last_checkpoint_stays(tmp_path: Path) -> None:
    form, plan = "diffusion/transformer", PLAN.changed(save_minutes=OFTEN)
    with pytest.raises(Cancelled):
        ended(form, tmp_path, plan, stop=after(4))
    before = state(tmp_path)
    with file_size_limit(1000), pytest.raises(StoreError, match="cannot be written") as caught:
        ended(form, tmp_path, plan)
    assert "intact" in caught.value.repair
    assert same_weights(state(tmp_path)[0], before[0])
    assert not list(tmp_path.glob(".*"))
    ended(form, tmp_path)
    ended(form, tmp_path.parent / "whole")
    assert_same(tmp_path, tmp_path.parent / "whole")


# ---- what goes wrong, and what there is to see


@dataclass(frozen=True)
class Broken(Toy):
    """Data that is no number from a step on."""

    def batch(self, step: int, size: int, generator: torch.Generator) -> tuple[Tensor, Given]:
        x, given = super().batch(step, size, generator)
        return (x * torch.nan if step >= 5 else x), given


@pytest.mark.parametrize("form", ["diffusion/transformer", "gan/convnet", "vae/transformer"])
def test_a_loss_that_is_no_number_ends_the_run(form: str, tmp_path: Path) -> None:
    space = space_of(form)
    with pytest.raises(TrainingError, match="at step 5") as caught:
        for _ in train(model_of(form, space), Broken(space, {}), PLAN.changed(save_minutes=OFTEN), tmp_path):
            pass
    assert "learning rate" in caught.value.repair
    tensors, facts = state(tmp_path)
    assert facts["step"] == 5
    assert all(bool(value.isfinite().all()) for value in tensors.values())


def test_events_tell_the_run(tmp_path: Path) -> None:
    events = ended("autoregressive/transformer", tmp_path)
    assert isinstance(events[0], Started)
    assert events[0].total == 14
    progress = [event for event in events if isinstance(event, Progress)]
    assert progress[-1].done == progress[-1].total == 14
    assert {"loss", "rate", "samples per second"} <= set(progress[-1].figures)
    assert [event.step for event in events if isinstance(event, Scored)] == [4, 7, 11, 13, 14]
    assert isinstance(events[-2], Saved)
    again = ended("autoregressive/transformer", tmp_path)
    assert again[-1].model_dump(exclude={"at"}) == events[-1].model_dump(exclude={"at"})
    weights, facts = chosen_weights(tmp_path)
    assert facts["best"]["step"] == 13
    assert not same_weights(weights, {name: value for name, value in state(tmp_path)[0].items() if name.startswith("model/")})
    with pytest.raises(TrainingError, match="no checkpoint"):
        chosen_weights(tmp_path / "nothing")


def test_without_judging_the_last_average_is_chosen(tmp_path: Path) -> None:
    for _ in train(model_of("gan/transformer", SPACES["table"]), Toy(SPACES["table"], {}), PLAN, tmp_path):
        pass
    tensors, facts = state(tmp_path)
    assert facts["best"] == {"step": 14}
    average = {name.removeprefix("average/"): value for name, value in tensors.items() if name.startswith("average/")}
    assert same_weights(chosen_weights(tmp_path)[0], average)


# ---- the loop's parts


def a_run(plan: TrainingPlan = PLAN, form: str = "diffusion/transformer") -> Run:
    return begin(model_of(form, space_of(form)), plan)


def weights_of(model: Model) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def test_pieces_of_a_batch_add_up() -> None:
    form = "autoregressive/transformer"
    runs = [a_run(PLAN.changed(batch=8, accumulate=pieces), form) for pieces in (1, 4, 3)]
    figures = [take_step(run, Toy(space_of(form), {})) for run in runs]
    for run, seen in zip(runs[1:], figures[1:]):
        assert torch.allclose(seen["loss"], figures[0]["loss"], atol=1e-5)
        for name, value in run.optimizers["next"].state_dict()["state"].items():
            assert torch.allclose(value["exp_avg"], runs[0].optimizers["next"].state_dict()["state"][name]["exp_avg"], atol=1e-6)


@pytest.mark.parametrize("form", FORMS)
def test_lanes_side_by_side_end_in_the_bits_of_one_after_the_other(form: str, tmp_path: Path) -> None:
    plan = PLAN.changed(lanes=2, accumulate=2)
    before = torch.get_num_threads()
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            ended(form, tmp_path / str(threads), plan)
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert_same(tmp_path / "1", tmp_path / "2")


def test_lanes_work_at_the_same_time() -> None:
    before, meeting = torch.get_num_threads(), threading.Barrier(2)
    try:
        torch.set_num_threads(2)
        found = Lanes(2, torch.device("cpu")).each(lambda part: (part, meeting.wait(10) >= 0, torch.get_num_threads()), ["a", "b"])
        assert found == [("a", True, 1), ("b", True, 1)]
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("form", FORMS)
def test_half_precision_trains(form: str) -> None:
    run = a_run(PLAN.changed(bf16=True), form)
    for _ in range(2):
        figures = take_step(run, Toy(space_of(form), {}))
    assert all(bool(value.isfinite()) for value in figures.values())
    assert all(value.dtype != torch.bfloat16 and bool(value.isfinite().all()) for value in run.model.state_dict().values())


def test_the_average_follows_and_gives_the_weights_back() -> None:
    model = model_of("gan/transformer", SPACES["table"])
    first = weights_of(model)
    average, none = Average(model, 0.9), Average(model, 0.0)
    assert same_weights(average.weights, first)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1.0)
    now = weights_of(model)
    for step in range(30):
        average.follow(step)
        none.follow(step)
    assert same_weights(none.weights, now)
    name = next(iter(first))
    assert bool((average.weights[name] > first[name] + 0.5).all())
    assert bool((average.weights[name] < now[name]).all())
    with pytest.raises(KeyError, match="True"), average.applied():
        raise KeyError(same_weights(weights_of(model), average.weights))
    assert same_weights(weights_of(model), now)


@settings(max_examples=60, deadline=None)
@examples(st.integers(1, 5000), st.floats(0, 1), st.integers(0, 9))
def test_judged_steps_lie_in_the_second_half_of_the_fall(steps: int, decay: float, judged: int) -> None:
    run = Run.__new__(Run)
    run.steps, run.falls, run.judged = steps, round(steps * decay), judged
    found = run.judged_steps()
    assert len(found) <= judged
    assert all(steps - run.falls / 2 - 1 <= step <= steps for step in found)
    assert all(step > 0 for step in found)
    assert (steps in found) == (judged > 0)


@settings(max_examples=60, deadline=None)
@examples(st.integers(1, 300), st.integers(0, 40), st.floats(0, 1))
def test_the_rate_rises_and_falls(steps: int, warmup: int, decay: float) -> None:
    run = Run.__new__(Run)
    run.plan = TrainingPlan(steps=steps, warmup=warmup, decay=decay)
    run.steps, run.falls = steps, round(steps * decay)
    shares = [run.rate_share() for run.step in range(steps)]
    assert all(0 < share <= 1 for share in shares)
    top = shares.index(max(shares))
    assert shares[:top] == sorted(shares[:top])
    assert shares[top:] == sorted(shares[top:], reverse=True)


@pytest.mark.parametrize("shape", [(8, 8), (24, 6), (5, 40)])
def test_muon_steps_are_nearly_orthogonal(shape: tuple[int, int]) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    values = torch.linalg.svdvals(orthogonal(matrix[None]))
    assert bool((values > 0.4).all())
    assert bool((values < 1.3).all())
    assert torch.equal(orthogonal(matrix[None] * 0)[0], matrix * 0)


@pytest.mark.parametrize("form", FORMS)
def test_muon_leaves_the_ends_of_a_net_to_adamw(form: str) -> None:
    module = model_of(form, space_of(form), CONDITIONS["label+text"])
    matrices, tables, others = divide(module)
    others = [*tables, *others]
    assert {*map(id, matrices), *map(id, others)} == {id(parameter) for parameter in module.parameters()}
    assert len(matrices) + len(others) == len(list(module.parameters()))
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    assert all(parameter.ndim >= 2 for parameter in matrices)
    assert any("attention" in names[id(parameter)] for parameter in matrices)
    assert not any("enter" in names[id(parameter)] or "leave" in names[id(parameter)] for parameter in matrices)


def test_schedule_free_is_judged_by_its_own_average() -> None:
    run = a_run(PLAN.changed(optimizer="schedule-free"))
    data = Toy(space_of("diffusion/transformer"), {})
    for _ in range(14):
        take_step(run, data)
    trained = weights_of(run.model)
    seen = []

    def judge(model: Model, step: int, judged: bool) -> dict[str, float]:
        seen.append(weights_of(model))
        return {"choice": 1.0}

    check(run, data, judge)
    assert same_weights(weights_of(run.model), trained)
    assert same_weights(run.best_weights, seen[0])
    optimizer = run.optimizers["flow"]
    assert is_averaging(optimizer)
    optimizer.eval()
    assert same_weights(run.best_weights, weights_of(run.model))
    assert not same_weights(trained, weights_of(run.model))
    assert not same_weights(run.average.weights, run.best_weights)


def test_leaving_a_run_early_leaves_nothing_half_written(tmp_path: Path) -> None:
    events: Iterator[Event] = train(
        model_of("gan/transformer", SPACES["table"]), Toy(SPACES["table"], {}), PLAN.changed(save_minutes=OFTEN), tmp_path
    )
    assert next(event for event in events if isinstance(event, Saved))
    events.close()  # type: ignore[attr-defined]
    assert [path.name for path in tmp_path.iterdir()] == ["step-000000001"]
