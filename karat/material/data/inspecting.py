"""Inspections: what the checks of one modality notice about samples, and what they remember of them. The one of pictures is here."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from karat.material.data.groups import Groups
from karat.material.data.likeness import is_flat, near_groups
from karat.material.data.looking import LOOK, SIDE
from karat.material.data.policy import CheckPolicy
from karat.material.data.samples import Sample
from karat.store.store import Store

Noticed = tuple[str, str]
"""A check and what it says."""


class Seen(NamedTuple):
    """What a look at one sample gave: a digest that it shares with those that say the same, and what was noticed."""

    content: str
    noticed: list[Noticed]


class Inspection(Protocol):
    """The checks of one modality. Samples come in order, in lists; later they are named by their places in that order."""

    copied: str
    alike: str

    def look(self, store: Store, samples: Sequence[Sample]) -> Iterator[Seen]:
        """Look at some samples, and remember of each what is compared later."""
        ...

    def overall(self, kept: NDArray[np.intp]) -> Iterator[tuple[int | str, str, str]]:
        """Give what shows when all samples that are kept were seen: the place of a sample or what else it is about, check, message."""
        ...

    def near(self, kept: NDArray[np.intp]) -> Iterator[tuple[int, Groups]]:
        """Give, as the search goes on, how many are done and the groups of near duplicates among those kept."""
        ...

    def figures(self) -> dict[str, int]:
        """Give what was counted beside findings."""
        ...


class PictureInspection:
    """The checks of pictures. It keeps the print of each, 256 bytes, whatever the size of its file."""

    copied, alike = "byte for byte", "looks like"

    def __init__(self, policy: CheckPolicy) -> None:
        self._policy = policy
        self._prints = bytearray()
        self._sides: list[int] = []

    def look(self, store: Store, samples: Sequence[Sample]) -> Iterator[Seen]:
        looks = store.files.looks({sample.blob for sample in samples}, look=LOOK)
        for sample in samples:
            print = looks[sample.blob].print if sample.blob in looks else None
            self._prints += print or bytes(SIDE * SIDE)
            self._sides.append(min(sample.facts.get("width", 0), sample.facts.get("height", 0)))
            yield Seen(sample.blob, problems(sample) or list(self._about(sample)))

    def overall(self, kept: NDArray[np.intp]) -> Iterator[tuple[int | str, str, str]]:
        for place in kept[is_flat(self._of(kept))].tolist():
            yield place, "blank", "It is of one colour."

    def near(self, kept: NDArray[np.intp]) -> Iterator[tuple[int, Groups]]:
        prints, sides = self._of(kept), np.array(self._sides)[kept]
        self._prints = bytearray()
        yield from near_groups(prints, sides, distance=self._policy.near_distance)

    def figures(self) -> dict[str, int]:
        return {}

    def _of(self, kept: NDArray[np.intp]) -> NDArray[np.uint8]:
        prints = np.frombuffer(self._prints, np.uint8).reshape(-1, SIDE, SIDE)
        return prints if len(kept) == len(prints) else prints[kept]

    def _about(self, sample: Sample) -> Iterator[Noticed]:
        width, height, policy = sample.facts["width"], sample.facts["height"], self._policy
        if width * height > policy.max_pixels:
            yield "bomb", f"It has {width * height} pixels."
        if min(width, height) < policy.min_side:
            yield "too-small", f"It has {width} x {height} pixels."
        if max(width, height) > policy.max_aspect * min(width, height):
            yield "odd-aspect", f"It has {width} x {height} pixels."


def problems(sample: Sample) -> list[Noticed]:
    """Give what the import found wrong with a sample's file."""
    problem = cast(dict[str, Any] | None, sample.facts.get("problem"))
    return [(problem["check"], problem["message"])] if problem else []
