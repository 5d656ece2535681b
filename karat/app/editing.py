"""Edit texts with a release: fill blanks, rewrite spans, go from one text to another, move a text towards a label.

Each result is a file with its origin beside it and a record on the chain, as whatever is generated.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from pydantic import Field

from karat.app.generating import copies_told, read_given
from karat.app.releasing import load_release, open_release
from karat.app.steps import Wrote
from karat.app.writing import TextDesk, text_index
from karat.material.data.samples import source_of
from karat.material.data.snapshots import Snapshot
from karat.store.store import Store
from karat.words.errors import Cancelled, DataError, SpecError
from karat.words.events import Event, Finished, Started
from karat.work.editing import Edit, edited
from karat.work.generation import Ready
from karat.work.latents import between, latents_of, media_of, steered
from karat.work.plans import RunSpec
from karat.work.requests import Request

__all__ = ["Edit", "Steer", "Way", "edit", "edited_again", "spans"]

STUDIED = 1000
"""Samples of a label, at most, from which its mean is taken."""


class Way(Request):
    """A text on the way between two: number `first` of `steps`, both ends included."""

    between: tuple[str, str]
    steps: int = Field(5, ge=2)


class Steer(Request):
    """A text moved by the difference of the means of two labels; `away` None: of all other samples."""

    text: str
    toward: str
    away: str | None = None
    strength: float = 1.0


def spans(words: Iterable[str]) -> tuple[tuple[int, int], ...]:
    """Read spans such as `5:12`. Raises SpecError for what is none."""
    found = []
    for word in words:
        first, _, last = word.partition(":")
        if not (first.isdecimal() and last.isdecimal()):
            raise SpecError(f"--span {word!r} is no FIRST:LAST.", repair="Write it as `--span 5:12`.")
        found.append((int(first), int(last)))
    return tuple(found)


def edit(store: Store, ref: str, asked: Edit | Way | Steer, out: Path, *, stop: Callable[[], bool] = lambda: False) -> Iterator[Event]:
    """Fill the gaps of a text in `count` ways, go all steps from one text to another, or move one. Ends with Finished.

    The same release, seed and request always give the same text. Raises Cancelled, between two texts, when `stop` says so.
    """
    record, release = open_release(store, ref)
    ready, spec = load_release(release)
    asked = asked.changed(given=read_given({name: str(value) for name, value in asked.given.items()}, ready))
    total = asked.steps if isinstance(asked, Way) else asked.count
    singles = [asked.changed(count=1, first=asked.first + place) for place in range(total)]
    desk = TextDesk(store, record, release, ready, text_index(release), out)
    yield Started(what="editing", total=total, unit="texts")
    for done, single in enumerate(singles):
        if stop():
            raise Cancelled(f"Stopped after {done} of {total} texts; they are kept in {out}.", repair="Give the same command again.")
        text = _edited(store, ready, spec, single)
        yield Wrote(index=single.first, text=text, finish="stop")
        yield desk.put(text, single, desk.verdict(text))
    named = "text" if total == 1 else "texts"
    summary = f"{total} {named} in {out}{copies_told(desk.copied)}"
    yield Finished(what="editing", result=str(out), summary=summary, figures={"assets": total, "copied": desk.copied})


def edited_again(store: Store, ready: Ready, spec: RunSpec, asked: Mapping[str, Any]) -> tuple[Request, bytes]:
    """Give the request that the record of an edited text holds, and the bytes that it makes."""
    kind = Way if "between" in asked else Steer if "toward" in asked else Edit
    single = kind.from_values(dict(asked))
    return single, ready.made.write(_edited(store, ready, spec, single))


def _edited(store: Store, ready: Ready, spec: RunSpec, asked: Edit | Way | Steer) -> str:
    if isinstance(asked, Edit):
        return edited(ready, asked)
    if isinstance(asked, Way):
        first, last = latents_of(ready, asked.between)
        latents = between(first, last, asked.steps)[asked.first]
    else:
        snapshot = Snapshot.open(store, spec.snapshot)
        toward = _of_label(store, snapshot, asked.toward, inside=True)
        away = _of_label(store, snapshot, asked.away or asked.toward, inside=asked.away is not None)
        latents = steered(latents_of(ready, [asked.text]), latents_of(ready, toward), latents_of(ready, away), asked.strength)[0]
    return str(media_of(ready, latents[None])[0])


def _of_label(store: Store, snapshot: Snapshot, label: str, *, inside: bool) -> list[Any]:
    """Give what the samples of a label hold, or all others. Raises DataError when there are none."""
    found = (source_of(store, sample) for sample in snapshot.samples("train") if (sample.label == label) is inside)
    some = list(islice(found, STUDIED))
    if not some:
        known = f"It has: {', '.join(snapshot.labels[:20])}." if snapshot.labels else "Its samples have no labels."
        raise DataError(f"The data of this release has no samples {'of' if inside else 'beside'} the label {label!r}.", repair=known)
    return some
