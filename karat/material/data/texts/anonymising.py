"""Anonymising a source: a new source of the same samples, in which placeholders or nothing stand where personal data stood.

Texts, captions, labels, groups and other columns are gone over alike, with one set of placeholders, so that who writes in one text and is
named in another stays one person. Pictures are what they were, and so are the names of samples.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from pydantic import Field

from karat.material.data.samples import Sample, sample_line, samples_of, source_of
from karat.material.data.texts.personal import KINDS, How, Kind, Placeholders, anonymised, find
from karat.store.store import Store
from karat.values.passages import Passage
from karat.words.events import Event, Finished, Progress, Started
from karat.words.specs import Spec

EVERY = 500


class Anonymising(Spec):
    """How a source is anonymised."""

    how: How = Field(default="placeholders", description="what takes the place of personal data")
    kinds: tuple[Kind, ...] = Field(default=KINDS, min_length=1, description="kinds of personal data that are taken out")


def anonymise(store: Store, ref: str, wish: Anonymising) -> Iterator[Event]:
    """Make a source without its personal data from another. Ends in Finished, whose result is the new source's id."""
    source = store.get(ref)
    total = source.facts.get("samples")
    yield Started(what=f"anonymising of {ref}", total=total, unit="samples")
    known = Placeholders()
    tally: Counter[str] = Counter()
    with store.spool() as texts, store.spool() as lines, store.spool() as listing:
        for sample in samples_of(store, source.id):
            changed, content = _changed(store, sample, wish=wish, known=known)
            if content is not None:
                changed = changed.model_copy(update={"blob": "", "span": (texts.tell(), len(content))})
                texts.write(content)
            lines.write(sample_line(changed.model_copy(update={"id": "", "source": ""})))
            found = sum(known.counts.values())
            tally.update(samples=1, changed=int(found > tally["found"]), bytes=0 if content is None else len(content))
            tally["found"] = found
            if tally["samples"] % EVERY == 0:
                yield Progress(done=tally["samples"], total=total)
        texts.seek(0)
        shard = store.put(texts)
        lines.seek(0)
        for line in lines:
            sample = Sample.from_json(line)
            listing.write(sample_line(sample if sample.blob else sample.model_copy(update={"blob": shard})))
        listing.seek(0)
        made = store.put(listing)
    found_of = {kind: count for kind, count in known.counts.items() if count}
    facts = {**source.facts, "bytes": tally["bytes"] or source.facts.get("bytes", 0), "changed": tally["changed"], "taken_out": found_of}
    spec = {**source.spec, "name": f"{source.spec['name']}, anonymised", "anonymised": wish.model_dump()}
    result = store.record("source", made=made, made_from=(source.id,), spec=spec, facts=facts)
    kinds = ", ".join(f"{count} x {kind}" for kind, count in found_of.items()) or "nothing was found"
    yield Finished(
        what="anonymise",
        result=result,
        summary=f"Anonymised {tally['changed']} of {tally['samples']} samples as source {result[:12]}: {kinds}.",
        figures={
            "samples": float(tally["samples"]),
            "changed": float(tally["changed"]),
            **{kind: float(n) for kind, n in found_of.items()},
        },
    )


def _changed(store: Store, sample: Sample, *, wish: Anonymising, known: Placeholders) -> tuple[Sample, bytes | None]:
    """Give a sample without personal data, and the bytes of its text; None where it is no text, or one that could not be read."""

    def clean(text: str) -> str:
        return anonymised(text, wish.how, known=known, kinds=wish.kinds)

    content = None
    if sample.modality == "text" and "problem" not in sample.facts:
        passage = source_of(store, sample)
        assert isinstance(passage, Passage)
        turns = tuple(turn.changed(text=clean(turn.text)) for turn in passage.turns)
        content = Passage(text=clean(passage.text), turns=turns).to_bytes()
    fields = sample.model_dump(include={"label", "group", "captions", "facts"})
    personal = {name: value for name, value in sample.numbers.items() if find(f"{value:.0f}", kinds=wish.kinds)}
    for value in personal.values():
        clean(f"{value:.0f}")
    numbers = {name: value for name, value in sample.numbers.items() if name not in personal}
    return sample.model_copy(update={**{name: _within(value, clean) for name, value in fields.items()}, "numbers": numbers}), content


def _within(value: Any, clean: Callable[[str], str]) -> Any:
    """Clean the texts of a JSON value."""
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, dict):
        return {name: _within(each, clean) for name, each in value.items()}
    return [_within(each, clean) for each in value] if isinstance(value, list | tuple) else value
