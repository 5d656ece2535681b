"""The loop's own cost: Karat's training loop against a bare loop over the same model, batches and optimizer.

    python benchmarks/loop.py

Both take the same steps in turn, several times; the ratio is of their medians.
"""

import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from datasets import machine
from results import record
from torch import Tensor

from karat.learning.models import Model, ModelSpec
from karat.values.given import Given
from karat.values.spaces import Space
from karat.work.plans import TrainingPlan
from karat.work.training import train

SPACE = Space(axes=("height", "width"), shape=(16, 16), channels=3)
SPEC = ModelSpec.from_values({"space": SPACE, "given": {"label": Space(vocab=10)}, "family": {"kind": "diffusion"}})
STEPS, ROUNDS = 100, 5


class Batches:
    """The same random batch every time."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        self.x = SPACE.random(64, generator)
        self.given = Given.of(label=torch.randint(10, (64,), generator=generator))

    def __len__(self) -> int:
        return len(self.x)

    def batch(self, step: int, size: int, generator: torch.Generator) -> tuple[Tensor, Given]:
        return self.x, self.given

    def held_out(self) -> Iterator[tuple[Tensor, Given]]:
        return iter(())


def bare(data: Batches) -> float:
    """Give the seconds of a loop that does nothing but learn."""
    model = Model(SPEC)
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.95))
    average = {name: value.clone() for name, value in model.state_dict().items()}
    generator = torch.Generator().manual_seed(0)
    began = time.perf_counter()
    for _ in range(STEPS):
        loss = model.family.loss("flow", data.x, data.given, generator)
        loss.total.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        with torch.no_grad():
            for name, value in model.state_dict().items():
                average[name].lerp_(value, 0.01)
    return time.perf_counter() - began


def karats(data: Batches) -> float:
    """Give the seconds of Karat's loop, with its events read and its last checkpoint written."""
    with TemporaryDirectory() as folder:
        model = Model(SPEC)
        began = time.perf_counter()
        for _ in train(model, data, TrainingPlan(steps=STEPS, rate=1e-3, checks=0, judged=0), Path(folder)):
            pass
        return time.perf_counter() - began


def main() -> None:
    """Compare and record."""
    data = Batches()
    bare(data)
    pairs = [(karats(data), bare(data)) for _ in range(ROUNDS)]
    ours, theirs = (statistics.median(column) for column in zip(*pairs, strict=True))
    ratios = sorted(a / b for a, b in pairs)
    row = {
        "what": "loop",
        "seconds": ours,
        "bare_seconds": theirs,
        "ratio": statistics.median(ratios),
        "low": ratios[0],
        "high": ratios[-1],
    }
    record(Path(__file__).parent / "results" / "loop.json", {**row, "high": ratios[-1], **machine()}, key=("what",))
    print(f"Karat {ours:.2f} s, bare {theirs:.2f} s for {STEPS} steps: ratio {row['ratio']:.3f} ({ratios[0]:.3f} … {ratios[-1]:.3f})")


if __name__ == "__main__":
    main()
