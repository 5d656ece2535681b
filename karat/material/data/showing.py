"""Showing a source or a snapshot: what it holds, by which licence, what was left out, and some of its samples."""

from collections import Counter

from pydantic import Field

from karat.material.data.samples import Sample, samples_of, source_of
from karat.material.data.snapshots import Snapshot
from karat.material.data.split import SPLIT_NAMES
from karat.store.store import Store
from karat.values.passages import Passage
from karat.words.specs import Spec

BEGINNING = 200
"""Characters of a text that are shown."""


class Overview(Spec):
    """A source or a snapshot at a glance. A source is one part called `all`; a snapshot has one part for each split."""

    id: str
    kind: str
    names: tuple[str, ...] = Field(description="of the source, or of the sources that a snapshot was made from")
    origins: tuple[str, ...]
    licences: tuple[str, ...]
    counts: dict[str, int] = Field(description="samples in each part")
    labels: dict[str, dict[str, int]] = Field(description="samples of each label, in each part")
    captions: dict[str, int] = Field(description="samples that have a caption, for each column of captions")
    left_out: dict[str, int] = Field(description="samples that a snapshot left out, for each reason")
    encodings: dict[str, int] = Field(description="texts in each encoding that was found")
    examples: tuple[Sample, ...]
    beginnings: dict[str, str] = Field(description="how those examples that are texts begin, by their ids")


def show(store: Store, ref: str, *, examples: int = 8) -> Overview:
    """Look over a source or a snapshot, whose samples are streamed."""
    record = store.get(ref)
    left_out: Counter[str] = Counter()
    if record.kind == "snapshot":
        snapshot = Snapshot.open(store, record.id)
        sources = [store.get(id) for id in snapshot.spec.sources]
        parts = {name: snapshot.samples(name) for name in SPLIT_NAMES}
        left_out.update(left.check for left in snapshot.ledger())
    else:
        sources, parts = [record], {"all": samples_of(store, record.id)}
    counts: Counter[str] = Counter()
    encodings: Counter[str] = Counter()
    labels: dict[str, Counter[str]] = {part: Counter() for part in parts}
    captions: Counter[str] = Counter()
    licences: set[str] = set()
    shown: list[Sample] = []
    for part, samples in parts.items():
        for sample in samples:
            counts[part] += 1
            labels[part].update([sample.label] if sample.label is not None else ())
            captions.update(list(sample.captions))
            licences.add(sample.licence or "unknown")
            if "encoding" in sample.facts:
                encodings[sample.facts["encoding"]] += 1
            if len(shown) < examples:
                shown.append(sample)
    return Overview(
        id=record.id,
        kind=record.kind,
        names=tuple(source.spec["name"] for source in sources),
        origins=tuple(source.spec["origin"] for source in sources),
        licences=tuple(sorted(licences)),
        counts={part: counts[part] for part in parts},
        labels={part: dict(sorted(of.items())) for part, of in labels.items()},
        captions=dict(captions),
        left_out=dict(left_out),
        encodings=dict(encodings),
        examples=tuple(shown),
        beginnings={sample.id: _beginning(store, sample) for sample in shown if sample.modality == "text"},
    )


def _beginning(store: Store, sample: Sample) -> str:
    passage = source_of(store, sample)
    return passage.plain()[:BEGINNING] if isinstance(passage, Passage) else ""
