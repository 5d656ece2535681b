"""Label a source of texts with a release that answers, bound to the answers that there are."""

import math
from collections.abc import Iterator, Sequence
from typing import Any, cast

from karat.app.augmenting import answering
from karat.app.chain import find
from karat.material.data.samples import source_of
from karat.material.data.snapshots import Snapshot
from karat.material.data.texts.labelling import Labelling
from karat.material.data.texts.labelling import label as label_source
from karat.store.store import Store
from karat.values.passages import Passage, Turn
from karat.words.errors import NotFoundError, SpecError
from karat.words.events import Event
from karat.work.orders import Order, WritingOptions
from karat.work.writing import Writer

__all__ = ["Labelling", "label"]

MOST = 100
"""Different answers up to which those that a release learnt are taken for labels."""


def label(store: Store, ref: str, by: str, wish: dict[str, Any]) -> Iterator[Event]:
    """Make a source whose texts have labels by a release. Ends in Finished, whose result is the new source.

    Where no choices are given, they are the answers that the release learnt, if these are few and still in the store.
    """
    record, ready, snapshot = answering(store, by)
    asked = Labelling.from_values({**wish, "by": record.id})
    asked = asked if asked.choices else asked.changed(choices=_learnt(store, snapshot))
    writer = Writer(ready.model, cast(Any, ready.made))
    options = WritingOptions.from_values({"temperature": 0.0, "truncate": "front", "logprobs": 0, "choice": asked.choices})

    def answer(texts: Sequence[str]) -> list[tuple[str, float]]:
        orders = [Order(Passage(turns=(Turn(role="user", text=text),)), options) for text in texts]
        return [(each.text, math.exp(sum(each.logprobs))) for each in writer.written(orders)]

    yield from label_source(store, _source(store, ref), asked, answer=answer)


def _source(store: Store, ref: str) -> str:
    """Give the id of a source, or of the one that a snapshot was made from."""
    found = find(store, ref, "source", "snapshot")
    if found.kind == "source":
        return found.id
    sources = Snapshot.open(store, found.id).spec.sources
    if len(sources) > 1:
        raise SpecError(
            f"{ref} was made from {len(sources)} sources.", repair=f"Label one of them: {', '.join(id[:12] for id in sources)}."
        )
    return sources[0]


def _learnt(store: Store, snapshot: str) -> tuple[str, ...]:
    """Give the different answers of a snapshot; nothing where they are many, or the snapshot lies in another store."""
    found: set[str] = set()
    try:
        samples = Snapshot.open(store, snapshot).samples("train")
    except NotFoundError:
        return ()
    for sample in samples:
        passage = source_of(store, sample)
        found.add(passage.learnt() if isinstance(passage, Passage) else "")
        if len(found) > MOST:
            return ()
    return tuple(sorted(found - {""}))
