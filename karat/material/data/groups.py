"""Groups of samples: an array that names for each sample the first sample of its group, and joining by pairs or keys (union-find)."""

from collections.abc import Hashable, Iterable

import numpy as np
from numpy.typing import NDArray

Groups = NDArray[np.intp]


def alone(count: int) -> Groups:
    """Give every sample a group of its own."""
    return np.arange(count)


def join_pairs(groups: Groups, pairs: Iterable[tuple[int, int]]) -> Groups:
    """Join the groups of each pair of samples."""
    parents = groups.copy()

    def first(sample: int) -> int:
        while parents[sample] != sample:
            parents[sample] = parents[parents[sample]]
            sample = int(parents[sample])
        return sample

    for one, other in pairs:
        low, high = sorted((first(one), first(other)))
        parents[high] = low
    while not np.array_equal(further := parents[parents], parents):
        parents = further
    return parents


def join_keys(groups: Groups, keys: Iterable[Hashable | None]) -> Groups:
    """Join the groups of all samples that have the same key; None is no key."""
    seen: dict[Hashable, int] = {}
    return join_pairs(groups, ((seen.setdefault(key, sample), sample) for sample, key in enumerate(keys) if key is not None))
