"""Small trainings that draw chance wherever they can, for tests that stop, kill and repeat them."""

import time
from dataclasses import dataclass
from pathlib import Path

import torch
from tiny import CONDITIONS, CONVNET, SPACES, TRANSFORMER, Toy, forms, model_of, suits
from torch import Tensor

from karat.learning.models import Model
from karat.values.given import Given
from karat.values.spaces import Space
from karat.work.plans import TrainingPlan
from karat.work.training import train

FORMS = list(forms())
GIVEN = CONDITIONS["label"]
PLAN = TrainingPlan(steps=14, batch=4, warmup=3, decay=0.8, checks=4, judged=3, average=0.9, seed=3)
OFTEN = 1e-9
"""Minutes between checkpoints that are so few that every step has one."""


def space_of(form: str) -> Space:
    return SPACES["image"] if suits(form, SPACES["image"]) else SPACES["table"]


def model_that_drops(form: str, space: Space) -> Model:
    """Give a model whose training draws chance in every place where it can: conditions, dropout, noise."""
    nets = {TRANSFORMER: TRANSFORMER.changed(dropout=0.2), CONVNET: CONVNET.changed(dropout=0.2)}
    changes = {name: nets[net] for name, net in forms()[form].items() if isinstance(net, type(TRANSFORMER) | type(CONVNET))}
    return model_of(form, space, GIVEN, **changes)


def look(model: Model, step: int, judged: bool) -> dict[str, float]:
    """Like the checkpoint in the middle of those that are judged best."""
    return {"choice": float(abs(step - 13))} if judged else {}


@dataclass(frozen=True)
class Slow(Toy):
    """Toy data that takes its time, so that a run can be killed in the middle."""

    def batch(self, step: int, size: int, generator: torch.Generator) -> tuple[Tensor, Given]:
        time.sleep(0.05)
        return super().batch(step, size, generator)


def train_slowly(form: str, folder: Path, threads: int) -> None:
    torch.set_num_threads(threads)
    plan = PLAN.changed(save_minutes=OFTEN)
    for _ in train(model_that_drops(form, space_of(form)), Slow(space_of(form), GIVEN), plan, folder, look=look):
        pass
