"""The moving average of a model's weights, which samples better than the weights themselves."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch.optim import Optimizer

from karat.learning.models import Model
from karat.work.optimizers import is_averaging


class Average:
    """An exponential average whose memory grows with the steps up to `memory`, so that short runs do not average in their beginnings."""

    def __init__(self, model: Model, memory: float) -> None:
        self.model, self.memory = model, memory
        self.weights = {name: value.detach().clone() for name, value in model.state_dict().items()}

    @torch.no_grad()
    def follow(self, step: int) -> None:
        """Move towards the model's weights after a step."""
        share = 1 - min(self.memory, (1 + step) / (10 + step))
        now = self.model.state_dict()
        moving = [name for name, value in now.items() if value.is_floating_point()]
        torch._foreach_lerp_([self.weights[name] for name in moving], [now[name] for name in moving], share)
        for name in now.keys() - set(moving):
            self.weights[name].copy_(now[name])

    @contextmanager
    def applied(self, optimizers: Iterable[Optimizer] = ()) -> Iterator[None]:
        """Put the average into the model for a while; optimizers that average by themselves are asked for theirs."""
        own = {name: value.detach().clone() for name, value in self.model.state_dict().items()}
        averaging = [optimizer for optimizer in optimizers if is_averaging(optimizer)]
        for optimizer in averaging:
            optimizer.eval()
        if not averaging:
            self.model.load_state_dict(self.weights)
        try:
            yield
        finally:
            for optimizer in averaging:
                optimizer.train()
            self.model.load_state_dict(own)
