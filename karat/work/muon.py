"""Muon and AdamW as one optimizer."""

from functools import cache
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer


class MuonWithAdamW(Optimizer):
    """Muon for the matrices of hidden layers, AdamW for the ends of a net, embeddings, modulations, norms and biases.

    Convolution kernels count as matrices of outputs × everything else. Tables of ids learn `table_rate` times as fast as the rest.
    """

    def __init__(self, module: nn.Module, rate: float, *, weight_decay: float = 0.01, table_rate: float = 1.0) -> None:
        matrices, tables, others = divide(module)
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
            for parameter in reached:
                parameter.mul_(1 - group["lr"] * group["decay"])
            if group["muon"]:
                self._muon(reached, group)
            else:
                for parameter in reached:
                    self._adamw(parameter, group)

    def _muon(self, parameters: list[nn.Parameter], group: dict[str, Any]) -> None:
        """Move matrices; those of one shape are straightened together, which is what costs."""
        ahead: dict[tuple[int, ...], list[tuple[nn.Parameter, torch.Tensor]]] = {}
        for parameter in parameters:
            gradient, state = parameter.grad, self.state[parameter]
            assert gradient is not None, "only parameters that were reached move"
            if not state:
                state["momentum"] = torch.zeros_like(parameter)
            momentum = state["momentum"].lerp_(gradient, 1 - group["momentum"])
            matrix = torch.lerp(gradient, momentum, group["momentum"]).flatten(1)
            ahead.setdefault(tuple(matrix.shape), []).append((parameter, matrix))
        for (rows, columns), same in ahead.items():
            straight = orthogonal(torch.stack([matrix for _, matrix in same]))
            for (parameter, _), each in zip(same, straight, strict=True):
                parameter.add_(each.view_as(parameter), alpha=-group["lr"] * 0.2 * max(rows, columns) ** 0.5)

    def _adamw(self, parameter: nn.Parameter, group: dict[str, Any]) -> None:
        gradient, state = parameter.grad, self.state[parameter]
        if not state:
            state["first"], state["second"], state["count"] = torch.zeros_like(parameter), torch.zeros_like(parameter), 0
        early, late = group["betas"]
        state["count"] += 1
        state["first"].lerp_(gradient, 1 - early)
        state["second"].mul_(late).addcmul_(gradient, gradient, value=1 - late)
        spread = (state["second"] / (1 - late ** state["count"])).sqrt_().add_(1e-8)
        parameter.addcdiv_(state["first"], spread, value=-group["lr"] / (1 - early ** state["count"]))


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


@cache
def has_fast_bf16(device: str) -> bool:
    """Say whether a kind of device multiplies in bf16 faster than in float32."""
    return device == "cuda" or bool(torch.cpu.get_capabilities().get("avx512_bf16"))


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
