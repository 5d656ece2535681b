"""What a snapshot's own splits are to a measurement: the reality that made values are held against, as the run's codec sees it."""

import json
from collections.abc import Generator, Iterable, Iterator, Sequence
from itertools import islice

import torch
from torch import Tensor

from karat.material.data.batches import EncodedSplit, encode_split
from karat.material.data.samples import source_of
from karat.material.data.snapshots import Snapshot
from karat.material.metrics.judge import Judge
from karat.material.trust.text_originality import TextOriginality, build_text_index
from karat.store.placing import write_whole
from karat.store.store import Store
from karat.values.codecs.codec import Codec
from karat.values.codecs.label import LabelCodec, LabelOptions
from karat.values.codecs.latent import seen
from karat.values.given import Given
from karat.values.passages import Passage
from karat.values.tensors import TensorFile, tensor_bytes
from karat.words.events import Event
from karat.words.specs import digest_of
from karat.work.codecs import load_codec
from karat.work.evaluation import FEWEST, EvaluationOptions, Reality, Values, Yardstick, prepare
from karat.work.plans import RunSpec
from karat.work.text_evaluation import TextReality


def reality_of(store: Store, snapshot: Snapshot, spec: RunSpec, *, most: int = 5000, tested: int = 5000) -> Reality:
    """Give the four splits of a snapshot as values, labelled where it has labels; at most so many to measure with, and to test on."""
    made = seen(load_codec(spec.made, store.read))
    labelled: dict[str, Codec] = {"label": LabelCodec(LabelOptions(names=tuple(snapshot.labels)))} if snapshot.labels else {}
    parts = {name: encode_split(store, snapshot, name, made, labelled) for name in ("train", "validation", "test", "judge")}
    held = {name: whole(parts[name], most=tested if name == "test" else most) for name in ("validation", "test", "judge")}
    names = [sample.name for sample in snapshot.samples("train")]
    return Reality(train=Pass(parts["train"], names), classes=snapshot.labels, **held)


class Pass(Iterable[Values]):
    """A split as batches, as often as one goes through it."""

    def __init__(self, part: EncodedSplit, names: Sequence[str]) -> None:
        self.part, self.names = part, names

    def __iter__(self) -> Iterator[Values]:
        first = 0
        for values, given in self.part.batches(256):
            yield Values(values, labels_of(given), names=self.names[first : first + len(values)])
            first += len(values)


def whole(part: EncodedSplit, *, most: int = 5000) -> Values:
    """Give a held-out split, or its first `most` samples: the order within a split is drawn by chance, so they are any of them."""
    found, known, count = torch.empty(0), list[Tensor | None](), 0
    for values, given in part.batches(250):
        found = found if count else torch.empty(min(most, len(part)), *values.shape[1:])
        kept = values[: len(found) - count]
        found[count : count + len(kept)] = kept
        own = labels_of(given)
        known.append(None if own is None else own[: len(kept)])
        count += len(kept)
        if count == len(found):
            break
    labels = [each for each in known if each is not None]
    return Values(found[:count], torch.cat(labels) if labels and len(labels) == len(known) else None)


def labels_of(given: Given) -> Tensor | None:
    """Give the labels of a batch in which every sample has one."""
    return given.values["label"] if "label" in given.values and bool(given.keep["label"].all()) else None


def targets_of(given: Given, rows: Sequence[int]) -> tuple[Tensor | None, Tensor | None]:
    """Give what made values are answerable to: their labels, or else the rows of the held-out samples that gave their conditions."""
    if not given.values:
        return None, None
    labels = labels_of(given)
    return (labels, None) if labels is not None else (None, torch.tensor(rows))


def yardstick_of(
    store: Store, snapshot: Snapshot, spec: RunSpec, options: EvaluationOptions | None = None
) -> Generator[Event, None, Yardstick]:
    """Make the yardstick of a snapshot as a codec sees it. Its judge is trained once and kept in the store's folder.

    Of the test split it only wants to know that it is there.
    """
    options = options or EvaluationOptions()
    real = reality_of(store, snapshot, spec, most=options.most, tested=FEWEST)
    made = seen(load_codec(spec.made, store.read))
    key = digest_of([snapshot.id, made.kind, made.state(), options.judge.model_dump()])[:16]
    place = store.folder / "judges" / key
    judge = None
    if (place / "facts.json").exists():
        payload = (place / "judge.safetensors").read_bytes()
        tensors = TensorFile(lambda start, length: payload[start : start + length], len(payload))
        judge = Judge.load(dict(tensors), json.loads((place / "facts.json").read_bytes()))
    yardstick = yield from prepare(real, options, judge=judge)
    if judge is None:
        write_whole(place / "judge.safetensors", tensor_bytes(yardstick.judge.tensors()))
        write_whole(place / "facts.json", json.dumps(yardstick.judge.facts).encode())
    return yardstick


def text_reality_of(store: Store, snapshot: Snapshot, spec: RunSpec, most: int = 5000) -> TextReality:
    """Give the four splits of a snapshot of texts, with the conditions of each test passage that a conditional model knows."""
    held = {name: list(islice(Passages(store, snapshot, name), most)) for name in ("validation", "test", "judge")}
    given = Given()
    if spec.given:
        made, conditions = load_codec(spec.made, store.read), {name: load_codec(codec, store.read) for name, codec in spec.given.items()}
        given = encode_split(store, snapshot, "test", made, conditions).conditions(range(len(held["test"])))
    return TextReality(train=Passages(store, snapshot, "train"), given=given, **held)


def text_index_of(store: Store, snapshots: Sequence[Snapshot]) -> Generator[Event, None, TextOriginality]:
    """Index the training texts of some snapshots, beside the held-out ones of the first. Yields progress, returns the index."""
    named = ((sample.name, source_of(store, sample)) for snapshot in snapshots for sample in snapshot.samples("train"))
    train = ((name, found.learnt()) for name, found in named if isinstance(found, Passage))
    held_out = (passage.learnt() for passage in Passages(store, snapshots[0], "validation"))
    return (yield from build_text_index(train, held_out))


class Passages(Iterable[Passage]):
    """The texts of a split, as often as one goes through it."""

    def __init__(self, store: Store, snapshot: Snapshot, split: str) -> None:
        self.store, self.snapshot, self.split = store, snapshot, split

    def __iter__(self) -> Iterator[Passage]:
        for sample in self.snapshot.samples(self.split):
            found = source_of(self.store, sample)
            if isinstance(found, Passage):
                yield found
