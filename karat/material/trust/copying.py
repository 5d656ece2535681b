"""How much of a whole set is copied from the training data: the share nearer to training than to held-out pictures, authenticity, verdicts.

The nearest of many is nearer than the nearest of few. When made, n training and m held-out pictures are of one kind, the nearest of all
is a training picture with odds n : m. So the odds found are divided by n / m and given as a share: 0.5 is no memory whatever the sizes, 1
is copying alone. Authenticity: Alaa et al. 2022 (https://arxiv.org/abs/2102.08921).
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from karat.material.metrics.scores import Interval, Resampling, Score, interval
from karat.material.trust.originality import BLOCK, QUERIES, OriginalityIndex

MEANINGS = {
    "closer-to-training": (
        "Nearer to training",
        "Share of the made pictures nearer to a training picture than to a held-out one, as if there were as many of both: "
        "0.5 is no memory, 1 is copying.",
        False,
    ),
    "authenticity": (
        "Authenticity",
        "Share of the made pictures farther from their nearest training picture than that one is from its own nearest neighbour.",
        True,
    ),
    "copied": (
        "Copied",
        "Share of the made pictures as near to a training picture as only the nearest few of the real held-out pictures are.",
        False,
    ),
}


@dataclass(frozen=True)
class Memory:
    """What the training pictures' side of the three scores needs: the index, held-out pictures to compare with, how to resample."""

    index: OriginalityIndex
    held_out: Tensor
    resampling: Resampling

    def score(self, made: Tensor, *, floor: Tensor, baselines: dict[str, Tensor]) -> list[Score]:
        """Score made pictures beside real ones that nobody trained on (the floor) and trivial baselines."""
        found, reached = self.measure(made), self.measure(floor)
        trivial = {name: Memory(self.index, self.held_out, self.resampling.only_value()).measure(side) for name, side in baselines.items()}
        scores = []
        for name, (title, meaning, higher) in MEANINGS.items():
            facts: dict[str, Any] = {"title": title, "meaning": meaning, "higher_is_better": higher, "floor": reached[name]}
            values = {key: intervals[name].value for key, intervals in trivial.items()}
            scores.append(Score(name=f"{name}/pixels", space="pixels", baselines=values, **facts, **found[name].model_dump()))
        return scores

    def measure(self, made: Tensor) -> dict[str, Interval]:
        """Measure the three shares of a set of pictures."""
        near = self.index.nearest(made)
        copied_N = self.index.copied(near)
        return {
            "closer-to-training": self._closer(made, near.distance),
            "authenticity": self._share(self._authentic(made)),
            "copied": self._share(copied_N),
        }

    def _share(self, holds_N: Tensor) -> Interval:
        weights = self.resampling.weights(len(holds_N), "made")
        draws = weights @ holds_N.double() / len(holds_N)
        return interval(float(holds_N.double().mean()), draws, (len(holds_N), len(self.index)), (0.0, 1.0))

    def _closer(self, made: Tensor, to_trained_N: Tensor) -> Interval:
        held_out_MP = self.index.ruler.reduced(self.held_out).flatten(1)
        blocks = made.split(QUERIES)
        to_held_NM = torch.cat([self.index.ruler.distances(self.index.ruler.poses(block), held_out_MP) for block in blocks])

        def share(weights_N: Tensor, held_NM: Tensor) -> Tensor:
            nearest_N = held_NM.amin(1)
            wins_N = (to_trained_N < nearest_N).double() + 0.5 * (to_trained_N == nearest_N).double()
            won = weights_N @ wins_N * held_NM.shape[1]
            lost = weights_N @ (1 - wins_N) * len(self.index)
            return won / (won + lost)

        value = float(share(torch.ones(len(made)).double(), to_held_NM))
        kept_RM = self.resampling.weights(len(held_out_MP), "held-out") > 0
        weights = zip(self.resampling.weights(len(made), "made"), kept_RM, strict=True)
        draws = [share(weight_N, to_held_NM[:, kept_M]) for weight_N, kept_M in weights]
        return interval(value, torch.stack(draws) if draws else torch.empty(0), (len(made), len(held_out_MP)), (0.0, 1.0))

    def _authentic(self, made: Tensor) -> Tensor:
        """Say of each picture whether it is farther from its nearest training picture than that one is from its own nearest other."""
        vectors_NP = self.index.ruler.reduced(made).flatten(1)
        distance_N, row_N = self._straight(vectors_NP, None)
        rows_K, place_N = row_N.unique(return_inverse=True)
        neighbour_K, _ = self._straight(self.index.tensors["pictures"][rows_K], rows_K)
        return distance_N > neighbour_K[place_N]

    def _straight(self, vectors_NP: Tensor, own_N: Tensor | None) -> tuple[Tensor, Tensor]:
        """Find the nearest training picture of reduced pictures as they stand, leaving out each one's own row where it has one."""
        best, row = torch.full((len(vectors_NP),), torch.inf), torch.zeros(len(vectors_NP), dtype=torch.long)
        trained = self.index.tensors["pictures"]
        for start in range(0, len(trained), BLOCK):
            distance_NM = self.index.ruler.distances(vectors_NP[None], trained[start : start + BLOCK])
            if own_N is not None:
                within = ((own_N >= start) & (own_N < start + distance_NM.shape[1])).nonzero().squeeze(1)
                distance_NM[within, own_N[within] - start] = torch.inf
            distance, place = distance_NM.min(1)
            row = torch.where(distance < best, place + start, row)
            best = torch.minimum(distance, best)
        return best, row
