"""The one training loop, for every family.

Everything random in a step comes from (seed, step), never from a state that was carried along, so a run that was killed at any moment and resumed
from its last checkpoint ends in the same weights, to the bit, as one that was never interrupted.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.optim import Optimizer

from karat.learning.families.family import stream_seed
from karat.learning.models import Model
from karat.values.given import Given
from karat.words.errors import Cancelled, TrainingError
from karat.words.events import Event, Finished, Progress, Saved, Scored, Started
from karat.work.averages import Average
from karat.work.checkpoints import optimizer_state, read_checkpoint, restore_optimizer, write_checkpoint
from karat.work.optimizers import averages_itself, optimizers
from karat.work.plans import TrainingPlan


class Data(Protocol):
    """What the loop asks of the data."""

    def batch(self, step: int, size: int, generator: torch.Generator) -> tuple[Tensor, Given]:
        """Give the training batch of a step: the same for the same step, size and generator state."""
        ...

    def held_out(self) -> Iterator[tuple[Tensor, Given]]:
        """Go through the validation data, in fixed batches."""
        ...


Judge = Callable[[Model], dict[str, float]]
"""Scores samples of a model against held-out data. `score` is to be minimised; `memorised` above 1 rules a checkpoint out."""


@dataclass
class Run:
    """A training in progress."""

    model: Model
    plan: TrainingPlan
    optimizers: dict[str, Optimizer]
    average: Average
    step: int = 0
    steps: int | None = None
    seconds: float = 0.0
    checked: int = 0
    best: dict[str, Any] = field(default_factory=dict)
    best_weights: dict[str, Tensor] = field(default_factory=dict)

    def progress(self) -> float:
        """Give how much of the budget is used, from 0 to 1."""
        if self.steps is not None:
            return self.step / self.steps
        return self.seconds / (60 * (self.plan.minutes or 1))

    def rate_share(self) -> float:
        """Give the learning rate as a share of its highest: a rise, a plateau, a straight fall (Hu et al. 2024, arXiv 2404.06395)."""
        rise = min(1.0, (self.step + 1) / max(1, self.plan.warmup))
        if self.steps is None:
            return rise
        falls = self.steps - plateau(self.steps, self.plan.decay)
        return min(rise, (self.steps - self.step) / max(1, falls))

    def settle_steps(self) -> None:
        """Fix the number of steps once a budget of minutes has reached the fall: the speed so far says how many fit."""
        if self.steps is None and self.progress() >= 1 - self.plan.decay:
            self.steps = steps_for(self.step, self.plan.decay)


def plateau(steps: int, decay: float) -> int:
    """Give the step at which the rate begins to fall."""
    return steps - round(steps * decay)


def steps_for(reached: int, decay: float) -> int:
    """Give the number of steps whose plateau ends at the step just reached."""
    steps = max(1, round(reached / max(1e-9, 1 - decay)))
    while plateau(steps, decay) < reached:
        steps += 1
    return steps


def train(model: Model, data: Data, plan: TrainingPlan, folder: Path, *, judge: Judge | None = None, stop: Callable[[], bool] = lambda: False) -> Iterator[Event]:
    """Train until the budget is used, from the newest checkpoint in `folder` if there is one.

    Ends with Finished, whose figures name the chosen step; `folder` then holds a last checkpoint with the chosen weights under `chosen/`.
    Raises Cancelled, after a checkpoint, when `stop` says so, and TrainingError when a loss is no number.
    """
    run = begin(model, plan)
    if (found := read_checkpoint(folder)) is not None:
        restore(run, *found)
    yield Started(what="training", total=run.steps, unit="step")
    saved_at, shown_at, clock = time.monotonic(), 0.0, time.monotonic()
    while run.progress() < 1:
        if stop():
            yield save(run, folder)
            raise Cancelled(f"Stopped at step {run.step}; everything is kept.", repair="Give the same command again to go on.")
        figures = take_step(run, data)
        run.seconds, clock = run.seconds + time.monotonic() - clock, time.monotonic()
        run.settle_steps()
        if clock - shown_at > 0.5 or run.progress() >= 1:
            shown_at = clock
            yield Progress(done=run.step, total=run.steps, seconds_left=seconds_left(run), figures=as_floats(run, figures))
        if due(run):
            yield check(run, data, judge)
            run.seconds, clock = run.seconds + time.monotonic() - clock, time.monotonic()
        if clock - saved_at > 60 * plan.save_minutes:
            yield save(run, folder)
            saved_at = time.monotonic()
    yield save(run, folder)
    chosen = int(run.best.get("step", run.step))
    yield Finished(what="training", summary=f"{run.step} steps; step {chosen} was chosen", figures={"steps": run.step, "seconds": run.seconds, "chosen": chosen})


def begin(model: Model, plan: TrainingPlan) -> Run:
    """Put a model and its optimizers together at step 0."""
    built = {turn: optimizers[plan.optimizer](model.family.trained_in(turn), plan.rate) for turn in model.family.turns}
    for optimizer in built.values():
        for group in optimizer.param_groups:
            group.setdefault("initial_lr", group["lr"])
    return Run(model, plan, built, Average(model, plan.average), steps=plan.steps)


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
    for piece in torch.arange(len(x)).chunk(plan.accumulate):
        with torch.autocast(model.device.type, torch.bfloat16, enabled=plan.bf16):
            loss = model.family.loss(turn, x[piece], given.rows(piece), generator)
        (loss.total * (len(piece) / len(x))).backward()
        for name, value in loss.figures.items():
            figures[name] = figures.get(name, torch.zeros(())) + value.detach().cpu() * (len(piece) / len(x))
    length = torch.nn.utils.clip_grad_norm_(trained, plan.clip)
    if not torch.isfinite(length):
        raise TrainingError(
            f"The {turn} loss became {float(loss.total):.3g} at step {run.step}.",
            repair=f"Lower the learning rate (it is {plan.rate:g}); the last checkpoint is intact, delete it to begin again.",
        )
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"] * (1.0 if averages_itself(optimizer) else run.rate_share())
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return figures


def due(run: Run) -> bool:
    """Say whether a look at the held-out data is due: `checks` times, evenly over the budget, the last at its end."""
    wanted = int(run.progress() * run.plan.checks + 1e-9)
    return run.progress() >= 1 and run.checked < max(1, run.plan.checks) or wanted > run.checked


def check(run: Run, data: Data, judge: Judge | None) -> Event:
    """Measure the averaged weights on held-out data; let the judge score samples in the last checks, and remember the best."""
    run.checked = max(run.checked + 1, int(run.progress() * run.plan.checks + 1e-9))
    with run.average.applied(run.optimizers.values()):
        figures = held_out_losses(run.model, data, run.plan.seed)
        if judge is not None and run.checked > run.plan.checks - run.plan.judged:
            judged = judge(run.model)
            figures |= judged
            if judged.get("memorised", 0.0) <= 1 and judged["score"] < run.best.get("score", float("inf")):
                choose(run, judged)
        if run.progress() >= 1 and not run.best_weights:
            choose(run, {})
    return Scored(step=run.step, figures=figures)


def choose(run: Run, scores: dict[str, float]) -> None:
    """Remember the weights that the model has now as the best so far."""
    run.best = {"step": run.step, **scores}
    run.best_weights = {name: value.detach().clone() for name, value in run.model.state_dict().items()}


def held_out_losses(model: Model, data: Data, seed: int) -> dict[str, float]:
    """Give the mean of each held-out loss, with the same noise each time so that the figures compare."""
    model.eval()
    generator = torch.Generator().manual_seed(stream_seed(seed, 1 << 40))
    sums: dict[str, float] = {}
    count = 0
    with torch.no_grad():
        for x, given in data.held_out():
            for name, each in model.family.held_out(x.to(model.device), given.to(model.device), generator).items():
                sums[name] = sums.get(name, 0.0) + float(each.sum())
            count += len(x)
    return {f"held-out {name}": total / count for name, total in sums.items()}


def save(run: Run, folder: Path) -> Saved:
    """Write a checkpoint of everything."""
    tensors = {f"model/{name}": value for name, value in run.model.state_dict().items()}
    tensors |= {f"average/{name}": value for name, value in run.average.weights.items()}
    tensors |= {f"best/{name}": value for name, value in run.best_weights.items()}
    facts: dict[str, Any] = {"steps": run.steps, "seconds": run.seconds, "checked": run.checked, "best": run.best, "optimizers": {}}
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
    run.step, run.steps, run.seconds, run.checked = facts["step"], facts["steps"], facts["seconds"], facts["checked"]


def chosen_weights(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Give the weights that a finished run stands for (the best judged, else the average at its end), and the facts of the run."""
    found = read_checkpoint(folder)
    if found is None:
        raise TrainingError(f"There is no checkpoint in {folder}.", repair="Train first.")
    tensors, facts = found
    part = "best/" if any(name.startswith("best/") for name in tensors) else "average/"
    return {name.removeprefix(part): value for name, value in tensors.items() if name.startswith(part)}, facts


def seconds_left(run: Run) -> float | None:
    if run.steps is None:
        return 60 * (run.plan.minutes or 0) - run.seconds
    return run.seconds / max(1, run.step) * (run.steps - run.step)


def as_floats(run: Run, figures: dict[str, Tensor]) -> dict[str, float]:
    rate = {"samples per second": run.step * run.plan.batch / max(run.seconds, 1e-9), "rate": run.plan.rate * run.rate_share()}
    return {name: float(value) for name, value in figures.items()} | rate
