"""Which pictures look alike: groups of near duplicates, found by their prints, mirrored ones among them.

A 64-bit perceptual hash (which of the print's lowest 8 x 8 cosine terms lie above their median: Zauner 2010,
https://phash.org/docs/pubs/thesis_zauner.pdf) proposes pairs; the correlation of the prints decides. Correlation passes over brightness and
contrast, and mostly over colour, so that variants in skin tone stay together.

How far two pictures may differ depends on how much there is to see: the whole `distance` (one minus the correlation) from 64 pixels on, a
hundredth at 8 pixels, where a looser rule would call a third of all handwritten digits alike. Likeness is joined in chains, and in a narrow
domain a chain grows until it holds everything, so a group that is a crowd is searched again with half the distance.

All pairs of hashes are compared, block by block: the time grows with the pairs, the memory does not.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from karat.material.data.groups import Groups, alone, join_pairs
from karat.material.data.looking import SIDE

COPY_DISTANCE = 0.01
HASH_DISTANCE = 10
COPY_HASH_DISTANCE = 14
FULL_SIDE, TINY_SIDE = 64, 8
BLOCK = 1 << 20
PAIRS = 1 << 12
FLAT = 1.0

Prints = NDArray[np.uint8]


def near_groups(prints: Prints, sides: NDArray[np.int64], *, distance: float) -> Iterator[tuple[int, Groups]]:
    """Give, as the search goes on, how many prints are done and the groups so far: for each print the first one of its group.

    `prints` has the shape (n, 16, 16); `sides` are the shorter sides of the pictures themselves; a distance of 0 finds nothing.
    """
    groups = alone(len(prints))
    if distance > 0 and len(prints) > 1:
        crowd = crowd_of(len(prints))
        for done in _join(prints, sides, groups=groups, distance=distance):
            yield done, groups
        _disperse(prints, sides, groups=groups, distance=distance / 2, crowd=crowd)
    yield len(prints), groups


def hashes(prints: Prints, places: NDArray[np.intp]) -> NDArray[np.uint64]:
    """Give the 64-bit perceptual hashes of the prints at some places."""
    place = np.arange(SIDE)
    basis = np.cos(np.pi * (2 * place + 1) * np.arange(8)[:, None] / (2 * SIDE)).astype(np.float32)
    found = np.empty(len(places), np.uint64)
    for start in range(0, len(places), PAIRS):
        terms = (basis @ prints[places[start : start + PAIRS]].astype(np.float32) @ basis.T).reshape(-1, 64)
        bits = terms > np.median(terms[:, 1:], axis=1, keepdims=True)
        found[start : start + PAIRS] = np.packbits(bits, axis=1).view(np.uint64)[:, 0]
    return found


def crowd_of(count: int) -> int:
    """Give the size from which a group counts as a crowd: a quarter of a small set, 128 and a fiftieth of a large one."""
    return max(16, min(count // 4, 128 + count // 50))


def allowed(sides: NDArray[np.int64], distance: float) -> NDArray[np.float64]:
    """Give how far near duplicates may differ, for pictures whose shorter sides are these."""
    least = min(COPY_DISTANCE, distance)
    detail = np.log2(np.clip(sides, TINY_SIDE, FULL_SIDE) / TINY_SIDE) / np.log2(FULL_SIDE / TINY_SIDE)
    return least + (distance - least) * detail**2


def _join(prints: Prints, sides: NDArray[np.int64], *, groups: Groups, distance: float) -> Iterator[int]:
    """Join the groups of all pairs that look alike, in place."""
    limits = allowed(sides, distance)
    seen = np.flatnonzero(~is_flat(prints))
    plain, mirrored = hashes(prints, seen), hashes(prints[:, :, ::-1], seen)
    rows = max(1, BLOCK // max(len(seen), 1))
    for start in range(0, len(seen), rows):
        block = plain[start : start + rows, None]
        for others, flip in ((plain, False), (mirrored, True)):
            apart = np.bitwise_count(block ^ others[None, start:])
            left, right = np.divmod(np.flatnonzero(apart <= COPY_HASH_DISTANCE), apart.shape[1])
            forward = right > left
            left, right = left[forward], right[forward]
            near = apart[left, right] <= HASH_DISTANCE
            for some in range(0, len(left), PAIRS):
                part = slice(some, some + PAIRS)
                a, b = seen[left[part] + start], seen[right[part] + start]
                limit = np.where(near[part], np.minimum(limits[a], limits[b]), COPY_DISTANCE)
                _join_alike(prints, groups, a=a, b=b, limit=limit, flip=flip)
        yield start + len(block)


def _join_alike(
    prints: Prints, groups: Groups, *, a: NDArray[np.intp], b: NDArray[np.intp], limit: NDArray[np.float64], flip: bool
) -> None:
    apart = groups[a] != groups[b]
    a, b, limit = a[apart], b[apart], limit[apart]
    if not len(a):
        return
    right = prints[b][:, :, ::-1] if flip else prints[b]
    alike = 1 - np.einsum("ni,ni->n", _unit(prints[a]), _unit(right)) <= limit
    if alike.any():
        groups[:] = join_pairs(groups, zip(a[alike].tolist(), b[alike].tolist(), strict=True))


def _disperse(prints: Prints, sides: NDArray[np.int64], *, groups: Groups, distance: float, crowd: int) -> None:
    """Search each group that is a crowd again with a smaller distance, in place, down to that of copies."""
    if distance < COPY_DISTANCE:
        return
    names, sizes = np.unique(groups, return_counts=True)
    for name in names[sizes > crowd]:
        members = np.flatnonzero(groups == name)
        within = alone(len(members))
        for _ in _join(prints[members], sides[members], groups=within, distance=distance):
            pass
        _disperse(prints[members], sides[members], groups=within, distance=distance / 2, crowd=crowd)
        groups[members] = members[within]


def _unit(prints: Prints) -> NDArray[np.float32]:
    rows = prints.reshape(len(prints), -1).astype(np.float32)
    rows -= rows.mean(axis=1, keepdims=True)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True) + 1e-6
    return rows


def is_flat(prints: Prints) -> NDArray[np.bool_]:
    """Say which prints are of one colour, with nothing on them to compare."""
    flat = np.empty(len(prints), np.bool_)
    for start in range(0, len(prints), PAIRS):
        flat[start : start + PAIRS] = prints[start : start + PAIRS].reshape(-1, SIDE * SIDE).std(axis=1) < FLAT
    return flat
