"""Check-ups: what the checks found in sources, kept on the chain with examples, so that it can be looked at and decided on later."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from karat.app.chain import find
from karat.app.data import check
from karat.material.data.policy import REPAIRS, CheckPolicy
from karat.material.data.samples import samples_of
from karat.store.store import Store
from karat.words.events import Event, Finding, Finished
from karat.words.specs import Spec

EXAMPLES = 12
"""Findings of each check that are kept."""


class Example(Spec):
    """A sample that a check noticed; `blob` is its file where the finding is about a single one."""

    sample: str
    message: str
    blob: str | None = None
    modality: str = "image"


class FindingGroup(Spec):
    """What one check found. `drops`: a snapshot leaves these samples out by itself."""

    check: str
    count: int
    repair: str
    drops: bool
    examples: tuple[Example, ...]


class Checkup(Spec):
    """What all checks found in some sources."""

    id: str
    at: float
    samples: int
    groups: tuple[FindingGroup, ...]


def check_up(store: Store, refs: Sequence[str], *, changes: dict[str, Any] | None = None) -> Iterator[Event]:
    """Check sources and remember what was found. Ends in Finished, whose result is the check-up's record."""
    counts: Counter[str] = Counter()
    examples: dict[str, list[dict[str, Any]]] = {}
    for event in check(store, refs, changes=changes):
        if isinstance(event, Finding):
            counts[event.check] += 1
            some = examples.setdefault(event.check, [])
            if len(some) < EXAMPLES:
                some.append({"sample": event.sample, "message": event.message})
        if isinstance(event, Finished):
            sources = [find(store, ref, "source", "snapshot").id for ref in refs]
            _add_files(store, sources, examples)
            facts = {"samples": int(event.figures["samples"]), "counts": dict(counts), "examples": examples}
            event = event.changed(result=store.record("checkup", made_from=sources, spec={"policy": changes or {}}, facts=facts))
        yield event


def _add_files(store: Store, sources: Sequence[str], examples: dict[str, list[dict[str, Any]]]) -> None:
    """Note the files of the samples that are examples."""
    wanted: dict[str, list[dict[str, Any]]] = {}
    for example in (example for some in examples.values() for example in some):
        wanted.setdefault(example["sample"], []).append(example)
    for source in sources if wanted else ():
        for sample in samples_of(store, source) if store.get(source).kind == "source" else ():
            for example in wanted.get(sample.name, ()):
                example |= {"blob": sample.blob, "modality": sample.modality}


def checkup(store: Store, ref: str) -> Checkup | None:
    """Give the last check-up of a source; None where it has not been checked yet."""
    source = find(store, ref, "source").id
    found = [record for record in store.descendants(source) if record.kind == "checkup" and source in record.made_from]
    if not found:
        return None
    last = max(found, key=lambda record: record.at)
    drop = CheckPolicy.from_values(last.spec["policy"]).drop
    groups = [
        FindingGroup(check=check, count=count, repair=REPAIRS[check], drops=check in drop, examples=tuple(last.facts["examples"][check]))
        for check, count in sorted(last.facts["counts"].items(), key=lambda each: -each[1])
    ]
    return Checkup(id=last.id, at=last.at, samples=last.facts["samples"], groups=tuple(groups))
