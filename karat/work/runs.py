"""Runs: from a snapshot and a few dials to a spec, and from a spec to chosen weights, with everything on the chain.

A run is named by the digest of what was asked, so the same request is the same run: started again it goes on, or says that it is done.
"""

from collections.abc import Callable, Generator, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar, cast

import torch

from karat.learning.families.family import families
from karat.learning.families.preferences import RftOptions
from karat.learning.models import Model, ModelSpec
from karat.material.data.batches import EncodedSplit, TrainingData, condition_kind, condition_of, encode_split
from karat.material.data.samples import source_of
from karat.material.data.snapshots import Snapshot
from karat.store.placing import write_whole
from karat.store.store import Store
from karat.values.codecs.codec import codecs
from karat.values.codecs.latent import seen
from karat.values.passages import Passage
from karat.values.spaces import Space
from karat.values.tensors import tensor_bytes
from karat.words.errors import Cancelled
from karat.words.events import Event, Finished
from karat.work.bases import BaseFiles, going_on
from karat.work.codecs import load_codec, through, weights_needed
from karat.work.devices import device_named, give_memory_back
from karat.work.evaluation import EvaluationOptions
from karat.work.latents import doubts, reconstruction
from karat.work.lessons import Lesson, lesson_of
from karat.work.looks import DRAFTS, Look
from karat.work.measuring import yardstick_of
from karat.work.plans import FittedCodec, RunSpec
from karat.work.recipes.dials import Dials
from karat.work.recipes.recipes import LITTLE, cook
from karat.work.starts import Start
from karat.work.training import chosen_weights, settled_plan, train

T = TypeVar("T")

JUDGED_ON = 2000
"""Held-out samples at most that checkpoints are judged on, and training samples kept to compare with: they stay in memory."""
SCARCE, FEW = 4_000_000, 10_000
"""Bytes of text, and pictures larger than digits, below which a run of minutes sees all of them many times over."""


def plan_run(
    store: Store,
    snapshot_ref: str,
    dials: Dials,
    *,
    given: tuple[str, ...] = (),
    made: dict[str, Any] | None = None,
    autoencoder: str | None = None,
    base: str | None = None,
) -> RunSpec:
    """Give the whole spec of a run: codecs fitted to the training part, a model for their spaces, a plan for the budget.

    With an `autoencoder`, a finished run of an autoencoder, the model learns its latents; with a `base`, it goes on from that.
    """
    snapshot = Snapshot.open(store, snapshot_ref)
    if base is not None:
        dials, made = going_on(store, base, dials, made or {}, beside=autoencoder)
    alone = bool(given) or not _goes_on(dials)
    fitted = through(store.get(autoencoder)) if autoencoder else _fitted(store, snapshot, dict(made or {}), alone=alone)
    space = load_codec(fitted, store.read).space
    conditions = {}
    for name in given:
        sources = (condition_of(sample, name) for sample in snapshot.samples("train"))
        conditions[name] = codecs[condition_kind(name)].fit({}, (source for source in sources if source is not None))
    spaces = {name: codec.space for name, codec in conditions.items()}
    packing = fitted.state.get("packing")
    scarce = _is_scarce(store, snapshot, fitted, space)
    family, plan, augmentation = cook(space, spaces, dials, apart=packing == "whole", scarce=scarce)
    return RunSpec(
        snapshot=snapshot.id,
        made=fitted,
        given={name: FittedCodec(kind=codec.kind, state=codec.state()) for name, codec in conditions.items()},
        base=base,
        model=ModelSpec(space=space, given=spaces, family=family),
        augment=augmentation,
        plan=plan,
    )


def _is_scarce(store: Store, snapshot: Snapshot, made: FittedCodec, space: Space) -> bool:
    """Say whether a run of minutes sees the data many times over, and could learn it by heart."""
    if made.kind == "image":
        return snapshot.counts["train"] < FEW and space.positions > LITTLE
    return made.state.get("packing") not in (None, "single") and _bytes_of(store, snapshot) < SCARCE


def _bytes_of(store: Store, snapshot: Snapshot) -> int:
    """Give how many bytes of text there are to learn from."""
    return sum(sample.span[1] if sample.span else store.path(sample.blob).stat().st_size for sample in snapshot.samples("train"))


def _goes_on(dials: Dials) -> bool:
    """Say whether the family makes one id after the other; all others see a row as one value."""
    return families[dials.family or "autoregressive"].turns == ("next",)


def _fitted(store: Store, snapshot: Snapshot, options: dict[str, Any], *, alone: bool) -> FittedCodec:
    """Fit the codec of what is made, which follows from what the samples are. Texts share rows, unless each is to stand `alone`."""
    first = next(snapshot.samples("train"), None)
    if first is not None and first.modality == "text":
        packing = "single" if alone else "whole" if first.in_turns else "stream"
        options = {"kind": "text", "packing": packing, **options}
    sources = (source_of(store, sample) for sample in snapshot.samples("train"))
    codec = codecs[options.pop("kind", "image")].fit(options, sources)
    return FittedCodec(kind=codec.kind, state=codec.state())


def folder_of(store: Store, spec: RunSpec) -> Path:
    return store.folder / "runs" / spec.digest()[:16]


def run(store: Store, spec: RunSpec, *, stop: Callable[[], bool] = lambda: False) -> Iterator[Event]:
    """Train what the spec asks for, from where it was left, and put the run on the chain. Ends with Finished, whose result is its record.

    Raises BusyError when another process trains it, Cancelled when `stop` says so; everything is kept.
    """
    folder = folder_of(store, spec)
    with store.lock(f"run-{folder.name}"):
        if (folder / "record").exists():
            record = (folder / "record").read_text()
            yield Finished(what="run", result=record, summary="This run was finished before.")
            return
        write_whole(folder / "spec.json", spec.to_json().encode())
        with (folder / "events.jsonl").open("a", encoding="utf-8") as log:
            for event in _train(store, spec, folder, stop):
                log.write(event.model_dump_json() + "\n")
                log.flush()
                yield event


def _train(store: Store, spec: RunSpec, folder: Path, stop: Callable[[], bool]) -> Generator[Event, None, None]:
    plan = spec.plan
    if plan.threads:
        torch.set_num_threads(plan.threads)
    snapshot = Snapshot.open(store, spec.snapshot)
    train_part, validation = (part_of(store, snapshot, spec, name) for name in ("train", "validation"))
    model = _begun(store, spec)
    lesson = Lesson(train_part, validation)
    if spec.learn is not None:
        lesson = yield from _stoppable(lesson_of(store, snapshot, spec, model), stop)
    data = TrainingData(lesson.train, lesson.validation, spec.augment, seed=plan.seed)
    judged = plan.judged and seen(train_part.made).kind == "image"
    measuring = EvaluationOptions(most=JUDGED_ON)
    yardstick = (yield from _stoppable(yardstick_of(store, snapshot, spec, measuring), stop)) if judged else None
    openings = [sample for sample in islice(snapshot.samples("validation"), DRAFTS) if sample.in_turns]
    drafts = [passage.opening() for passage in (source_of(store, sample) for sample in openings) if isinstance(passage, Passage)]
    look = Look(spec, validation, folder, yardstick, drafts=drafts)
    autoencoders = [record for digest in weights_needed(spec) for record in store.made(digest) if record.kind == "run"]
    yield from doubts(autoencoders)
    last: Event | None = None
    give_memory_back()
    for event in train(model, data, plan, folder, look=look, stop=stop, objective=lesson.objective):
        if isinstance(event, Finished):
            last = event
        else:
            yield event
    assert isinstance(last, Finished)
    weights, facts = chosen_weights(folder)
    settled = spec.changed(plan=settled_plan(plan, facts))
    ended = {**last.figures, **reconstruction(model, weights, data.held_out())}
    figures = {**ended, "parameters": model.parameter_count(), **{f"chosen {key}": value for key, value in facts["best"].items()}}
    made = store.put(tensor_bytes(model.finished(weights)))
    reward = spec.learn.reward if isinstance(spec.learn, RftOptions) else None
    started = [each for each in (spec.base, spec.start, reward) if each is not None]
    made_from = [spec.snapshot, *(each.id for each in autoencoders), *started]
    record = store.record("run", made=made, made_from=made_from, spec=settled, facts={"figures": figures, "folder": folder.name})
    (folder / ".record").write_text(record)
    (folder / ".record").replace(folder / "record")
    yield Finished(what="run", result=record, summary=last.summary, figures=ended)


def _begun(store: Store, spec: RunSpec) -> Model:
    """Build the model with the weights that it starts from, where it is trained."""
    model = Model(spec.model, seed=spec.plan.seed)
    if spec.base is not None:
        model.start_from(BaseFiles.open(store, spec.base).tensors())
    if spec.start is not None:
        model.load_weights(Start.open(store, spec.start).weights)
    return model.to(device_named(spec.plan.device))


def _stoppable(work: Generator[Event, None, T], stop: Callable[[], bool]) -> Generator[Event, None, T]:
    """Do some work that keeps nothing until its end. Raises Cancelled when `stop` says so."""
    while True:
        try:
            event = next(work)
        except StopIteration as end:
            return cast(T, end.value)
        yield event
        if stop():
            raise Cancelled("Stopped before the first step.", repair="Give the same command again.")


def part_of(store: Store, snapshot: Snapshot, spec: RunSpec, split: str) -> EncodedSplit:
    """Give a split as the run's codecs see it."""
    made = load_codec(spec.made, store.read)
    return encode_split(store, snapshot, split, made, {name: load_codec(codec, store.read) for name, codec in spec.given.items()})
