"""The one training loop, for every family.

Everything random in a step comes from (seed, step), never from a state that was carried along, so a run that was killed at any moment and
resumed from its last checkpoint ends in the same weights, to the bit, as one that was never interrupted.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from karat.learning.families.family import Loss, stream_seed
from karat.learning.models import Model
from karat.learning.nets.parts import dice
from karat.values.given import Given
from karat.words.errors import Cancelled, TrainingError
from karat.words.events import Event, Finished, Progress, Saved, Scored, Started
from karat.work.averages import Average
from karat.work.checkpoints import optimizer_state, read_checkpoint, restore_optimizer, write_checkpoint
from karat.work.devices import give_memory_back
from karat.work.lanes import Lanes
from karat.work.optimizers import is_averaging, optimizers
from karat.work.plans import TrainingPlan

SHOWN = 16
"""Samples drawn at each check."""
SURE = 1.64
"""Standard errors by which a run must be better than its start, where that is among what is chosen from."""
MOST_JUDGING = 0.3
"""The share of the time left, when a budget of minutes comes to its fall, that may go into judging samples."""


class Data(Protocol):
    """What the loop asks of the data."""

    def __len__(self) -> int:
        """Say how many values there are to learn from."""
        ...

    def batch(self, step: int, size: int, generator: torch.Generator) -> tuple[Tensor, Given]:
        """Give the training batch of a step: the same for the same step, size and generator state."""
        ...

    def held_out(self) -> Iterator[tuple[Tensor, Given]]:
        """Go through the validation data, in fixed batches."""
        ...


class Objective(Protocol):
    """What is minimised: a family's own losses, unless something else is to be learnt with the same net."""

    chosen_by: ClassVar[str | None]

    def loss(self, turn: str, x: Tensor, given: Given, generator: torch.Generator) -> Loss: ...

    def held_out(self, x: Tensor, given: Given, generator: torch.Generator) -> dict[str, Tensor]: ...


Look = Callable[[Model, int, bool], dict[str, float]]
"""Looks at the averaged model at a step and, when it is to judge, scores samples; the checkpoint with the lowest `choice` is chosen."""


@dataclass
class Clock:
    """Where the time of a run went, in seconds."""

    stepping: float = 0.0
    looking: float = 0.0
    looked: int = 0
    """Samples that were drawn while looking."""

    @property
    def total(self) -> float:
        return self.stepping + self.looking


@dataclass
class Run:
    """A training in progress. `steps` and `falls`, over which the rate falls to nothing, stay open while the budget is in minutes."""

    model: Model
    plan: TrainingPlan
    optimizers: dict[str, Optimizer]
    average: Average
    step: int = 0
    steps: int | None = None
    falls: int = 0
    judged: int = 0
    clock: Clock = field(default_factory=Clock)
    checked: int = 0
    best: dict[str, Any] = field(default_factory=dict)
    best_weights: dict[str, Tensor] = field(default_factory=dict)
    objective: Objective | None = None
    """What is learnt in place of the family's own losses."""
    lanes: Lanes = field(init=False)
    most: float = float("inf")
    """Steps at most that a budget in minutes comes to."""

    def __post_init__(self) -> None:
        self.lanes = Lanes(self.plan.lanes, self.model.device)

    def progress(self) -> float:
        """Give how much of the budget is used, from 0 to 1."""
        if self.steps is not None:
            return self.step / self.steps
        return min(self._spent(), 0.999)

    def _spent(self) -> float:
        """Give the larger share of the minutes and of the steps at most that are used."""
        return max(self.clock.total / (60 * (self.plan.minutes or 1)), self.step / self.most)

    def rate_share(self, *, falling: bool = True) -> float:
        """Give the learning rate as a share of its highest: a rise, a plateau, a straight fall (Hu et al. 2024, arXiv 2404.06395)."""
        rise = min(1.0, (self.step + 1) / max(1, self.plan.warmup))
        return min(rise, (self.steps - self.step) / max(1, self.falls)) if falling and self.steps is not None else rise

    def settle(self) -> None:
        """Fix the number of steps once a budget of minutes comes to the fall: as many as fit beside the looks and the judging to come."""
        budget = 60 * (self.plan.minutes or 0)
        left = budget - self.clock.total
        if self.steps is not None or self._spent() < 1 - self.plan.decay:
            return
        judging = self.plan.samples * self.clock.looking / max(1, self.clock.looked)
        self.judged = min(self.judged, max(1, int(MOST_JUDGING * left / max(judging, 1e-9))))
        looking = self.clock.looking / max(1, self.checked) * (1 + self.plan.checks * left / budget)
        fitting = round((left - self.judged * judging - looking) / (self.clock.stepping / self.step))
        self.falls = max(1, int(min(fitting, self.most - self.step)))
        self.steps = self.step + self.falls

    def judged_steps(self) -> set[int]:
        """Give the steps whose samples are scored: the last one, and others before it in the second half of the fall."""
        if self.steps is None:
            return set()
        return {self.steps - self.falls * k // (2 * self.judged) for k in range(self.judged)}


def train(
    model: Model,
    data: Data,
    plan: TrainingPlan,
    folder: Path,
    *,
    look: Look | None = None,
    stop: Callable[[], bool] = lambda: False,
    objective: Objective | None = None,
) -> Iterator[Event]:
    """Train until the budget is used, from the newest checkpoint in `folder` if there is one.

    With an `objective` of its own the start is a checkpoint to choose as well: what does not get better by it stays as it was.
    Ends with Finished, whose figures name the chosen step; `chosen_weights` then reads that step's from `folder`.
    Raises Cancelled, after a checkpoint, when `stop` says so, and TrainingError when a loss is no number.
    """
    run = begin(model, plan, objective)
    if plan.passes is not None:
        run.most = max(1, round(plan.passes * len(data) / plan.batch))
    if (found := read_checkpoint(folder)) is not None:
        restore(run, *found)
    yield Started(what="training", total=run.steps, unit="steps")
    if objective is not None and run.step == 0:
        yield check(run, data, look)
    saved_at, shown_at, now = time.monotonic(), 0.0, time.monotonic()
    while run.steps is None or run.step < run.steps:
        if stop():
            yield save(run, folder)
            raise Cancelled(f"Stopped at step {run.step}; everything is kept.", repair="Give the same command again to go on.")
        figures = take_step(run, data)
        run.clock.stepping, now = run.clock.stepping + time.monotonic() - now, time.monotonic()
        run.settle()
        if now - shown_at > 0.5 or run.step == run.steps:
            shown_at = now
            yield Progress(done=run.step, total=run.steps, seconds_left=seconds_left(run), figures=as_floats(run, figures))
        if due(run):
            yield check(run, data, look)
            run.clock.looking, now = run.clock.looking + time.monotonic() - now, time.monotonic()
        if now - saved_at > 60 * plan.save_minutes:
            yield save(run, folder)
            saved_at = time.monotonic()
    yield save(run, folder)
    chosen = int(run.best.get("step", run.step))
    enough = f"; all data was seen {plan.passes:g} times, more would be learnt by heart" if run.step == run.most else ""
    yield Finished(
        what="training",
        summary=f"{run.step} steps; step {chosen} was chosen{enough}",
        figures={"steps": run.step, "seconds": run.clock.total, "chosen": chosen},
    )


def begin(model: Model, plan: TrainingPlan, objective: Objective | None = None) -> Run:
    """Put a model and its optimizers together at step 0."""
    built = {turn: optimizers[plan.optimizer](model.family.trained_in(turn), plan) for turn in model.family.turns}
    for optimizer in built.values():
        for group in optimizer.param_groups:
            group.setdefault("initial_lr", group["lr"])
    falls = round((plan.steps or 0) * plan.decay)
    return Run(model, plan, built, Average(model, plan.average), steps=plan.steps, falls=falls, judged=plan.judged, objective=objective)


def take_step(run: Run, data: Data) -> dict[str, Tensor]:
    """Take each of the family's turns once on the batch of this step."""
    plan, model = run.plan, run.model
    generator = torch.Generator().manual_seed(stream_seed(plan.seed, run.step))
    x, given = data.batch(run.step, plan.batch, generator)
    x, given = x.to(model.device), given.to(model.device)
    figures: dict[str, Tensor] = {}
    model.train()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream_seed(plan.seed, -1 - run.step))
        for turn, optimizer in run.optimizers.items():
            figures |= take_turn(run, turn, optimizer, x, given, generator)
    run.average.follow(run.step)
    run.step += 1
    return figures


def take_turn(run: Run, turn: str, optimizer: Optimizer, x: Tensor, given: Given, generator: torch.Generator) -> dict[str, Tensor]:
    """Move the parameters of one turn by one step of its optimizer."""
    model, plan = run.model, run.plan
    trained = list(model.family.trained_in(turn).parameters())
    model.requires_grad_(False)
    for parameter in trained:
        parameter.requires_grad_(True)
    figures: dict[str, Tensor] = {}
    for loss, slopes, share in learnt(run, turn, trained, x, given, generator):
        add_slopes(trained, slopes)
        loss.remember()
        for name, value in loss.figures.items():
            figures[name] = figures.get(name, 0.0) + value.detach() * share
    length = torch.nn.utils.clip_grad_norm_(trained, plan.clip)
    if not torch.isfinite(length):
        raise TrainingError(
            f"The slope of the {turn} loss (of {float(loss.total.detach()):.3g}) is no number any more at step {run.step}.",
            repair=f"Lower the learning rate (it is {plan.rate:g}); what was saved before is intact.",
        )
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"] * run.rate_share(falling=not is_averaging(optimizer))
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return figures


def learnt(
    run: Run, turn: str, trained: list[nn.Parameter], x: Tensor, given: Given, generator: torch.Generator
) -> Iterator[tuple[Loss, Sequence[Tensor | None], float]]:
    """Give the loss of each piece of a batch, its slopes, and its share of the batch, lane beside lane."""
    plan, device, objective = run.plan, run.model.device, run.objective or run.model.family

    def learn(part: tuple[Tensor, torch.Generator]) -> tuple[Loss, Sequence[Tensor | None], float]:
        rows, own = part
        share = len(rows) / len(x)
        dice.set(own if device.type == "cpu" else None)
        with torch.autocast(device.type, torch.bfloat16, enabled=plan.bf16):
            loss = objective.loss(turn, x[rows], given.rows(rows), own)
        return loss, torch.autograd.grad(loss.total * share, trained, allow_unused=True), share

    pieces = torch.arange(len(x)).chunk(plan.accumulate * plan.lanes)
    for first in range(0, len(pieces), plan.lanes):
        beside = pieces[first : first + plan.lanes]
        seeds = torch.randint(1 << 62, (len(beside),), generator=generator).tolist() if plan.lanes > 1 else []
        owns = [torch.Generator().manual_seed(seed) for seed in seeds] or [generator]
        yield from run.lanes.each(learn, list(zip(beside, owns, strict=True)))


def add_slopes(trained: list[nn.Parameter], slopes: Sequence[Tensor | None]) -> None:
    """Add to the gradients. Slopes may share memory with each other, so none becomes a gradient itself."""
    for parameter, slope in zip(trained, slopes, strict=True):
        if slope is not None:
            parameter.grad = slope.clone() if parameter.grad is None else parameter.grad.add_(slope)


def due(run: Run) -> bool:
    """Say whether a look at the held-out data is due: `checks` times evenly over the budget, where samples are judged, and at the end."""
    return run.step == run.steps or run.step in run.judged_steps() or int(run.progress() * run.plan.checks) > run.checked


def check(run: Run, data: Data, look: Look | None) -> Event:
    """Measure the averaged weights on held-out data; look at samples, and remember the best of those that were judged."""
    run.checked = max(run.checked, int(run.progress() * run.plan.checks))
    judging = run.step in run.judged_steps()
    give_memory_back()
    with run.average.applied(run.optimizers.values()):
        figures = held_out_losses(run.model, data, run.plan.seed, run.objective)
        if look is not None:
            run.clock.looked += run.plan.samples if judging else SHOWN
            figures |= look(run.model, run.step, judging)
        if run.plan.judged == 0 and (name := (run.objective or run.model.family).chosen_by) is not None:
            figures["choice"] = figures.get(f"held-out {name}, at most", figures.get(f"held-out {name}", float("inf")))
        if figures.get("choice", float("inf")) < run.best.get("choice", float("inf")):
            choose(run, {name: value for name, value in figures.items() if not name.startswith("held-out")})
        if run.step == run.steps and not run.best_weights:
            choose(run, {})
    give_memory_back()
    return Scored(step=run.step, figures=figures)


def choose(run: Run, scores: dict[str, float]) -> None:
    """Remember the weights that the model has now as the best so far."""
    run.best = {"step": run.step, **scores}
    run.best_weights = {name: value.detach().clone() for name, value in run.model.state_dict().items()}


def held_out_losses(model: Model, data: Data, seed: int, objective: Objective | None = None) -> dict[str, float]:
    """Give the mean of each held-out loss, with the same noise each time so that the figures compare.

    Of an objective's own also the most that what it chooses by may be: few data are not to make a run look better than its start.
    """
    model.eval()
    generator = torch.Generator().manual_seed(stream_seed(seed, 1 << 40))
    learnt = objective or model.family
    found: dict[str, list[Tensor]] = {}
    with torch.no_grad():
        for x, given in data.held_out():
            for name, each in learnt.held_out(x.to(model.device), given.to(model.device), generator).items():
                found.setdefault(name, []).append(each.double().cpu())
    losses = {name: torch.cat(each) for name, each in found.items()}
    figures = {f"held-out {name}": float(each.mean()) for name, each in losses.items()}
    if objective is not None and (name := str(objective.chosen_by)) in losses:
        error = float(losses[name].std(correction=0)) / len(losses[name]) ** 0.5
        figures[f"held-out {name}, at most"] = figures[f"held-out {name}"] + SURE * error
    return figures


def save(run: Run, folder: Path) -> Saved:
    """Write a checkpoint of everything."""
    tensors = {f"model/{name}": value for name, value in run.model.state_dict().items()}
    tensors |= {f"average/{name}": value for name, value in run.average.weights.items()}
    tensors |= {f"best/{name}": value for name, value in run.best_weights.items()}
    facts: dict[str, Any] = {
        "steps": run.steps,
        "falls": run.falls,
        "judged": run.judged,
        "clock": asdict(run.clock),
        "checked": run.checked,
        "best": run.best,
        "optimizers": {},
    }
    for turn, optimizer in run.optimizers.items():
        parts, facts["optimizers"][turn] = optimizer_state(turn, optimizer)
        tensors |= {f"optimizer/{place}": value for place, value in parts.items()}
    path = write_checkpoint(folder, run.step, tensors, facts, keep=run.plan.keep)
    return Saved(what="checkpoint", path=str(path))


def restore(run: Run, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
    """Take up a run where a checkpoint left it."""
    parts: dict[str, dict[str, Tensor]] = {"model": {}, "average": {}, "best": {}, "optimizer": {}}
    for name, value in tensors.items():
        part, _, rest = name.partition("/")
        parts[part][rest] = value.to(run.model.device)
    run.model.load_weights(parts["model"])
    run.average.weights = parts["average"]
    run.best, run.best_weights = facts["best"], parts["best"]
    for turn, optimizer in run.optimizers.items():
        restore_optimizer(turn, optimizer, parts["optimizer"], facts["optimizers"][turn])
    run.step, run.steps, run.falls, run.checked = facts["step"], facts["steps"], facts["falls"], facts["checked"]
    run.judged, run.clock = facts["judged"], Clock(**facts["clock"])


def chosen_weights(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Give the weights that a finished run stands for (the best judged, else the average at its end), and the facts of the run."""
    found = read_checkpoint(folder)
    if found is None:
        raise TrainingError(f"There is no checkpoint in {folder}.", repair="Train first.")
    tensors, facts = found
    part = "best/" if any(name.startswith("best/") for name in tensors) else "average/"
    return {name.removeprefix(part): value for name, value in tensors.items() if name.startswith(part)}, facts


def settled_plan(plan: TrainingPlan, facts: Mapping[str, Any]) -> TrainingPlan:
    """Give the plan by whose steps a finished run is repeated to the bit, whatever its budget was."""
    return plan.changed(steps=facts["steps"], minutes=None, decay=facts["falls"] / facts["steps"], judged=facts["judged"])


def seconds_left(run: Run) -> float | None:
    each = run.clock.total / max(1, run.step)
    if run.steps is None:
        return min(60 * (run.plan.minutes or 0) - run.clock.total, each * (run.most - run.step))
    return each * (run.steps - run.step)


def as_floats(run: Run, figures: dict[str, Tensor]) -> dict[str, float]:
    rate = {"samples per second": run.step * run.plan.batch / max(run.clock.stepping, 1e-9), "rate": run.plan.rate * run.rate_share()}
    return {name: float(value) for name, value in figures.items()} | rate
