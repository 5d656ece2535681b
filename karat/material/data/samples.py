"""Samples: one item of data each, with its labels, captions, numbers, origin and licence."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, TypeVar

from pydantic import Field

from karat.store.store import Store
from karat.values.passages import Passage
from karat.words.errors import DataError
from karat.words.specs import Spec, canonical, digest_of

T = TypeVar("T")


class Sample(Spec):
    """One item of data. `facts` holds what a look at its file found, and the columns of its metadata that have no other place."""

    id: str
    name: str = Field(description="POSIX path inside the source, in Unicode's NFC form")
    blob: str
    span: tuple[int, int] | None = Field(default=None, description="where in the blob its bytes lie: first, length; None: all of it")
    modality: str = "image"
    in_turns: bool = Field(default=False, description="for text: its bytes are a conversation in JSON, not a text")
    label: str | None = None
    captions: dict[str, str] = Field(default_factory=dict)
    numbers: dict[str, float] = Field(default_factory=dict)
    group: str | None = None
    source: str
    licence: str | None = None
    facts: dict[str, Any] = Field(default_factory=dict)


def source_of(store: Store, sample: Sample) -> bytes | Passage:
    """Give what a codec encodes: the bytes of a picture's file, the passage of a text. Raises DamageError for a damaged blob."""
    if sample.modality != "text":
        return store.read(sample.blob)
    content = store.read(sample.blob) if sample.span is None else store.blobs.part(sample.blob, *sample.span)
    return Passage.from_bytes(content, in_turns=sample.in_turns)


def sample_line(sample: Sample) -> bytes:
    """Write a sample as one line of canonical JSON, without what its absence says as well."""
    return canonical(sample.model_dump(exclude_defaults=True)) + b"\n"


def samples_of(store: Store, ref: str) -> Iterator[Sample]:
    """Stream the samples of a source, in the order of their names."""
    source = store.get(ref)
    if source.kind != "source" or source.made is None:
        raise DataError(f"{ref} is a {source.kind}, no source.", repair="Give what `karat data import` named.")
    licence = source.spec.get("licence")
    for line in store.blobs.lines(source.made):
        entry = Sample.from_json(line)
        own = {"source": source.id, "id": digest_of([source.id, entry.name]), "licence": entry.licence or licence}
        yield entry.model_copy(update=own)


def batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Stream items in lists of some length; the last one may be shorter."""
    rest = iter(items)
    while batch := list(islice(rest, size)):
        yield batch
