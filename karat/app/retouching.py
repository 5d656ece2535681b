"""Retouch pictures with a release: make a part anew and keep the rest, or vary a whole. The picture and its mask are kept in the store."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from karat.app.generating import AssetWriter, Batch, file_of, make_with, read_given, rows_of
from karat.app.releasing import load_release, open_release
from karat.material.releases.release import Release
from karat.store.store import Store
from karat.values.pictures import PictureFacts, probe
from karat.words.errors import DataError, NotFoundError
from karat.words.events import Event
from karat.work.generation import Ready, repeated
from karat.work.requests import VARIED, Retouch
from karat.work.retouching import Canvas, as_pictures, retouched

__all__ = ["VARIED", "Retouch", "facts_of", "keep_pictures", "read_pictures", "reading", "retouch", "retouched_again"]

PIXELS = 1 << 24
"""The largest picture that is retouched: 4096 × 4096."""


def keep_pictures(store: Store, picture: bytes, mask: bytes | None = None) -> dict[str, str]:
    """Put a picture and its mask into the store, and give what a request says of them.

    Raises DataError for what is no picture, and for a mask of another size or without transparency. Decodes nothing.
    """
    facts = probe(picture, pixel_limit=PIXELS)
    if mask is None:
        return {"picture": store.put(picture)}
    about = probe(mask, pixel_limit=PIXELS)
    if (about.width, about.height) != (facts.width, facts.height):
        said = f"The mask has {about.width}x{about.height} pixels, the picture {facts.width}x{facts.height}."
        raise DataError(said, repair="Give a mask of the picture's size.")
    if not about.has_alpha:
        raise DataError("The mask has no transparency.", repair="Give a PNG that is transparent where the picture is to be made anew.")
    return {"picture": store.put(picture), "mask": store.put(mask)}


def facts_of(store: Store, digest: str) -> PictureFacts:
    """Say how large a picture in the store is. Raises DataError, or NotFoundError."""
    return probe(store.read(digest), pixel_limit=PIXELS)


def read_pictures(store: Store, picture: Path, mask: Path | None) -> dict[str, str]:
    """Put files of a picture and its mask into the store, and give what a request says of them. Raises DataError."""
    return keep_pictures(store, _read(picture), None if mask is None else _read(mask))


def retouch(store: Store, ref: str, asked: Retouch, out: Path, *, stop: Callable[[], bool] = lambda: False) -> Iterator[Event]:
    """Make a part of a picture anew, or vary it, in `count` ways, into a folder. Ends with Finished; each asset is a record on the chain.

    The same release, index, seed and settings always give the same bytes. Raises Cancelled, between two steps, when `stop` says so.
    """
    record, release = open_release(store, ref)
    ready, _ = load_release(release)
    asked = asked.changed(given=read_given({name: str(value) for name, value in asked.given.items()}, ready))
    canvas = Canvas.of(ready, asked, reading(store))
    batch = Batch(asked, [asked.given] * asked.count)
    seeds = [(asked.seed, asked.first + place) for place in range(asked.count)]
    steps = retouched(ready, rows_of(ready, batch.givens), seeds, asked.sampling, canvas)
    yield from make_with(AssetWriter(store, record, release, as_pictures(ready), batch, out), batch, steps, stop)


def retouched_again(store: Store, ready: Ready, release: Release, asked: Mapping[str, Any]) -> tuple[Retouch, bytes]:
    """Give the request that the record of a retouched picture holds, and the bytes that it makes."""
    single = Retouch.from_values(dict(asked))
    canvas = Canvas.of(ready, single, reading(store))
    rows = repeated(ready.conditions(single.given), 1)
    *_, (_, values) = retouched(ready, rows, [(single.seed, single.first)], single.sampling, canvas)
    return single, file_of(as_pictures(ready), values[0], release, single)


def reading(store: Store) -> Callable[[str], bytes]:
    """Give what reads the files of requests. It raises NotFoundError for one that is gone."""

    def read(digest: str) -> bytes:
        if not store.has(digest):
            raise NotFoundError(f"The picture {digest[:12]} that this is made from is not in the store.", repair="Send it again.")
        return store.read(digest)

    return read


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.", repair="Check the path.") from None
