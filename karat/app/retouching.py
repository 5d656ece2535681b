"""Retouch pictures with a release: make a part anew and keep the rest, or vary a whole. The picture and its mask are kept in the store."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from karat.app.generating import AssetWriter, Batch, file_of, make_with, read_given, rows_of
from karat.app.releasing import load_release, open_release
from karat.material.releases.release import Release
from karat.store.store import Store
from karat.words.errors import NotFoundError
from karat.words.events import Event
from karat.work.generation import Ready, repeated
from karat.work.requests import Retouch
from karat.work.retouching import Canvas, as_pictures, retouched

__all__ = ["Retouch", "reading", "retouch", "retouched_again"]


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
