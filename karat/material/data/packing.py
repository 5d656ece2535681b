"""Packing: passages of any length in rows of one length, each id with its weight in the loss.

A stream puts one passage behind the other, an end between them, and cuts the rows anywhere. Whole passages go where they fit best; of one
that is longer than a row, the end is kept, where the answer is.
"""

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator

import numpy as np

Piece = tuple[np.ndarray, np.ndarray]
"""Ids (n,) of a passage with its end, and which of them are learnt."""
OPEN = 64
"""Unfinished rows among which whole passages find the best place."""


def streamed(pieces: Iterable[Piece], length: int) -> Iterator[Piece]:
    """Give rows (length,) of ids and weights that hold the pieces one after the other; the last row is filled up."""
    ids, weights = np.empty(0, np.int32), np.empty(0, np.uint8)
    for piece, learnt in pieces:
        ids, weights = np.concatenate([ids, piece]), np.concatenate([weights, learnt.astype(np.uint8)])
        whole = len(ids) // length * length
        yield from zip(ids[:whole].reshape(-1, length), weights[:whole].reshape(-1, length), strict=True)
        ids, weights = ids[whole:], weights[whole:]
    if len(ids):
        yield _filled(ids, length), _filled(weights, length)


def fitted(pieces: Iterable[Piece], length: int) -> Iterator[Piece]:
    """Give rows (length,) that hold whole pieces, each in the fullest open row that has room for it (best fit)."""
    rows: list[tuple[int, int, list[Piece]]] = []  # free places, number, pieces; in this order
    for number, (ids, learnt) in enumerate(pieces):
        ids, learnt = ids[-length:], learnt[-length:]
        place = bisect_left(rows, (len(ids), -1, []))
        free, _, row = rows.pop(place) if place < len(rows) else (length, number, [])
        row.append((ids, learnt))
        insort(rows, (free - len(ids), number, row))
        if len(rows) > OPEN:
            yield _joined(rows.pop(0)[2], length)
    for _, _, row in rows:
        yield _joined(row, length)


def _joined(row: list[Piece], length: int) -> Piece:
    ids, weights = (np.concatenate(parts) for parts in zip(*row, strict=True))
    return _filled(ids, length), _filled(weights.astype(np.uint8), length)


def _filled(row: np.ndarray, length: int) -> np.ndarray:
    return np.concatenate([row, np.zeros(length - len(row), row.dtype)])
