"""Muon and AdamW as one optimizer."""

from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from karat.work.devices import has_fast_bf16
from karat.work.lanes import Lanes


class MuonWithAdamW(Optimizer):
    """Muon for the matrices of hidden layers, AdamW for the ends of a net, embeddings, modulations, norms and biases.

    Convolution kernels count as matrices of outputs × everything else. Tables of ids learn `table_rate` times as fast as the rest.
    """

    def __init__(self, module: nn.Module, rate: float, *, weight_decay: float = 0.01, table_rate: float = 1.0, lanes: int = 1) -> None:
        matrices, tables, others = divide(module)
        self.lanes = Lanes(lanes, next(module.parameters()).device)
        groups = [
            {"params": matrices, "muon": True},
            {"params": tables, "muon": False, "lr": rate * table_rate},
            {"params": others, "muon": False},
        ]
        super().__init__(
            [group for group in groups if group["params"]], {"lr": rate, "momentum": 0.95, "betas": (0.9, 0.95), "decay": weight_decay}
        )

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        for group in self.param_groups:
            reached = [parameter for parameter in group["params"] if parameter.grad is not None]
            if reached:
                torch._foreach_mul_(reached, 1 - group["lr"] * group["decay"])
                (self._muon if group["muon"] else self._adamw)(reached, group)

    def _muon(self, parameters: list[torch.Tensor], group: dict[str, Any]) -> None:
        """Move matrices; those of one shape are straightened together, which is what costs."""
        gradients = _gradients(parameters)
        momenta = [self._begun(parameter, "momentum")["momentum"] for parameter in parameters]
        torch._foreach_lerp_(momenta, gradients, 1 - group["momentum"])
        ahead: dict[tuple[int, ...], list[tuple[torch.Tensor, torch.Tensor]]] = {}
        for parameter, lead in zip(parameters, torch._foreach_lerp(gradients, momenta, group["momentum"]), strict=True):
            matrix = lead.flatten(1)
            ahead.setdefault(tuple(matrix.shape), []).append((parameter, matrix))
        stacks = [torch.stack([matrix for _, matrix in same]) for same in ahead.values()]
        for ((rows, columns), same), straight in zip(ahead.items(), self.lanes.each(orthogonal, stacks), strict=True):
            moved = [each.view_as(parameter) for (parameter, _), each in zip(same, straight, strict=True)]
            torch._foreach_add_([parameter for parameter, _ in same], moved, alpha=-group["lr"] * 0.2 * max(rows, columns) ** 0.5)

    def _adamw(self, parameters: list[torch.Tensor], group: dict[str, Any]) -> None:
        gradients, (early, late) = _gradients(parameters), group["betas"]
        states = [self._begun(parameter, "first", "second") for parameter in parameters]
        for state in states:
            state["count"] = state.get("count", 0) + 1
        first, second = ([state[name] for state in states] for name in ("first", "second"))
        torch._foreach_lerp_(first, gradients, 1 - early)
        torch._foreach_mul_(second, late)
        torch._foreach_addcmul_(second, gradients, gradients, value=1 - late)
        spread = torch._foreach_div(second, [1 - late ** state["count"] for state in states])
        torch._foreach_sqrt_(spread)
        torch._foreach_add_(spread, 1e-8)
        torch._foreach_addcdiv_(parameters, first, spread, [-group["lr"] / (1 - early ** state["count"]) for state in states])

    def _begun(self, parameter: torch.Tensor, *names: str) -> dict[str, Any]:
        """Give a parameter's state, which begins at nothing."""
        state = self.state[parameter]
        for name in names:
            if name not in state:
                state[name] = torch.zeros_like(parameter)
        return state


def _gradients(parameters: list[torch.Tensor]) -> list[torch.Tensor]:
    return [parameter.grad for parameter in parameters if parameter.grad is not None]


@torch.no_grad()
def orthogonal(matrices: torch.Tensor, rounds: int = 5) -> torch.Tensor:
    """Move the singular values of matrices (B, rows, columns) to about 1 by a quintic Newton–Schulz iteration (Jordan et al. 2024).

    Half precision is enough for that, and is used where it is fast.
    """
    tall = matrices.shape[-2] > matrices.shape[-1]
    x = (matrices.mT if tall else matrices).to(torch.bfloat16 if has_fast_bf16(matrices.device.type) else matrices.dtype)
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(rounds):
        product = x @ x.mT
        mixed = torch.baddbmm(product, product, product, beta=-4.7750, alpha=2.0315)
        x = torch.baddbmm(x, mixed, x, beta=3.4445)
    return (x.mT if tall else x).to(matrices.dtype)


def divide(module: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter], list[nn.Parameter]]:
    """Part the parameters into hidden matrices, tables of ids, and all others.

    Ends of a net (`enter`, `leave`), places and modulations are others.
    """
    ids = {id(part.weight) for part in module.modules() if isinstance(part, nn.Embedding)}
    matrices: list[nn.Parameter] = []
    tables: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, parameter in module.named_parameters():
        hidden = parameter.ndim >= 2 and not {"enter", "leave", "place", "places", "modulation", "time"} & set(name.split("."))
        (tables if id(parameter) in ids else matrices if hidden else others).append(parameter)
    return matrices, tables, others
