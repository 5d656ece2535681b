"""Thumbnails: small pictures of what lies in the store, for looking over many at once."""

import io
from functools import lru_cache

from karat.store.store import Store
from karat.values.pictures import open_picture

SIDE = 320
KEPT = 4_000


def thumbnail(store: Store, digest: str, *, side: int = SIDE) -> bytes:
    """Give a PNG, no side longer than `side`, of the picture in a blob. Raises DataError where it is none, NotFoundError where it is gone.

    Pictures that are small already stay as they are, pixel for pixel.
    """
    return _drawn(_Source(store, digest), side)


class _Source:
    """A blob of a store; equal to another when the bytes are."""

    def __init__(self, store: Store, digest: str) -> None:
        self.store, self.digest = store, digest

    def __hash__(self) -> int:
        return hash(self.digest)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Source) and (self.digest, self.store) == (other.digest, other.store)


@lru_cache(KEPT)
def _drawn(source: _Source, side: int) -> bytes:
    picture = open_picture(source.store.read(source.digest), at_least=side)
    picture.thumbnail((side, side))
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()
