"""Augmenting a snapshot of texts: one that also learns from altered copies of what the first learns from, and holds out the same."""

import json
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

from karat.material.data.samples import Sample, batches, sample_line, source_of
from karat.material.data.snapshots import Snapshot
from karat.material.data.texts.altering import Altering, Augmenting, Synonyms, Translate
from karat.store.store import Store
from karat.values.passages import Passage
from karat.words.errors import DataError
from karat.words.events import Event, Finished, Progress, Started
from karat.words.specs import canonical, digest_of

EVERY = 64


def augment(store: Store, ref: str, wish: Augmenting, *, translate: Sequence[Translate] = ()) -> Iterator[Event]:
    """Make a snapshot whose training part also holds altered copies. Ends in Finished, whose result is the new snapshot's id.

    Raises SpecError where the copies could teach what is not true, unless that is allowed.
    """
    snapshot = Snapshot.open(store, ref)
    first = next(snapshot.samples("train"), None)
    if first is None or first.modality != "text":
        raise DataError("The snapshot holds no texts.", repair="Pictures are altered while they are learnt: --set augment.ops.flip=0.5.")
    wish.check(in_turns=first.in_turns)
    altering = Altering(wish, None if wish.synonyms is None else Synonyms.read(store.read(wish.synonyms)), tuple(translate))
    total = snapshot.counts["train"]
    yield Started(what=f"augmenting of {ref}", total=total, unit="texts")
    made = 0
    with store.spool() as texts, store.spool() as lines:
        done = 0
        for some in batches(snapshot.samples("train"), EVERY):
            lines.writelines(sample_line(sample) for sample in some)
            passages = [passage for sample in some if isinstance(passage := source_of(store, sample), Passage)]
            made += sum(
                _put(texts, lines, some[place], copy, passage)
                for place, copy, passage in altering.copies([sample.id for sample in some], passages)
            )
            done += len(some)
            yield Progress(done=done, total=total)
        index = _index(store, snapshot, texts, lines)
    index["counts"]["train"] = total + made
    facts = {**snapshot.record.facts, "counts": index["counts"], "altered": made}
    made_from = (snapshot.id, *wish.back)
    result = store.record(
        "snapshot", made=store.put(canonical(index)), made_from=made_from, spec=snapshot.spec.changed(altered=wish), facts=facts
    )
    summary = f"Snapshot {result[:12]} learns from {total + made:,} texts, {made:,} of them altered copies."
    yield Finished(what="augment", result=result, summary=summary, figures={"train": float(total + made), "altered": float(made)})


def _put(texts: BinaryIO, lines: BinaryIO, sample: Sample, copy: int, passage: Passage) -> int:
    """Write a copy and its line, which does not know yet in which blob it lies."""
    content = passage.to_bytes()
    facts = {**sample.facts, "altered": copy}
    new = {"id": digest_of([sample.id, copy]), "name": f"{sample.name}~{copy}", "blob": "", "span": (texts.tell(), len(content))}
    texts.write(content)
    lines.write(sample_line(sample.model_copy(update={**new, "facts": facts})))
    return 1


def _index(store: Store, snapshot: Snapshot, texts: BinaryIO, lines: BinaryIO) -> dict[str, Any]:
    """Give the index of the snapshot with another training part."""
    assert snapshot.record.made is not None
    index: dict[str, Any] = json.loads(store.read(snapshot.record.made))
    texts.seek(0)
    shard = store.put(texts)
    lines.seek(0)
    with store.spool() as listing:
        for line in lines:
            sample = Sample.from_json(line)
            listing.write(line if sample.blob else sample_line(sample.model_copy(update={"blob": shard})))
        listing.seek(0)
        index["splits"]["train"] = store.put(listing)
    return index
