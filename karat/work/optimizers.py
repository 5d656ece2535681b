"""Optimizers by name. Each is a function (module, plan) → optimizer; the loop sets the rate as a share of each group's own."""

from collections.abc import Callable
from typing import Protocol, TypeGuard

import torch
from torch import nn
from torch.optim import Optimizer

from karat.words.registry import Registry
from karat.work.plans import TrainingPlan

optimizers: Registry[Callable[[nn.Module, TrainingPlan], Optimizer]] = Registry("optimizer")


@optimizers.add("adamw")
def adamw(module: nn.Module, plan: TrainingPlan) -> Optimizer:
    """AdamW (Loshchilov & Hutter 2017, arXiv 1711.05101) with betas that suit short runs."""
    return torch.optim.AdamW(module.parameters(), lr=plan.rate, betas=(0.9, 0.95), weight_decay=plan.weight_decay)


@optimizers.add("adam")
def adam(module: nn.Module, plan: TrainingPlan) -> Optimizer:
    """Adam without momentum (Kingma & Ba 2014, arXiv 1412.6980), as adversarial training wants it."""
    return torch.optim.Adam(module.parameters(), lr=plan.rate, betas=(0.0, 0.99))


@optimizers.add("adafactor")
def adafactor(module: nn.Module, plan: TrainingPlan) -> Optimizer:
    """Adafactor (Shazeer & Stern 2018, arXiv 1804.04235): little memory.

    A step is a share of its parameter's size, taken as at least 0.1 so that layers which start at nothing learn, and scaled to AdamW's.
    """
    return torch.optim.Adafactor(module.parameters(), lr=10 * plan.rate, eps=(None, 0.1))


@optimizers.add("muon")
def muon(module: nn.Module, plan: TrainingPlan) -> Optimizer:
    """Muon (Jordan et al. 2024, kellerjordan.github.io/posts/muon) for the matrices of hidden layers, AdamW for everything else.

    Muon's steps are scaled to the size of AdamW's (Liu et al. 2025, arXiv 2502.16982), so that one rate serves both.
    """
    from karat.work.muon import MuonWithAdamW

    return MuonWithAdamW(module, plan.rate, weight_decay=plan.weight_decay, table_rate=plan.table_rate, lanes=plan.lanes)


@optimizers.add("schedule-free")
def schedule_free(module: nn.Module, plan: TrainingPlan) -> Optimizer:
    """Schedule-free AdamW (Defazio et al. 2024, arXiv 2405.15682), which averages in place of a decay."""
    from schedulefree import AdamWScheduleFree

    optimizer = AdamWScheduleFree(module.parameters(), lr=plan.rate, betas=(0.9, 0.99))
    optimizer.train()
    return optimizer


class Averaging(Protocol):
    """An optimizer that keeps its own average of the weights: `eval` puts it into the parameters, `train` takes it out again."""

    def eval(self) -> None: ...

    def train(self) -> None: ...


def is_averaging(optimizer: Optimizer) -> TypeGuard[Averaging]:
    """Say whether the optimizer averages by itself and so wants neither a fall of the rate nor a moving average."""
    return "train_mode" in optimizer.param_groups[0]
