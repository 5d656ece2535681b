"""Feature spaces: where values are compared. Each has a name and a digest, for a distance means nothing without them.

Three kinds: the `judge`, a small net trained on a split that neither the model nor the reference sees (metrics/judge.py); `random-conv`,
fixed random filters from a published seed; and the user's own network from an ONNX file (metrics/networks.py). Values are batches (B, H,
W, C) in [-1, 1], channels last, with any number of channels.
"""

import hashlib
from collections.abc import Mapping
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

BLOCK = 256
LARGEST = 64
SEED = 20_170_626
"""The published seed of the random filters."""


class FeatureSpace(Protocol):
    """Maps values to features; equal digests mean equal features."""

    @property
    def name(self) -> str: ...

    @property
    def digest(self) -> str: ...

    def features(self, values: Tensor) -> Tensor:
        """Give features (N, D) of values (N, H, W, C); a value's features do not depend on its batch mates."""
        ...


class RandomConv:
    """Means and spreads of three layers of fixed random filters: sees noise, blur and texture, knows no classes.

    `typical` values, when given, set the scale on which each feature counts (z-scores); they should be the judge split.
    """

    name = "random-conv"
    widths = (16, 24, 24)

    def __init__(self, channels: int, *, seed: int = SEED, typical: Tensor | None = None) -> None:
        random = np.random.Generator(np.random.Philox(seed))
        self.filters: list[Tensor] = []
        before = channels
        for width in self.widths:
            drawn = random.standard_normal((width, before, 3, 3)) * (2 / (9 * before)) ** 0.5
            self.filters.append(torch.from_numpy(drawn).float())
            before = width
        self.mean_D = torch.zeros(2 * sum(self.widths))
        self.spread_D = torch.ones(2 * sum(self.widths))
        if typical is not None:
            found_ND = self.features(typical)
            spread_D = found_ND.std(0)
            self.mean_D, self.spread_D = found_ND.mean(0), spread_D.clamp(min=max(1e-4, float(spread_D.median()) / 4))

    @property
    def digest(self) -> str:
        state = {f"filters.{index}": filters for index, filters in enumerate(self.filters)}
        return digest_of_tensors({**state, "mean": self.mean_D, "spread": self.spread_D})

    def features(self, values: Tensor) -> Tensor:
        return torch.cat([self._block(block) for block in values.split(BLOCK)])

    @torch.no_grad()
    def _block(self, x_BHWC: Tensor) -> Tensor:
        x_BCHW = bounded(x_BHWC).movedim(-1, 1)
        found = []
        for filters in self.filters:
            # Magnitudes, for a rectifier leaves filters that are silent on nearly everything and then shout.
            x_BCHW = F.conv2d(F.pad(x_BCHW, (1, 1, 1, 1), mode="replicate"), filters).abs()
            found += [x_BCHW.mean((2, 3)), x_BCHW.std((2, 3), correction=0)]
            if min(x_BCHW.shape[2:]) >= 4:
                x_BCHW = F.avg_pool2d(x_BCHW, 2)
        return (torch.cat(found, 1) - self.mean_D) / self.spread_D


def bounded(x_BHWC: Tensor, largest: int = LARGEST) -> Tensor:
    """Shrink pictures whose longer side is over `largest`, averaging over areas; leave smaller ones as they are."""
    height, width = x_BHWC.shape[1:3]
    if max(height, width) <= largest:
        return x_BHWC
    scale = largest / max(height, width)
    size = max(1, round(height * scale)), max(1, round(width * scale))
    return F.interpolate(x_BHWC.movedim(-1, 1), size=size, mode="area").movedim(1, -1)


def reduced_pixels(x_BHWC: Tensor, side: int = 8) -> Tensor:
    """Give each picture as one row of at most side x side averaged pixels."""
    return bounded(x_BHWC, side).flatten(1)


def digest_of_tensors(tensors: Mapping[str, Tensor]) -> str:
    """Give the SHA-256 over names, shapes and bytes."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        array = tensors[name].detach().contiguous().numpy()
        digest.update(f"{name}:{array.dtype}:{array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
