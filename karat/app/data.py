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
from karat.material.data.samples import Sample, samples_of, source_of
from karat.material.data.showing import Overview, show
from karat.material.data.snapshots import Snapshot, SnapshotSpec, make_snapshot
from karat.material.data.split import Fractions
from karat.material.data.texts.anonymising import Anonymising
from karat.material.data.texts.anonymising import anonymise as anonymise_source
from karat.store.placing import write_whole
from karat.store.records import Record
from karat.store.store import Store
from karat.values.passages import Passage
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


def preview(store: Store, ref: str, out: Path | None = None, *, count: int = 64, made: dict[str, Any] | None = None) -> Iterator[Event]:
    """Show a source or snapshot as a model will see it, through a codec that was fitted to it: pictures on a sheet, texts as tokens.

    `out` is sheet.png or sheet.txt if it is not given.
    """
    record = find(store, ref, "snapshot", "source")
    samples, total = _spread(store, record, count)
    if samples and samples[0].modality == "text":
        yield from _preview_texts(store, record, samples, out or Path("sheet.txt"), total=total, made=made or {})
    else:
        yield from _preview_pictures(store, samples, out or Path("sheet.png"), total=total, made=made or {})


def _preview_texts(store: Store, record: Record, samples: list[Sample], out: Path, *, total: int, made: dict[str, Any]) -> Iterator[Event]:
    from karat.material.data.texts.sheet import token_sheet
    from karat.values.codecs.text import TextCodec

    learnt = Snapshot.open(store, record.id).samples("train") if record.kind == "snapshot" else samples_of(store, record.id)
    packing = "whole" if any(sample.in_turns for sample in samples) else "stream"
    codec = TextCodec.fit({"packing": packing, **made}, (_passage(store, sample) for sample in learnt))
    units = {"bpe": "parts of words", "bytes": "bytes", "characters": "characters"}[codec.options.units]
    title = f"{len(samples):,} of {total:,} texts as {units}, {codec.space.vocab:,} ids, in rows of {codec.length:,}"
    sheet = token_sheet(codec, ((sample.name, _passage(store, sample)) for sample in samples), title=title)
    write_whole(out, sheet.encode())
    yield Saved(what="sheet of tokens", path=str(out))
    yield Finished(what="preview", result=str(out), summary=f"{title}: {out}")


def _passage(store: Store, sample: Sample) -> Passage:
    passage = source_of(store, sample)
    assert isinstance(passage, Passage), "it is a text"
    return passage


def _preview_pictures(store: Store, samples: list[Sample], out: Path, *, total: int, made: dict[str, Any]) -> Iterator[Event]:
    from karat.material.data.preview import contact_sheet
    from karat.values.codecs.image import ImageCodec

    codec = ImageCodec.fit(made, [store.read(sample.blob) for sample in samples])
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
        found += Snapshot.open(store, record.id).spec.sources if record.kind == "snapshot" else [record.id]
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
        raise DataError("None of the samples can be read.", repair=f"See what is wrong with them: `karat data check {record.id[:12]}`.")
    return chosen, total


def _caption(sample: Sample) -> str:
    return sample.label or next(iter(sample.captions.values()), "")


def _packed(pixels: Any) -> Any:
    import torch

    return torch.from_numpy(pixels)[None]
