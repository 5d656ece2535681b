"""Solvers of dx/dt = v(x, t) from noise (t = 0) to data (t = 1): one plain function each, one calling convention.

    solver(velocity, x, times) -> Iterator[(step, x, guess of the data)]

`velocity(x, t)` takes a batch and one time and gives v; the guess of the data at time t is x + (1 - t) v.
"""

from collections.abc import Callable, Iterator
from itertools import pairwise

import torch
from torch import Tensor

from karat.words.registry import Registry

Velocity = Callable[[Tensor, float], Tensor]
Path = Iterator[tuple[int, Tensor, Tensor]]
Solver = Callable[[Velocity, Tensor, list[float]], Path]
solvers: Registry[Solver] = Registry("solver")


@solvers.add("euler")
def euler(velocity: Velocity, x: Tensor, times: list[float]) -> Path:
    """Follow the tangent: first order, one evaluation a step."""
    for step, (t, later) in enumerate(pairwise(times), 1):
        v = velocity(x, t)
        guess = x + (1 - t) * v
        x = x + (later - t) * v
        yield step, x, guess


@solvers.add("heun")
def heun(velocity: Velocity, x: Tensor, times: list[float]) -> Path:
    """Average the slopes at both ends (Karras et al. 2022, arXiv 2206.00364, algorithm 1): second order, two evaluations a step."""
    for step, (t, later) in enumerate(pairwise(times), 1):
        v = velocity(x, t)
        guess = x + (1 - t) * v
        ahead = x + (later - t) * v
        x = ahead if later >= 1 else x + (later - t) * (v + velocity(ahead, later)) / 2
        yield step, x, guess


@solvers.add("midpoint")
def midpoint(velocity: Velocity, x: Tensor, times: list[float]) -> Path:
    """Take the slope of the middle (Runge 1895): second order, two evaluations a step."""
    for step, (t, later) in enumerate(pairwise(times), 1):
        middle = (t + later) / 2
        v = velocity(x + (middle - t) * velocity(x, t), middle)
        x = x + (later - t) * v
        yield step, x, x + (1 - later) * v


@solvers.add("dpm++2m")
def dpm_2m(velocity: Velocity, x: Tensor, times: list[float]) -> Path:
    """DPM-Solver++(2M) (Lu et al. 2022, arXiv 2211.01095, algorithm 2) on the straight path: second order, one evaluation a step.

    With alpha = t and sigma = 1 - t, half the log signal-to-noise ratio is log(t / (1 - t)); the first step, from t = 0, is Euler's.
    """
    before: tuple[float, Tensor] | None = None
    for step, (t, later) in enumerate(pairwise(times), 1):
        guess = x + (1 - t) * velocity(x, t)
        mixed = guess
        if before is not None and t > 0 and later < 1:
            gap, last_gap = _half_snr(later) - _half_snr(t), _half_snr(t) - _half_snr(before[0])
            mixed = guess + (guess - before[1]) * (gap / (2 * last_gap))
        x = x * ((1 - later) / (1 - t)) + mixed * (later - t * (1 - later) / (1 - t))
        before = (t, guess) if t > 0 else None
        yield step, x, guess


def _half_snr(t: float) -> float:
    return float(torch.logit(torch.tensor(t, dtype=torch.float64)))


def grid(steps: int, shift: float) -> list[float]:
    """Give `steps` + 1 times from 0 to 1; `shift` > 1 puts more near the noise (Esser et al. 2024, arXiv 2403.03206, equation 23)."""
    even = [i / steps for i in range(steps + 1)]
    return [t / (t + shift * (1 - t)) for t in even]
