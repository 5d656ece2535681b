"""Checking data: every finding names a sample, says what was noticed and how to repair it. Nothing is dropped silently, and nothing fails.

A survey keeps a few hundred bytes for each sample (a print, and what names its label, group and content), whatever the size of its file.
What is looked for in a picture or in a text, its inspection knows; what samples of all modalities have in common stands here.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import groupby
from sys import intern
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karat.material.data.groups import Groups, alone, join_keys
from karat.material.data.inspecting import Inspection, PictureInspection
from karat.material.data.policy import REPAIRS, CheckPolicy
from karat.material.data.samples import Sample, batches, samples_of
from karat.material.data.texts.inspecting import TextInspection
from karat.store.store import Store
from karat.words.errors import SpecError
from karat.words.events import Event, Finding, Finished, Progress, Started

BATCH = 500
INSPECTIONS: dict[str, type[PictureInspection] | type[TextInspection]] = {"image": PictureInspection, "text": TextInspection}


class Survey:
    """What the checks remember of the samples that they have seen, in order. `apart` names columns by which a split is kept apart."""

    def __init__(self, policy: CheckPolicy, *, apart: Sequence[str] = ()) -> None:
        self.policy = policy
        self.ids: list[str] = []
        self.names: list[str] = []
        self.labels: list[str | None] = []
        self.given: list[str | None] = []
        self.contents: list[str] = []
        self.captioned: list[bool] = []
        self.dropped: dict[int, Finding] = {}
        self._apart: dict[str, list[int | None]] = {column: [] for column in apart}
        self._inspections: dict[str, Inspection] = {}
        self._inspected: list[Inspection] = []
        self._members: dict[str, list[int]] = {}
        self._likeness = alone(0)

    def read(self, store: Store, refs: Sequence[str]) -> Iterator[Event]:
        """Take in the samples of some sources; yield what is found about each by itself. Raises SpecError for a column that none has."""
        total = sum(store.get(ref).facts.get("samples", 0) for ref in refs)
        columns: set[str] = set()
        for ref in refs:
            for some in batches(samples_of(store, ref), BATCH):
                for modality, alike in groupby(some, lambda sample: sample.modality):
                    yield from self._look(store, modality, list(alike))
                if self._apart:
                    columns.update(*(_columns(sample) for sample in some))
                yield Progress(done=len(self.ids), total=total)
        for column, values in self._apart.items():
            if not any(value is not None for value in values):
                raise SpecError(f"No sample has a column {column}.", repair=f"Their columns are: {', '.join(sorted(columns))}.")

    def compare(self) -> Iterator[Event]:
        """Yield what is found between samples: duplicates, uneven classes, captions that some have and others lack."""
        yield from self._exact()
        yield from self._near()
        yield from self._captions()
        yield from self._balance()

    def groups(self) -> Groups:
        """Give the groups that no split may part: near duplicates, copies, and the groups that the data or `apart` names."""
        groups = join_keys(join_keys(self._likeness, self.contents), self.given)
        for values in self._apart.values():
            groups = join_keys(groups, values)
        return groups

    def figures(self) -> dict[str, int]:
        """Give what was counted beside findings, such as the texts of each language."""
        return {name: count for inspection in self._inspections.values() for name, count in inspection.figures().items()}

    def _look(self, store: Store, modality: str, samples: list[Sample]) -> Iterator[Finding]:
        if modality not in self._inspections:
            self._inspections[modality] = INSPECTIONS[modality](self.policy)
        members, inspection = self._members.setdefault(modality, []), self._inspections[modality]
        for sample, seen in zip(samples, inspection.look(store, samples), strict=True):
            number = len(self.ids)
            members.append(number)
            self._inspected.append(inspection)
            self.ids.append(sample.id)
            self.names.append(sample.name)
            self.labels.append(None if sample.label is None else intern(sample.label))
            self.given.append(None if sample.group is None else f"{sample.source}:{sample.group}")
            self.contents.append(seen.content)
            self.captioned.append(bool(sample.captions))
            for column, values in self._apart.items():
                value = _columns(sample).get(column)
                values.append(None if value is None else hash(str(value)))
            for check, message in seen.noticed:
                yield self._finding(number, check, message)

    def _finding(self, number: int, check: str, message: str) -> Finding:
        drops = check in self.policy.drop
        finding = Finding(check=check, sample=self.names[number], message=message, repair=REPAIRS[check], drops=drops)
        if drops:
            self.dropped.setdefault(number, finding)
        return finding

    def _kept(self, modality: str) -> NDArray[np.intp]:
        """Give the places among the samples of a modality of those that are not left out."""
        return np.array([place for place, number in enumerate(self._members[modality]) if number not in self.dropped], np.intp)

    def _exact(self) -> Iterator[Finding]:
        first: dict[str, int] = {}
        for number, content in enumerate(self.contents):
            if number in self.dropped:
                continue
            one = first.setdefault(content, number)
            if one == number:
                continue
            copied = self._inspected[number].copied
            if self.labels[one] != self.labels[number]:
                message = f"It is {self.names[one]} {copied}, which is labelled {self.labels[one]}, not {self.labels[number]}."
                yield self._finding(number, "label-conflict", message)
            yield self._finding(number, "exact-duplicate", f"It is {self.names[one]} {copied}.")

    def _near(self) -> Iterator[Event]:
        self._likeness = alone(len(self.ids))
        for modality, inspection in self._inspections.items():
            numbers = np.array(self._members[modality], np.intp)
            kept = self._kept(modality)
            for about, check, message in inspection.overall(kept):
                if isinstance(about, int):
                    yield self._finding(int(numbers[about]), check, message)
                else:
                    yield Finding(check=check, sample=about, message=message, repair=REPAIRS[check])
            for done, within in inspection.near(kept):
                yield Progress(done=done, total=len(kept))
                self._likeness[numbers[kept]] = numbers[kept][within]
            for number in numbers[kept].tolist():
                if (one := int(self._likeness[number])) != number and self.contents[one] != self.contents[number]:
                    yield self._finding(number, "near-duplicate", f"It {inspection.alike} {self.names[one]}.")

    def _captions(self) -> Iterator[Finding]:
        if any(self.captioned):
            for number, captioned in enumerate(self.captioned):
                if not captioned and number not in self.dropped:
                    yield self._finding(number, "missing-caption", "It has no caption, but others have.")

    def _balance(self) -> Iterator[Finding]:
        counts = Counter(label for number, label in enumerate(self.labels) if label is not None and number not in self.dropped)
        most = max(counts.values(), default=0)
        for label, count in sorted(counts.items()):
            if most > self.policy.max_imbalance * count:
                message = f"It has {count} samples, the largest class has {most}."
                yield Finding(check="class-imbalance", sample=f"label {label}", message=message, repair=REPAIRS["class-imbalance"])


def check_sources(store: Store, refs: Sequence[str], *, policy: CheckPolicy | None = None) -> Iterator[Event]:
    """Check the samples of some sources. Ends in Finished, whose figures count the findings of each check."""
    survey = Survey(policy or CheckPolicy())
    counts: Counter[str] = Counter()
    yield Started(what=f"check of {', '.join(refs)}", unit="samples")
    for event in surveyed(store, refs, survey):
        counts.update([event.check] if isinstance(event, Finding) else ())
        yield event
    summary = f"{counts.total()} findings about {len(survey.ids)} samples; {len(survey.dropped)} samples would be left out."
    if survey.figures():
        summary += f" Counted: {', '.join(f'{name} {count}' for name, count in survey.figures().items())}."
    figures = {"samples": len(survey.ids), "findings": counts.total(), "left_out": len(survey.dropped), **counts, **survey.figures()}
    yield Finished(what="check", summary=summary, figures={name: float(value) for name, value in figures.items()})


def surveyed(store: Store, refs: Sequence[str], survey: Survey) -> Iterator[Event]:
    """Let a survey read some sources and compare what it read."""
    yield from survey.read(store, refs)
    yield from survey.compare()


def _columns(sample: Sample) -> dict[str, Any]:
    """Give the values of a sample by the names of their columns; `file` is the file that it was a row or a piece of."""
    file = re.sub(r":\d+$", "", sample.name) if sample.modality == "text" else sample.name
    own = {"file": file, "label": sample.label, "group": sample.group, "source": sample.source, "licence": sample.licence}
    return {**own, **sample.facts, **sample.numbers, **sample.captions}
