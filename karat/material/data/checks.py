"""Checking data: every finding names a sample, says what was noticed and how to repair it. Nothing is dropped silently, and nothing fails.

A survey keeps a few hundred bytes for each sample (its print, and numbers for its label, group and blob), whatever the size of its file.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, cast

import numpy as np
from pydantic import Field, field_validator

from karat.material.data.groups import Groups, alone, join_keys
from karat.material.data.likeness import is_flat, near_groups
from karat.material.data.looking import LOOK, MAX_PIXELS, SIDE
from karat.material.data.samples import Sample, batches, samples_of
from karat.store.store import Store
from karat.words.events import Event, Finding, Finished, Progress, Started
from karat.words.specs import Spec

BATCH = 500
REPAIRS = {
    "empty": "Copy the file again, or delete it.",
    "unreadable": "Delete the file, or replace it by a picture.",
    "truncated": "Copy the file again from where it came.",
    "bomb": "Scale the picture down, or delete it.",
    "too-small": "Replace it by a larger one, or allow smaller ones with min_side.",
    "odd-aspect": "Crop it; it will be squeezed or cut otherwise.",
    "blank": "Delete it if it is not meant to be of one colour.",
    "missing-caption": "Write a caption, or train without captions.",
    "exact-duplicate": "Delete one of them; a snapshot keeps the first.",
    "label-conflict": "Decide on one label; a snapshot keeps the first of the two files.",
    "near-duplicate": "Nothing need be done: a snapshot keeps both on one side of the split.",
    "class-imbalance": "Add samples of this class, or expect it to be learnt less well.",
}


class CheckPolicy(Spec):
    """What is noticed, and which findings leave a sample out of a snapshot."""

    min_side: int = Field(default=8, ge=1, description="pixels that the shorter side has at least")
    max_aspect: float = Field(default=4.0, gt=1, description="how many times longer one side may be than the other")
    max_pixels: int = Field(default=MAX_PIXELS, ge=1, description="pixels that a picture may unfold to")
    max_imbalance: float = Field(default=10.0, gt=1, description="how many times more samples one class may have than another")
    near_distance: float = Field(default=0.07, ge=0, le=1, description="how far near duplicates may differ, 0 for not looking for any")
    drop: tuple[str, ...] = Field(
        default=("bomb", "empty", "exact-duplicate", "too-small", "truncated", "unreadable"),
        description="the checks whose findings leave a sample out",
    )

    @field_validator("drop")
    @classmethod
    def _known(cls, drop: tuple[str, ...]) -> tuple[str, ...]:
        for check in drop:
            if check not in REPAIRS:
                raise ValueError(f"there is no check called {check!r}; known are {', '.join(sorted(REPAIRS))}")
        return tuple(sorted(set(drop)))


class Survey:
    """What the checks remember of the samples that they have seen, in order."""

    def __init__(self, policy: CheckPolicy) -> None:
        self.policy = policy
        self.ids: list[str] = []
        self.names: list[str] = []
        self.labels: list[str | None] = []
        self.given: list[str | None] = []
        self.blobs: list[str] = []
        self.captioned: list[bool] = []
        self.dropped: dict[int, Finding] = {}
        self._prints: list[bytes] = []
        self._sides: list[int] = []
        self._likeness = alone(0)

    def read(self, store: Store, refs: Sequence[str]) -> Iterator[Event]:
        """Take in the samples of some sources; yield what is found about each by itself."""
        total = sum(store.get(ref).facts.get("samples", 0) for ref in refs)
        for ref in refs:
            for some in batches(samples_of(store, ref), BATCH):
                looks = store.files.looks({sample.blob for sample in some}, look=LOOK)
                for sample in some:
                    print = looks[sample.blob].print if sample.blob in looks else None
                    yield from self._add(sample, print)
                yield Progress(done=len(self.ids), total=total)

    def compare(self) -> Iterator[Event]:
        """Yield what is found between samples: duplicates, uneven classes, captions that some have and others lack."""
        yield from self._exact()
        yield from self._near()
        yield from self._captions()
        yield from self._balance()

    def groups(self) -> Groups:
        """Give the groups that no split may part: near duplicates, equal files, and the groups that the data names."""
        return join_keys(join_keys(self._likeness, self.blobs), self.given)

    def _add(self, sample: Sample, print: bytes | None) -> Iterator[Finding]:
        number = len(self.ids)
        self.ids.append(sample.id)
        self.names.append(sample.name)
        self.labels.append(sample.label)
        self.given.append(None if sample.group is None else f"{sample.source}:{sample.group}")
        self.blobs.append(sample.blob)
        self.captioned.append(bool(sample.captions))
        self._prints.append(print or bytes(SIDE * SIDE))
        self._sides.append(min(sample.facts.get("width", 0), sample.facts.get("height", 0)))
        for check, message in _about(sample, self.policy):
            yield self._finding(number, check, message)

    def _finding(self, number: int, check: str, message: str) -> Finding:
        drops = check in self.policy.drop
        finding = Finding(check=check, sample=self.names[number], message=message, repair=REPAIRS[check], drops=drops)
        if drops:
            self.dropped.setdefault(number, finding)
        return finding

    def _exact(self) -> Iterator[Finding]:
        first: dict[str, int] = {}
        for number, blob in enumerate(self.blobs):
            if number in self.dropped:
                continue
            one = first.setdefault(blob, number)
            if one == number:
                continue
            if self.labels[one] != self.labels[number]:
                message = f"It is {self.names[one]} byte for byte, which is labelled {self.labels[one]}, not {self.labels[number]}."
                yield self._finding(number, "label-conflict", message)
            yield self._finding(number, "exact-duplicate", f"It is {self.names[one]} byte for byte.")

    def _near(self) -> Iterator[Event]:
        kept = np.array([number for number in range(len(self.ids)) if number not in self.dropped], np.intp)
        prints = np.frombuffer(b"".join(self._prints), np.uint8).reshape(-1, SIDE, SIDE)[kept]
        self._prints.clear()
        self._likeness = alone(len(self.ids))
        for number in kept[is_flat(prints)].tolist():
            yield self._finding(number, "blank", "It is of one colour.")
        for done, within in near_groups(prints, np.array(self._sides)[kept], distance=self.policy.near_distance):
            yield Progress(done=done, total=len(kept))
            self._likeness[kept] = kept[within]
        for number in kept.tolist():
            if (one := int(self._likeness[number])) != number and self.blobs[one] != self.blobs[number]:
                yield self._finding(number, "near-duplicate", f"It looks like {self.names[one]}.")

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
    figures = {"samples": len(survey.ids), "findings": counts.total(), "left_out": len(survey.dropped), **counts}
    yield Finished(what="check", summary=summary, figures={name: float(value) for name, value in figures.items()})


def surveyed(store: Store, refs: Sequence[str], survey: Survey) -> Iterator[Event]:
    """Let a survey read some sources and compare what it read."""
    yield from survey.read(store, refs)
    yield from survey.compare()


def _about(sample: Sample, policy: CheckPolicy) -> Iterator[tuple[str, str]]:
    problem = cast(dict[str, Any] | None, sample.facts.get("problem"))
    if problem:
        yield problem["check"], problem["message"]
        return
    width, height = sample.facts["width"], sample.facts["height"]
    if width * height > policy.max_pixels:
        yield "bomb", f"It has {width * height} pixels."
    if min(width, height) < policy.min_side:
        yield "too-small", f"It has {width} x {height} pixels."
    if max(width, height) > policy.max_aspect * min(width, height):
        yield "odd-aspect", f"It has {width} x {height} pixels."
