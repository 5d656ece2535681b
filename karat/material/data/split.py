"""Splitting without leaks: whole groups go to one split, every label to all of them in proportion.

Groups are given out one at a time, the largest first, each to the split that lacks most: of the group's label and of everything together.
"""

import hashlib
from collections import Counter
from collections.abc import Hashable, Sequence
from typing import Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from karat.words.specs import Spec

SPLIT_NAMES = ("train", "validation", "test", "judge")


class Fractions(Spec):
    """How much of the data goes where. They need not add up to one: what counts is their proportion."""

    train: float = Field(default=0.62, ge=0, description="what the generator learns from")
    validation: float = Field(default=0.08, ge=0, description="what the checkpoint is chosen by")
    test: float = Field(default=0.18, ge=0, description="what the final scores are measured on")
    judge: float = Field(default=0.12, ge=0, description="what the metrics' own feature net learns from; the generator never sees it")

    @model_validator(mode="after")
    def _train_something(self) -> Self:
        if self.train <= 0:
            raise ValueError("train must be above 0: there would be nothing to learn from")
        return self

    def shares(self) -> NDArray[np.float64]:
        """Give the shares in the order of SPLIT_NAMES, adding up to one."""
        shares = np.array([self.train, self.validation, self.test, self.judge])
        return shares / shares.sum()


def split(groups: NDArray[np.intp], labels: Sequence[Hashable], *, fractions: Fractions, seed: int) -> NDArray[np.int8]:
    """Give for each sample the number of its split in SPLIT_NAMES; samples of one group are never parted.

    `groups` names each sample's group by a number; the same groups, labels and seed give the same splits.
    """
    count = len(groups)
    shares = fractions.shares()
    names, member, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    given = np.empty(len(names), np.int8)
    lacks = shares * count
    lacks_of = {label: shares * of for label, of in Counter(labels).items()}
    possible = np.where(shares > 0, 0.0, -np.inf)
    ties = [hashlib.sha256(f"{seed}:{number}".encode()).digest() for number in range(len(names))]
    inside = _labels_inside(member, labels, len(names))
    for group in sorted(range(len(names)), key=lambda group: (-sizes[group], ties[group])):
        wanted = sum((lacks_of[label] * of for label, of in inside[group].items()), np.zeros(len(shares))) / sizes[group]
        place = int(np.argmax(lacks + wanted + possible))
        given[group] = place
        lacks[place] -= sizes[group]
        for label, of in inside[group].items():
            lacks_of[label][place] -= of
    return given[member]


def _labels_inside(member: NDArray[np.intp], labels: Sequence[Hashable], count: int) -> list[Counter[Hashable]]:
    inside: list[Counter[Hashable]] = [Counter() for _ in range(count)]
    for group, label in zip(member.tolist(), labels, strict=True):
        inside[group][label] += 1
    return inside
