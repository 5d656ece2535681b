"""Edit texts with a release: fill blanks, rewrite spans, go from one text to another, move a text towards a label.

Each result is a file with its origin beside it and a record on the chain, as whatever is generated.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from pydantic import Field

import karat
from karat.app.generating import Made, read_given
from karat.app.releasing import load_release, open_release
from karat.app.steps import Explained
from karat.material.data.samples import source_of
from karat.material.data.snapshots import Snapshot
from karat.material.releases.release import Release
from karat.material.trust import origin as origins
from karat.material.trust.origin import Origin
from karat.store.placing import write_whole
from karat.store.records import Record
from karat.store.store import Store
from karat.values.codecs.codec import Codec
from karat.words.errors import Cancelled, DataError, SpecError, StoreError
from karat.words.events import Event, Finished, Started
from karat.words.specs import Spec, digest_of
from karat.work.editing import Edit, edited
from karat.work.latents import between, coding, latents_of, media_of, steered

__all__ = ["Edit", "Steer", "Way", "edit", "go_between", "spans", "steer"]

STUDIED = 1000
"""Samples of a label, at most, from which its mean is taken."""


class Way(Spec):
    """What lies between two texts: `steps` of them, both ends included."""

    between: tuple[str, str]
    steps: int = Field(5, ge=2)
    first: int = 0


class Steer(Spec):
    """A text moved by the difference of the means of two labels; `away` None: of all other samples."""

    text: str
    toward: str
    away: str | None = None
    strength: float = 1.0
    first: int = 0


def spans(words: Iterable[str]) -> tuple[tuple[int, int], ...]:
    """Read spans such as `5:12`. Raises SpecError for what is none."""
    found = []
    for word in words:
        first, _, last = word.partition(":")
        if not (first.isdecimal() and last.isdecimal()):
            raise SpecError(f"--span {word!r} is no FIRST:LAST.", repair="Write it as `--span 5:12`.")
        found.append((int(first), int(last)))
    return tuple(found)


def edit(store: Store, ref: str, asked: Edit, out: Path, *, count: int = 1, stop: Callable[[], bool] = lambda: False) -> Iterator[Event]:
    """Fill the gaps of a text in `count` ways. Ends with Finished. Raises Cancelled, between two, when `stop` says so."""
    record, release = open_release(store, ref)
    ready, _ = load_release(release)
    asked = asked.changed(given=read_given({name: str(value) for name, value in asked.given.items()}, ready))
    desk = Desk(store, record, release, out)
    yield Started(what="editing", total=count, unit="texts")
    for index in range(asked.first, asked.first + count):
        if stop():
            raise Cancelled(f"Stopped after {index - asked.first} of {count} texts.", repair="Give the same command again.")
        single = asked.changed(first=index)
        yield from desk.put(ready.made, edited(ready, single), single, index)
    yield desk.finished()


def go_between(store: Store, ref: str, asked: Way, out: Path) -> Iterator[Event]:
    """Give the texts on the way from one to another, through the latents of an autoencoder. Ends with Finished."""
    record, release = open_release(store, ref)
    ready, _ = load_release(release)
    desk, (_, codec) = Desk(store, record, release, out), coding(ready)
    first, last = latents_of(ready, asked.between)
    yield Started(what="editing", total=asked.steps, unit="texts")
    for index, text in enumerate(media_of(ready, between(first, last, asked.steps))):
        yield from desk.put(codec, text, asked.changed(first=index), index)
    yield desk.finished()


def steer(store: Store, ref: str, asked: Steer, out: Path) -> Iterator[Event]:
    """Move a text towards a label of the data that the release was trained on. Ends with Finished."""
    record, release = open_release(store, ref)
    ready, spec = load_release(release)
    desk, (_, codec) = Desk(store, record, release, out), coding(ready)
    snapshot = Snapshot.open(store, spec.snapshot)
    toward = _of_label(store, snapshot, asked.toward, inside=True)
    away = _of_label(store, snapshot, asked.away or asked.toward, inside=asked.away is not None)
    moved = steered(latents_of(ready, [asked.text]), latents_of(ready, toward), latents_of(ready, away), asked.strength)
    yield Started(what="editing", total=1, unit="texts")
    yield from desk.put(codec, media_of(ready, moved)[0], asked, 0)
    yield desk.finished()


def _of_label(store: Store, snapshot: Snapshot, label: str, *, inside: bool) -> list[Any]:
    """Give what the samples of a label hold, or all others. Raises DataError when there are none."""
    found = (source_of(store, sample) for sample in snapshot.samples("train") if (sample.label == label) is inside)
    some = list(islice(found, STUDIED))
    if not some:
        known = f"It has: {', '.join(snapshot.labels[:20])}." if snapshot.labels else "Its samples have no labels."
        raise DataError(f"The data of this release has no samples {'of' if inside else 'beside'} the label {label!r}.", repair=known)
    return some


@dataclass
class Desk:
    """Where edited texts are put down: a folder and the chain."""

    store: Store
    record: Record
    release: Release
    out: Path
    done: int = 0

    def __post_init__(self) -> None:
        try:
            self.out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"{self.out} cannot be made: {error.strerror}.", repair="Choose another folder with -o.") from None

    def put(self, codec: Codec, text: Any, asked: Edit | Way | Steer, index: int) -> Iterator[Event]:
        """Write one text, its origin beside it and its record; say what it is."""
        payload = codec.write(text)
        asset = digest_of([self.release.digest, asked.model_dump(mode="json")])[:32]
        path = self.out / f"{index:05d}-{asset[:8]}{codec.extension}"
        write_whole(path, payload)
        about = Origin(
            release=self.release.digest,
            asset=asset,
            seed=asked.seed if isinstance(asked, Edit) else None,
            settings=digest_of(asked.model_dump(mode="json")),
            system_version=karat.__version__,
            title=str(self.release.facts.get("title", "")),
        )
        origins.write_sidecar(path, about)
        facts = {"asset": asset, "media_type": codec.media_type}
        made = self.store.record("asset", made=self.store.put(payload), made_from=[self.record.id], spec=asked, facts=facts)
        self.done += 1
        yield Explained(name="", value=str(text), meaning="")
        yield Made(asset=made, path=str(path), index=index)

    def finished(self) -> Finished:
        named = "text" if self.done == 1 else "texts"
        return Finished(what="editing", result=str(self.out), summary=f"{self.done} {named} in {self.out}", figures={"assets": self.done})
