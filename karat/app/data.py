"""Data: import, check, snapshot, show, and a preview of what the model will see."""

import io
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from karat.app.chain import find
from karat.material.data.checks import check_sources
from karat.material.data.importing import ImportOptions, import_source
from karat.material.data.policy import CheckPolicy
from karat.material.data.samples import Sample, samples_of
from karat.material.data.showing import Overview, show
from karat.material.data.snapshots import Snapshot, SnapshotSpec, make_snapshot
from karat.material.data.split import Fractions
from karat.material.data.texts.anonymising import Anonymising
from karat.material.data.texts.anonymising import anonymise as anonymise_source
from karat.store.placing import write_whole
from karat.store.records import Record
from karat.store.store import Store
from karat.words.errors import DataError
from karat.words.events import Event, Finished, Saved
from karat.words.specs import Spec

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = [
    "Anonymising",
    "ImportOptions",
    "Overview",
    "SnapshotWish",
    "anonymise",
    "check",
    "import_source",
    "overview",
    "preview",
    "snapshot",
]


class SnapshotWish(Spec):
    """How a snapshot differs from the usual one: findings that leave a sample out or do not, shares of the splits, what is kept apart."""

    seed: int = 0
    drop: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()
    fractions: dict[str, float] = {}
    policy: dict[str, Any] = {}
    apart: tuple[str, ...] = ()

    def spec(self, sources: Sequence[str]) -> SnapshotSpec:
        """Give the whole spec for some sources."""
        policy = policy_of(self.policy, self.drop, self.keep)
        fractions = Fractions.from_values(dict(self.fractions))
        return SnapshotSpec(sources=tuple(sources), policy=policy, fractions=fractions, apart=self.apart, seed=self.seed)


def policy_of(changes: dict[str, Any], drop: Sequence[str] = (), keep: Sequence[str] = ()) -> CheckPolicy:
    """Give the usual policy with some changes. Raises SpecError for a check or a key that does not exist."""
    policy = CheckPolicy.from_values({**changes, "drop": (*CheckPolicy.from_values(changes).drop, *drop)})
    CheckPolicy.from_values({"drop": tuple(keep)})
    return policy.changed(drop=tuple(name for name in policy.drop if name not in keep))


def check(store: Store, refs: Sequence[str], *, changes: dict[str, Any] | None = None) -> Iterator[Event]:
    """Check sources, or the sources of snapshots. Ends in Finished, whose figures count the findings of each check."""
    yield from check_sources(store, [id[:12] for id in _sources(store, refs)], policy=policy_of(changes or {}))


def snapshot(store: Store, refs: Sequence[str], wish: SnapshotWish, *, alias: str | None = None) -> Iterator[Event]:
    """Make a snapshot of sources. Ends in Finished, whose result is its record."""
    for event in make_snapshot(store, wish.spec(_sources(store, refs))):
        if isinstance(event, Finished) and alias:
            store.alias(alias, event.result)
            event = event.changed(summary=f"{event.summary} It is called {alias}.")
        yield event


def anonymise(store: Store, ref: str, wish: Anonymising) -> Iterator[Event]:
    """Make a source without the personal data of another. Ends in Finished, whose result is the new source."""
    yield from anonymise_source(store, find(store, ref, "source").id[:12], wish)


def overview(store: Store, ref: str) -> Overview:
    """Look over a source or a snapshot."""
    return show(store, find(store, ref, "snapshot", "source").id)


def preview(store: Store, ref: str, out: Path, *, count: int = 64, made: dict[str, Any] | None = None) -> Iterator[Event]:
    """Draw a contact sheet of a source or snapshot as a model will see it: through a codec that was fitted to it, and back."""
    from karat.material.data.preview import contact_sheet
    from karat.values.codecs.image import ImageCodec

    record = find(store, ref, "snapshot", "source")
    samples, total = _spread(store, record, count)
    codec = ImageCodec.fit(made or {}, [store.read(sample.blob) for sample in samples])
    drawn = [(codec.decode(codec.value(_packed(codec.encode(store.read(s.blob))))[0]), _caption(s)) for s in samples]
    mode = {"L": "grey", "RGB": "in colour", "RGBA": "in colour with transparency"}[codec.mode]
    title = f"{len(drawn):,} of {total:,} pictures as values of {codec.size[1]} x {codec.size[0]} pixels, {mode}"
    save_picture(contact_sheet(drawn, title=title), out)
    yield Saved(what="contact sheet", path=str(out))
    yield Finished(what="preview", result=str(out), summary=f"{title}: {out}")


def save_picture(picture: "Image", path: Path) -> None:
    """Write a picture, whole or not at all."""
    file = io.BytesIO()
    picture.save(file, "PNG")
    write_whole(path, file.getvalue())


def _sources(store: Store, refs: Sequence[str]) -> list[str]:
    """Give the ids of the sources that some names mean; a snapshot means the sources that it was made from."""
    found: list[str] = []
    for ref in refs:
        record = find(store, ref, "source", "snapshot") if ref != "latest" else find(store, ref, "source")
        found += record.made_from if record.kind == "snapshot" else [record.id]
    return found


def _spread(store: Store, record: Record, count: int) -> tuple[list[Sample], int]:
    """Give up to `count` readable samples, evenly spread over a source or the first of a snapshot's training part, which has no order."""
    if record.kind == "snapshot":
        snapshot = Snapshot.open(store, record.id)
        return list(islice(snapshot.samples("train"), count)), sum(snapshot.counts.values())
    total = int(record.facts["samples"])
    wanted = {total * place // count for place in range(count)}
    chosen = [sample for place, sample in enumerate(samples_of(store, record.id)) if place in wanted and "problem" not in sample.facts]
    if not chosen:
        raise DataError("None of the pictures can be read.", repair=f"See what is wrong with them: `karat data check {record.id[:12]}`.")
    return chosen, total


def _caption(sample: Sample) -> str:
    return sample.label or next(iter(sample.captions.values()), "")


def _packed(pixels: Any) -> Any:
    import torch

    return torch.from_numpy(pixels)[None]
