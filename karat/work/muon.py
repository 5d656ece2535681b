"""Muon and AdamW as one optimizer."""

from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer


class MuonWithAdamW(Optimizer):
    """Muon for the matrices of hidden layers, AdamW for the ends of a net, embeddings, modulations, norms and biases.

    Convolution kernels count as matrices of outputs × everything else.
    """

    def __init__(self, module: nn.Module, rate: float) -> None:
        matrices, others = divide(module)
        groups = [{"params": matrices, "muon": True}, {"params": others, "muon": False}]
        super().__init__(
            [group for group in groups if group["params"]], {"lr": rate, "momentum": 0.95, "betas": (0.9, 0.95), "decay": 0.01}
        )

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        for group in self.param_groups:
            update = self._muon if group["muon"] else self._adamw
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.mul_(1 - group["lr"] * group["decay"])
                    update(parameter, parameter.grad, group)

    def _muon(self, parameter: torch.Tensor, gradient: torch.Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if not state:
            state["momentum"] = torch.zeros_like(parameter)
        momentum = state["momentum"]
        momentum.lerp_(gradient, 1 - group["momentum"])
        ahead = torch.lerp(gradient, momentum, group["momentum"])
        straight = orthogonal(ahead.flatten(1)).view_as(parameter)
        rows, columns = ahead.flatten(1).shape
        parameter.add_(straight, alpha=-group["lr"] * 0.2 * max(rows, columns) ** 0.5)

    def _adamw(self, parameter: torch.Tensor, gradient: torch.Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if not state:
            state["first"], state["second"], state["count"] = torch.zeros_like(parameter), torch.zeros_like(parameter), 0
        early, late = group["betas"]
        state["count"] += 1
        state["first"].lerp_(gradient, 1 - early)
        state["second"].mul_(late).addcmul_(gradient, gradient, value=1 - late)
        spread = (state["second"] / (1 - late ** state["count"])).sqrt_().add_(1e-8)
        parameter.addcdiv_(state["first"], spread, value=-group["lr"] / (1 - early ** state["count"]))


def orthogonal(matrix: torch.Tensor, rounds: int = 5) -> torch.Tensor:
    """Move a matrix's singular values to about 1 by a quintic Newton–Schulz iteration (coefficients of Jordan et al. 2024)."""
    x = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
    x = x / (x.norm() + 1e-7)
    for _ in range(rounds):
        product = x @ x.T
        x = 3.4445 * x + (-4.7750 * product + 2.0315 * product @ product) @ x
    return x.T if matrix.shape[0] > matrix.shape[1] else x


def divide(module: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Part the parameters into hidden matrices and all others. Ends of a net (`enter`, `leave`), embeddings and modulations are others."""
    matrices: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, parameter in module.named_parameters():
        hidden = parameter.ndim >= 2 and not {"enter", "leave", "place", "places", "modulation", "time"} & set(name.split("."))
        (matrices if hidden else others).append(parameter)
    return matrices, others
