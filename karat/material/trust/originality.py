"""Originality: how near a made picture is to its nearest training picture, beside how near real pictures come that nobody trained on.

Two rulers. Pixels: the picture reduced to at most 16 x 16, its brightness and contrast taken out, in the best of its mirror images and
shifts by a pixel. Features: those of the judge, of the picture and its mirror image. A picture counts as copied when its pixel distance
is below a low quantile of the distances that held-out pictures have, or its feature distance is and its pixels are suspiciously near as
well; so the share of real pictures that would be called copies is known beforehand. This is originality and no privacy: far pictures can
still give training data away (https://arxiv.org/abs/2505.01524).
"""

import json
import os
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from karat.material.metrics.disturb import mirrored, shifted
from karat.material.metrics.features import bounded
from karat.material.metrics.judge import Judge
from karat.material.trust.reservoir import Reservoir
from karat.words.errors import DataError, ReleaseError
from karat.words.events import Event, Progress, Started, Warned
from karat.words.specs import Spec, canonical

FORMAT = 1
BLOCK = 2048
QUERIES = 64
PLANTED = 128
FEATURE_RANGE = 6.0
SAME = 0.02
"""A held-out picture this near to a training picture is the same picture, and would make every copy look normal."""
TENSORS_FILE, FACTS_FILE = "originality.safetensors", "originality.json"


class OriginalityOptions(Spec):
    """The rulers: side of the reduced picture, pixels a copy may be shifted by, and the quantile below which a picture counts as copied."""

    side: int = 16
    shift: int = 1
    mirror: bool = True
    quantile: float = Field(default=0.01, gt=0, le=0.1)
    seed: int = 0


class OriginalityVerdict(Spec):
    """One picture against the training set; `rank` is the share of held-out pictures that lie as near to theirs or nearer."""

    copied: bool
    nearest: str
    row: int
    distance: float
    threshold: float
    rank: float
    feature_distance: float | None = None
    feature_threshold: float | None = None
    feature_nearest: str | None = None


@dataclass(frozen=True)
class Nearest:
    """For each picture: distance to its nearest neighbour and the neighbour's row, in pixels and, with a judge, in features."""

    distance: Tensor
    row: Tensor
    feature_distance: Tensor | None = None
    feature_row: Tensor | None = None


class PixelRuler:
    """Turns pictures into reduced bytes and measures distances between them, forgiving brightness, contrast, mirroring and small shifts."""

    def __init__(self, options: OriginalityOptions) -> None:
        self.options = options

    def reduced(self, values: Tensor) -> Tensor:
        """Give (N, h, w, C) bytes of the pictures without their rim, which a shifted copy has lost."""
        rim = self._rim(values)
        return self._window(values, rim, rim)

    def poses(self, values: Tensor) -> Tensor:
        """Give (V, N, P) bytes: every pose in which a picture may be a copy."""
        sides = [values, mirrored(values)] if self.options.mirror else [values]
        places = range(2 * self._rim(values) + 1)
        return torch.stack([self._window(side, top, left).flatten(1) for side in sides for top in places for left in places])

    def distances(self, poses: Tensor, vectors: Tensor) -> Tensor:
        """Give the distance (N, M) of each picture's best pose to each reduced picture; 0 is the same, 1.4 is unrelated."""
        ways, count, _ = poses.shape
        a_XP, b_MP = _evened(poses.flatten(0, 1)), _evened(vectors)
        squared = a_XP.square().sum(1)[:, None] + b_MP.square().sum(1) - 2 * (a_XP @ b_MP.T)
        return squared.view(ways, count, -1).amin(0).clamp(min=0).sqrt()

    def _rim(self, values: Tensor) -> int:
        return self.options.shift if min(values.shape[1:3]) >= 4 * self.options.shift + 4 else 0

    def _window(self, values: Tensor, top: int, left: int) -> Tensor:
        rim = self._rim(values)
        height, width = values.shape[1] - 2 * rim, values.shape[2] - 2 * rim
        window = values[:, top : top + height, left : left + width]
        return ((bounded(window, self.options.side) + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


class OriginalityIndex:
    """The training set as small vectors, with the held-out distances that its verdicts are read from; ships inside a release."""

    def __init__(self, tensors: Mapping[str, Tensor], facts: Mapping[str, Any], names: Sequence[str] = ()) -> None:
        self.tensors = dict(tensors)
        self.facts = dict(facts)
        self.names = list(names)
        self.options = OriginalityOptions.from_values(self.facts["options"])
        self.ruler = PixelRuler(self.options)
        own = {key.removeprefix("judge."): value for key, value in self.tensors.items() if key.startswith("judge.")}
        self.judge = Judge.load(own, self.facts["judge"]) if own else None

    def __len__(self) -> int:
        return len(self.tensors["pictures"])

    @property
    def threshold(self) -> float:
        return _threshold(self.tensors["held_out"], self.options.quantile)

    @property
    def feature_threshold(self) -> float | None:
        return _threshold(self.tensors["held_out_features"], self.options.quantile) if self.judge else None

    def name(self, row: int) -> str:
        return self.names[row] if self.names else str(row)

    def picture(self, row: int) -> np.ndarray:
        """Give the reduced training picture as bytes (H, W, C), to show beside a verdict where the picture itself is not at hand."""
        return self.tensors["pictures"][row].reshape(self.facts["reduced"]).numpy()

    def nearest(self, values: Tensor) -> Nearest:
        """Find the nearest training picture of each picture, in blocks of both."""
        if not len(values):
            raise DataError("There is no picture to compare.", repair="Give at least one.")
        found = [self._nearest(block) for block in values.split(QUERIES)]
        pixels = [torch.cat([each[index] for each in found]) for index in range(2)]
        if self.judge is None:
            return Nearest(pixels[0], pixels[1])
        return Nearest(pixels[0], pixels[1], torch.cat([each[2] for each in found]), torch.cat([each[3] for each in found]))

    def copied(self, nearest: Nearest) -> Tensor:
        """Say of each picture whether it counts as copied."""
        copied = nearest.distance <= self.threshold
        if nearest.feature_distance is not None and self.feature_threshold is not None:
            # Classes crowd together in the judge's features, so nearness there alone proves nothing.
            suspicious = nearest.distance <= _threshold(self.tensors["held_out"], 10 * self.options.quantile)
            copied = copied | (suspicious & (nearest.feature_distance <= self.feature_threshold))
        return copied

    def verdicts(self, values: Tensor) -> list[OriginalityVerdict]:
        """Judge each picture."""
        near = self.nearest(values)
        copied = self.copied(near)
        held_out = self.tensors["held_out"]
        verdicts = []
        for index in range(len(values)):
            row, distance = int(near.row[index]), float(near.distance[index])
            rank = float((held_out <= distance).float().mean())
            features: dict[str, Any] = {}
            if near.feature_distance is not None and near.feature_row is not None:
                features = {"feature_distance": float(near.feature_distance[index]), "feature_threshold": self.feature_threshold}
                features["feature_nearest"] = self.name(int(near.feature_row[index]))
            place: dict[str, Any] = {"nearest": self.name(row), "row": row, "distance": distance, "rank": rank}
            verdicts.append(OriginalityVerdict(copied=bool(copied[index]), threshold=self.threshold, **place, **features))
        return verdicts

    def parts(self) -> dict[str, bytes]:
        """Give the index as files: name to bytes."""
        from safetensors.torch import save

        facts = canonical({"format": FORMAT, "names": self.names, **self.facts})
        return {TENSORS_FILE: save({key: value.contiguous() for key, value in self.tensors.items()}), FACTS_FILE: facts}

    @classmethod
    def from_parts(cls, parts: Mapping[str, bytes]) -> Self:
        """Read what `parts` wrote. Raises ReleaseError when it is no index or a newer one."""
        from safetensors import SafetensorError
        from safetensors.torch import load

        try:
            facts = json.loads(parts[FACTS_FILE])
            if facts.pop("format") != FORMAT:
                raise ReleaseError("The originality index has a format that this version does not know.", repair="Use a newer Karat.")
            return cls(load(parts[TENSORS_FILE]), facts, facts.pop("names"))
        except (KeyError, TypeError, ValueError, SafetensorError, RuntimeError) as error:
            raise ReleaseError(f"The originality index cannot be read: {error}.", repair="Make the release again.") from None

    def save(self, folder: Path) -> None:
        """Write the index into a folder, each file whole or not at all."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in self.parts().items():
            unfinished = folder / f".{name}.part"
            unfinished.write_bytes(content)
            os.replace(unfinished, folder / name)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read an index from a folder. Raises ReleaseError when it is none."""
        try:
            return cls.from_parts({name: (folder / name).read_bytes() for name in (TENSORS_FILE, FACTS_FILE)})
        except OSError as error:
            raise ReleaseError(f"{folder} holds no originality index: {error.strerror}.", repair="Check the path.") from None

    def _nearest(self, values: Tensor) -> tuple[Tensor, ...]:
        poses = self.ruler.poses(values)
        count = len(values)
        best, row = torch.full((count,), torch.inf), torch.zeros(count, dtype=torch.long)
        for start in range(0, len(self), BLOCK):
            distance, place = self.ruler.distances(poses, self.tensors["pictures"][start : start + BLOCK]).min(1)
            row = torch.where(distance < best, place + start, row)
            best = torch.minimum(distance, best)
        if self.judge is None:
            return best, row
        views = torch.stack([self.judge.features(values), self.judge.features(mirrored(values))]) if self.options.mirror else None
        views = self.judge.features(values)[None] if views is None else views
        feature_best, feature_row = torch.full((count,), torch.inf), torch.zeros(count, dtype=torch.long)
        for start in range(0, len(self), BLOCK):
            block = _from_bytes(self.tensors["features"][start : start + BLOCK])
            distance, place = torch.cdist(_from_bytes(_to_bytes(views)), block).amin(0).min(1)
            feature_row = torch.where(distance < feature_best, place + start, feature_row)
            feature_best = torch.minimum(distance, feature_best)
        return best, row, feature_best, feature_row


def build_index(
    train: Iterable[Tensor], held_out: Tensor, options: OriginalityOptions, *, judge: Judge | None = None, names: Sequence[str] = ()
) -> Generator[Event, None, OriginalityIndex]:
    """Build an index from batches of training pictures: yields progress, returns the index. Only small vectors are kept of them."""
    ruler = PixelRuler(options)
    pictures, features, planted, count, reduced = bytearray(), bytearray(), Reservoir[Tensor](PLANTED, options.seed), 0, [0, 0, 0]
    yield Started(what="indexing the training set", unit="pictures")
    for batch in train:
        small = ruler.reduced(batch)
        reduced = list(small.shape[1:])
        pictures += small.numpy().tobytes()
        if judge is not None:
            features += _to_bytes(judge.features(batch)).numpy().tobytes()
        planted.offer(value.clone() for value in batch)
        count += len(batch)
        yield Progress(done=count)
    if not count or not len(held_out):
        raise DataError("An originality index needs training pictures and held-out ones.", repair="Give the validation split a share.")
    if names and len(names) != count:
        raise DataError(f"There are {len(names)} names for {count} training pictures.", repair="Give one name for each picture.")
    tensors = {"pictures": torch.frombuffer(pictures, dtype=torch.uint8).view(count, -1), "held_out": torch.zeros(0)}
    facts: dict[str, Any] = {"options": options.model_dump(), "reduced": reduced, "count": count, "detected": {}}
    if judge is not None:
        tensors |= {"features": torch.frombuffer(features, dtype=torch.uint8).view(count, -1), "held_out_features": torch.zeros(0)}
        tensors |= {f"judge.{key}": value for key, value in judge.tensors().items()}
        facts["judge"] = judge.facts
    index = OriginalityIndex(tensors, facts, names)
    near = index.nearest(held_out)
    honest = near.distance > SAME
    if not honest.all():
        yield Warned(message=f"{int((~honest).sum())} held-out pictures are in the training set too; no verdict is read from them.")
    if not honest.any():
        raise DataError("Every held-out picture is in the training set too.", repair="Split the data again, near duplicates together.")
    index.tensors["held_out"] = near.distance[honest].sort().values
    if near.feature_distance is not None:
        index.tensors["held_out_features"] = near.feature_distance[honest].sort().values
    index.facts["leaks"] = int((~honest).sum())
    index.facts["false_alarms"] = float(index.copied(near)[honest].float().mean())
    index.facts["detected"] = detection(index, torch.stack(planted.kept), seed=options.seed)
    return index


def plant(values: Tensor, *, seed: int) -> dict[str, Tensor]:
    """Give copies of pictures as a model might: exact, mirrored, slightly noised, brighter, shifted by a pixel, weaker in contrast."""
    generator = torch.Generator().manual_seed(seed)
    return {
        "exact": values,
        "mirrored": mirrored(values),
        "noised": (values + 0.1 * torch.randn(values.shape, generator=generator)).clamp(-1, 1),
        "brighter": (values + 0.2).clamp(-1, 1),
        "shifted": shifted(values, 1, 1),
        "paler": 0.7 * values,
    }


def detection(index: OriginalityIndex, originals: Tensor, *, seed: int) -> dict[str, float]:
    """Measure the share of planted copies of training pictures that the index calls copied, by kind."""
    return {kind: float(index.copied(index.nearest(copies)).float().mean()) for kind, copies in plant(originals, seed=seed).items()}


def _threshold(sorted_distances: Tensor, quantile: float) -> float:
    return float(torch.quantile(sorted_distances, quantile))


def _evened(vectors_NP: Tensor) -> Tensor:
    """Take brightness and contrast out of reduced pictures; nearly flat ones stay small instead of blowing up their noise."""
    x_NP = vectors_NP.float() / 127.5 - 1
    x_NP = x_NP - x_NP.mean(1, keepdim=True)
    return x_NP / (x_NP.norm(dim=1, keepdim=True) + 0.02 * x_NP.shape[1] ** 0.5)


def _to_bytes(features_ND: Tensor) -> Tensor:
    return ((features_ND / FEATURE_RANGE + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


def _from_bytes(features_ND: Tensor) -> Tensor:
    return (features_ND.float() / 127.5 - 1) * FEATURE_RANGE
