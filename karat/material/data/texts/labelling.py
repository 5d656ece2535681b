"""Labelling a source: a new source of the same texts, each with the label or caption that a model gave it.

Texts stay where they lie; only the list of samples is written anew. What people said is not overwritten unless that is asked for.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from pydantic import Field

from karat.material.data.samples import Sample, batches, sample_line, samples_of, source_of
from karat.store.store import Store
from karat.values.passages import Passage
from karat.words.errors import DataError
from karat.words.events import Event, Finished, Progress, Started
from karat.words.specs import Spec

Answer = Callable[[Sequence[str]], list[tuple[str, float]]]
"""Gives what a model says of some texts, and how likely it held each of these answers."""
EVERY = 64


class Labelling(Spec):
    """How a source is labelled."""

    column: str = Field("label", description="label, or the column of captions that the answers become")
    by: str = Field(description="the record of the release that answers")
    choices: tuple[str, ...] = Field((), description="what it may answer; none: anything")
    least: float = Field(0.0, ge=0, le=1, description="an answer that the model held for less likely is left out")
    overwrite: bool = Field(False, description="also label what has a label")


def label(store: Store, ref: str, wish: Labelling, *, answer: Answer) -> Iterator[Event]:
    """Make a source with labels from another. Ends in Finished, whose result is the new source's id."""
    source = store.get(ref)
    total = source.facts.get("samples")
    yield Started(what=f"labelling of {ref}", total=total, unit="texts")
    given: Counter[str] = Counter()
    done = 0
    with store.spool() as lines:
        for some in batches(samples_of(store, source.id), EVERY):
            asked = [sample for sample in some if _wants(sample, wish)]
            answers = dict(zip((sample.id for sample in asked), answer([_words(store, sample) for sample in asked]), strict=True))
            for sample in some:
                said, chance = answers.get(sample.id, ("", 0.0))
                if said.strip() and chance >= wish.least:
                    given[said.strip()] += 1
                    sample = _with(sample, wish, said.strip(), chance)
                lines.write(sample_line(sample.model_copy(update={"id": "", "source": ""})))
            done += len(some)
            yield Progress(done=done, total=total)
        if not given:
            raise DataError("No text was given a label.", repair="Lower --least, or give --overwrite if all of them have one.")
        lines.seek(0)
        made = store.put(lines)
    labels = len(given) if wish.column == "label" else source.facts.get("labels", 0)
    spec = {**source.spec, "name": f"{source.spec['name']}, labelled", "labelled": wish.model_dump(mode="json")}
    facts = {**source.facts, "labels": labels, "labelled": given.total()}
    result = store.record("source", made=made, made_from=(source.id, wish.by), spec=spec, facts=facts)
    most = ", ".join(f"{count} x {said[:40]}" for said, count in given.most_common(5))
    summary = f"Labelled {given.total():,} of {done:,} texts as source {result[:12]}: {most}{' …' if len(given) > 5 else ''}."
    yield Finished(what="label", result=result, summary=summary, figures={"labelled": float(given.total()), "samples": float(done)})


def _wants(sample: Sample, wish: Labelling) -> bool:
    has = sample.label is not None if wish.column == "label" else wish.column in sample.captions
    return sample.modality == "text" and "problem" not in sample.facts and (wish.overwrite or not has)


def _words(store: Store, sample: Sample) -> str:
    """Give the words that are asked about: a text, or what a user says."""
    passage = source_of(store, sample)
    assert isinstance(passage, Passage)
    return "\n".join(turn.text for turn in passage.turns if turn.role == "user") or passage.text


def _with(sample: Sample, wish: Labelling, said: str, chance: float) -> Sample:
    update: dict[str, object] = {"label": said} if wish.column == "label" else {"captions": {**sample.captions, wish.column: said}}
    return sample.model_copy(update={**update, "facts": {**sample.facts, f"{wish.column}_chance": float(f"{chance:.4g}")}})
