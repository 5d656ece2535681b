"""What every peer program shares: its arguments, its task, its clock and the file that it leaves.

A peer is called as

    python PEER.py --data DATA.npz --seconds 60 --threads 2 --seed 0 --samples 500 --out OUT.npz

and writes `x` (M, H, W, C) uint8, `y` (the label asked for, or -1) and `meta`, a JSON text.
torch is imported only after the number of threads is set, so this file must be imported before it.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch


def arguments(purpose: str, **extra: dict[str, Any]) -> argparse.Namespace:
    """Read the options that all peers have, and those in `extra` (name -> what `add_argument` takes)."""
    parser = argparse.ArgumentParser(description=purpose)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=60.0, help="seconds of training")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--samples", type=int, default=500)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument(
        "--settings",
        choices=["documented", "tuned"],
        default="documented",
        help="documented: as the peer's own guide has it; tuned: what serves it best within minutes",
    )
    for name, options in extra.items():
        parser.add_argument(f"--{name}", **options)
    chosen = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = str(chosen.threads)
    os.environ["HF_HUB_OFFLINE"] = "1"
    return chosen


@dataclass(frozen=True)
class Task:
    """The pictures to learn from and the labels to make."""

    train_x: np.ndarray
    train_y: np.ndarray
    want_y: np.ndarray

    @classmethod
    def read(cls, path: Path) -> Task:
        with np.load(path, allow_pickle=False) as data:
            return cls(data["train_x"], data["train_y"], data["want_y"])

    @property
    def labels(self) -> int:
        """How many labels there are; 0 when the pictures have none."""
        return int(self.train_y.max()) + 1 if len(self.train_y) and self.train_y.min() >= 0 else 0

    def wanted(self, count: int) -> np.ndarray:
        """The labels of `count` samples: those wanted, from the start again when there are fewer."""
        return np.resize(self.want_y, count) if len(self.want_y) and self.labels else np.full(count, -1)

    def pictures(self) -> torch.Tensor:
        """The training pictures as a float tensor (N, C, H, W) in [0, 1]."""
        import torch

        return torch.from_numpy(self.train_x).permute(0, 3, 1, 2).float().div(255).contiguous()


@dataclass
class Clock:
    """Seconds of training: starts at the first question, and says when they are spent."""

    seconds: float
    steps: int = 0
    spent: float = 0.0
    _begun: float | None = field(default=None, repr=False)

    @property
    def fraction(self) -> float:
        """How much of the time is gone, 0 to 1."""
        if self._begun is None:
            self._begun = time.perf_counter()
        self.spent = time.perf_counter() - self._begun
        return min(1.0, self.spent / self.seconds) if self.seconds > 0 else 1.0

    def running(self) -> bool:
        """Whether another step may begin; counts it."""
        going = self.fraction < 1.0
        self.steps += going
        return going


def seeded(chosen: argparse.Namespace) -> torch.Generator:
    """Set torch's threads and seed; return a generator for the order of the batches."""
    import torch
    from threadpoolctl import threadpool_limits

    threadpool_limits(chosen.threads)  # numpy was loaded before the environment said so
    torch.set_num_threads(chosen.threads)
    torch.manual_seed(chosen.seed)
    np.random.seed(chosen.seed)  # some of the peers draw from it
    return torch.Generator().manual_seed(chosen.seed)


def batches(count: int, size: int, order: torch.Generator) -> Iterator[torch.Tensor]:
    """Yield index tensors of shuffled passes over `count` pictures, for ever; a pass drops its odd rest."""
    import torch

    size = min(size, count)
    while True:
        yield from torch.randperm(count, generator=order)[: count - count % size].split(size)


def parameters(*nets: torch.nn.Module) -> int:
    """Count the parameters of the nets."""
    return sum(p.numel() for net in nets for p in net.parameters())


def uint8(pictures: torch.Tensor) -> np.ndarray:
    """Turn a tensor (M, C, H, W) in [0, 1] into uint8 (M, H, W, C)."""
    return pictures.float().clamp(0, 1).mul(255).round().byte().permute(0, 2, 3, 1).numpy()


def write_samples(path: Path, x: np.ndarray, *, y: np.ndarray | None, meta: dict[str, Any]) -> None:
    """Leave the samples and what is known about them, and print the latter."""
    package = meta.pop("package")
    meta = {**meta, "version": version(package), "torch": version("torch"), "pictures_per_second": len(x) / meta["sampling_seconds"]}
    np.savez(path, x=x, y=np.full(len(x), -1) if y is None else y.astype(np.int64), meta=json.dumps(meta))
    print(json.dumps(meta))
