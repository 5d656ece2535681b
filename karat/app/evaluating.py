"""Evaluate a run: make samples under the conditions of the test split, score them, write the report, put it on the chain."""

import json
from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace
from typing import TypeVar, cast

import numpy as np
import torch
from torch import Tensor

from karat.app.chain import find
from karat.app.evaluating_texts import TextReport
from karat.material.charts import Curve
from karat.material.data.samples import Sample
from karat.material.data.snapshots import Snapshot
from karat.material.metrics.scores import Evaluation
from karat.material.report import Likeness, Link, Picture, ReportContent, report_html, report_json
from karat.store.records import Record
from karat.store.store import Store
from karat.values.codecs.latent import as_seen, seen
from karat.values.given import Given
from karat.values.tensors import TensorFile
from karat.words.events import Event, Finished, Progress, Started
from karat.words.specs import Spec
from karat.work.evaluation import EvaluationOptions, Reality, Values, evaluate
from karat.work.following import Following
from karat.work.generation import Ready, make_values
from karat.work.looks import captions_of
from karat.work.measuring import reality_of, targets_of, text_reality_of, yardstick_of
from karat.work.plans import RunSpec
from karat.work.reading import TextLike
from karat.work.runs import part_of
from karat.work.text_evaluation import TextMeasuring, evaluate_texts

T = TypeVar("T")
SHOWN = 40
"""Pictures that the report shows."""


class EvaluatingOptions(Spec):
    """How many samples are made to be scored, from which seed, with which sampling options, and how they are measured."""

    samples: int | None = None
    """Left open: 500 pictures, or 150 texts of each kind, which take longer to write."""
    seed: int = 1
    sampling: dict[str, object] = {}
    measuring: EvaluationOptions = EvaluationOptions()
    texts: TextMeasuring = TextMeasuring()


def evaluate_run(store: Store, run_ref: str, options: EvaluatingOptions | None = None) -> Iterator[Event]:
    """Score a run on the test split. Ends with Finished, whose result is the evaluation's record; its `made` is the JSON report."""
    options = options or EvaluatingOptions()
    record, ready, spec = open_run(store, run_ref)
    snapshot = Snapshot.open(store, spec.snapshot)
    report = _Report(store, record, snapshot, spec, ready)
    makes_texts = seen(ready.made).extension == ".txt"
    options = options.changed(samples=options.samples or (150 if makes_texts else 500))
    content = yield from (_texts(report, options) if makes_texts else _pictures(report, options))
    evaluation = content.evaluation
    assert evaluation is not None, "an evaluation has scores"
    html, figures = store.put(report_html(content).encode()), store.put(report_json(content).encode())
    facts = {"report.html": html, "figures": evaluation.figures(), "evaluation": evaluation.model_dump(mode="json")}
    result = store.record("evaluation", made=figures, made_from=[record.id, snapshot.id], spec=options, facts=facts)
    yield Finished(what="evaluation", result=result, summary=content.summary, figures=evaluation.figures())


def _pictures(report: "_Report", options: EvaluatingOptions) -> Generator[Event, None, ReportContent]:
    """Score made pictures under the conditions of the test split."""
    store, snapshot, spec, ready = report.store, report.snapshot, report.spec, report.ready
    real = reality_of(store, snapshot, spec)
    made, given = yield from make_samples(store, snapshot, spec, ready, options)
    yardstick = yield from yardstick_of(store, snapshot, spec, options.measuring)
    evaluation = yield from _before_the_end(evaluate(made, real, options.measuring, yardstick=yardstick))
    captions = captions_of(given, ready.given, len(made))
    pictures = [Picture(report.pixels(value), caption) for value, caption in zip(made.values[:SHOWN], captions, strict=False)]
    return replace(report.content(evaluation), pictures=pictures, likenesses=list(report.likenesses(made, real, evaluation)))


def _texts(report: "_Report", options: EvaluatingOptions) -> Generator[Event, None, ReportContent]:
    """Score what a model of texts pays and writes, after nothing, openings or prompts of the test split."""
    ready = report.ready
    codec = cast(TextLike, seen(ready.made))
    real = text_reality_of(report.store, report.snapshot, report.spec)

    write = Following(ready, real.given, options.sampling, seed=options.seed)
    work = evaluate_texts(ready.model, codec, real, write, options.texts, count=options.samples or 0, follows=write.goes_on)
    found = yield from _before_the_end(work)
    pages = TextReport(report.store, report.snapshot, ready, codec, real).pages(found.made)
    return replace(report.content(found.evaluation), texts=pages)


def _before_the_end(work: Generator[Event, None, T]) -> Generator[Event, None, T]:
    """Pass on the events of a part of the work, but not its end, which is not the end of all of it."""
    while True:
        try:
            event = next(work)
        except StopIteration as end:
            return cast(T, end.value)
        if not isinstance(event, Finished):
            yield event


def open_run(store: Store, ref: str) -> tuple[Record, Ready, RunSpec]:
    """Open a finished run with its chosen weights. Raises NotFoundError for anything else."""
    record = find(store, ref, "run")
    assert record.made is not None, "a run has weights"
    spec = RunSpec.from_values(record.spec)
    payload = store.read(record.made)
    return record, Ready.of(spec, dict(TensorFile(lambda start, length: payload[start : start + length], len(payload))), store.read), spec


def make_samples(
    store: Store, snapshot: Snapshot, spec: RunSpec, ready: Ready, options: EvaluatingOptions
) -> Generator[Event, None, tuple[Values, Given]]:
    """Make samples under the test split's own conditions, in turn."""
    test = part_of(store, snapshot, spec, "test")
    count = options.samples or 0
    rows = [row % len(test) for row in range(count)]
    given = test.conditions(rows)
    seeds = [(options.seed, index) for index in range(count)]
    yield Started(what="sampling", total=count, unit="samples")
    finished: list[Tensor] = []
    for step, values in make_values(ready.model, given, seeds, options.sampling):
        if step.done == step.total:
            finished.append(as_seen(ready.made, values))
            yield Progress(done=sum(map(len, finished)), total=count)
    labels, targets = targets_of(given, rows)
    return Values(torch.cat(finished), labels, targets), given


@dataclass(frozen=True)
class _Report:
    """Gathers what a report shows."""

    store: Store
    run: Record
    snapshot: Snapshot
    spec: RunSpec
    ready: Ready

    def content(self, evaluation: Evaluation) -> ReportContent:
        """Give what the report says of any run."""
        plan, figures, family = self.spec.plan, self.run.facts["figures"], self.spec.model.family.kind
        return ReportContent(
            title=f"Run {self.run.id[:12]}",
            summary=f"{'An' if family[0] in 'aeiou' else 'A'} {family} model of {figures['parameters']:,.0f} parameters, "
            f"trained for {plan.steps:,} steps in {figures['seconds']:.0f} s.",
            facts={
                "family": family,
                "given": ", ".join(self.spec.given) or "nothing",
                "chosen step": f"{figures['chosen']:,.0f}",
            },
            evaluation=evaluation,
            curves=list(self._curves()),
            splits=self.snapshot.counts,
            dropped=self._dropped(),
            lineage=[Link(each.kind, each.id, str(each.spec.get("name", ""))) for each in [self.run, *self.store.ancestry(self.run.id)]],
            settings=self.spec.model_dump(mode="json", include={"model", "plan", "augment"}),
        )

    def pixels(self, value: Tensor) -> np.ndarray:
        pixels = np.asarray(seen(self.ready.made).decode(value))
        return pixels[..., None] if pixels.ndim == 2 else pixels

    def _curves(self) -> Iterator[Curve]:
        log = self.store.folder / "runs" / self.run.facts["folder"] / "events.jsonl"
        lines: dict[str, dict[str, list[tuple[float, float]]]] = {}
        for line in log.read_text(encoding="utf-8").splitlines() if log.exists() else []:
            event = json.loads(line)
            step = event.get("step", event.get("done"))
            for name, value in (event.get("figures") or {}).items() if event["kind"] in ("progress", "scored") else ():
                if (place := _curve_of(name)) is not None:
                    lines.setdefault(place, {}).setdefault(name, []).append((float(step), float(value)))
        for title, each in lines.items():
            yield Curve(title=title, lines=each, chosen=float(self.run.facts["figures"]["chosen"]))

    def likenesses(self, made: Values, real: Reality, evaluation: Evaluation) -> Iterator[Likeness]:
        training = list(self.snapshot.samples("train"))
        test = list(self.snapshot.samples("test"))
        for near in evaluation.neighbours:
            yield Likeness(
                made=Picture(self.pixels(made.values[near.made]), f"made {near.made}"),
                training=Picture(self._original(training[near.training_row]), near.training_name),
                held_out=Picture(self._original(test[near.held_out_row]), test[near.held_out_row].name),
                training_distance=near.training_distance,
                held_out_distance=near.held_out_distance,
                copied=near.copied,
            )

    def _original(self, sample: Sample) -> np.ndarray:
        codec = seen(self.ready.made)
        packed = torch.from_numpy(codec.encode(self.store.read(sample.blob)))
        return self.pixels(codec.value(packed[None])[0])

    def _dropped(self) -> dict[str, int]:
        counts: dict[str, int] = {}
        for line in self.snapshot.ledger():
            counts[line.check] = counts.get(line.check, 0) + 1
        return counts


def _curve_of(name: str) -> str | None:
    """Name the chart that a figure belongs to; None for what is not drawn."""
    if name.startswith("held-out loss at"):
        return "Held-out loss by time"
    if name.startswith("held-out"):
        return "Held-out losses"
    if name in ("loss", "critic", "generator", "lead"):
        return "Training losses"
    return "Samples against the validation split" if name.startswith("kid/") else None
