"""Codecs bring values there and back; rows and batches bring each sample to training once in each pass, in an order that repeats."""

import json
import math
import unicodedata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hardship import file_size_limit
from hypothesis import given as examples
from hypothesis import settings
from hypothesis import strategies as st
from test_data import imported, snapshot_of
from tiny import EXAMPLES, TEXTS, codec_of, png

from karat.material.data import rows as rows_file
from karat.material.data.batches import EncodedSplit, TrainingData, encode_split
from karat.material.data.rows import Rows, RowWriter
from karat.store.store import Store
from karat.values.augment import AugmentSpec
from karat.values.codecs.codec import Codec, codecs
from karat.values.codecs.image import ImageCodec
from karat.values.codecs.label import LabelCodec
from karat.values.codecs.numbers import NumbersCodec
from karat.values.codecs.text import TextCodec
from karat.words.errors import DataError, SpecError, StoreError
from karat.work.generation import Ready

STORIES = [
    *TEXTS,
    "The quick brown fox jumps over the lazy dog.",
    "敏捷的棕色狐狸跳过了懒狗。",
    "naïve café — “déjà vu”",
    "🦊🐋 are emoji",
] * 3
TEXT = TextCodec.fit({"length": 64, "vocab": 400}, STORIES)


def through(codec: Codec, source: Any) -> Any:
    """Give what comes back of a source."""
    return codec.decode(codec.value(torch.from_numpy(np.array(codec.encode(source)))[None])[0])


def gen(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# ---- every codec


def test_every_codec_has_an_example() -> None:
    assert set(codecs) == set(EXAMPLES)


@pytest.mark.parametrize("kind", codecs)
def test_values_lie_in_the_space_and_the_state_is_all_there_is(kind: str) -> None:
    codec = codec_of(kind)
    assert isinstance(codec, Codec)
    again = codecs[kind].load(json.loads(json.dumps(codec.state())))
    assert again.space == codec.space
    assert again.state() == codec.state()
    for source in EXAMPLES[kind][1]:
        packed = codec.encode(source)
        value = codec.value(torch.from_numpy(np.array(packed))[None])
        codec.space.check(value)
        assert np.array_equal(again.encode(source), packed)
        written = codec.write(codec.decode(value[0]))
        assert written == again.write(again.decode(value[0]))
    drawn = codec.space.random(3, gen())
    assert all(codec.write(codec.decode(value)) for value in drawn)
    with pytest.raises(SpecError, match="colour"):
        codecs[kind].fit({"colour": 1}, EXAMPLES[kind][1])
    with pytest.raises(DataError):
        codecs[kind].fit({}, [])


# ---- texts


@settings(max_examples=200, deadline=None)
@examples(st.text(max_size=40) | st.lists(st.sampled_from([*STORIES, "<end>", "\n", "\x00", " "]), max_size=3).map("".join))
def test_any_text_that_fits_comes_back_composed(text: str) -> None:
    composed = unicodedata.normalize("NFC", text)
    if TEXT.fits(text):
        assert through(TEXT, text) == composed
    else:
        assert composed.startswith(through(TEXT, text).rstrip("\ufffd"))


def test_the_length_of_texts_is_found() -> None:
    texts = ["ab" * (number % 7 + 1) for number in range(200)] + ["a very long text that only one sample has " * 9]
    codec = TextCodec.fit({"vocab": 260}, texts)
    assert codec.length == 15
    assert [codec.fits(text) for text in (texts[0], texts[6], texts[-1])] == [True, True, False]
    assert codec.encode("")[0] == 0
    assert TextCodec.fit({"vocab": 260, "length": 3}, texts).length == 3


def test_texts_are_learnt_the_same_each_time() -> None:
    assert TextCodec.fit({}, STORIES).state() == TextCodec.fit({}, STORIES).state()


def test_text_that_is_no_unicode_is_refused() -> None:
    with pytest.raises(DataError, match="half characters"):
        TEXT.encode("\ud800")


def test_a_request_that_the_text_cannot_hold_is_refused() -> None:
    ready = Ready(model=SimpleNamespace(), made=TEXT, given={"caption": TEXT})  # type: ignore[arg-type]
    assert bool(ready.conditions({"caption": "a red fox"}).keep["caption"])
    assert not bool(ready.conditions({}).keep["caption"])
    with pytest.raises(SpecError, match="longer than the 64 tokens"):
        ready.conditions({"caption": "狐" * 80})
    with pytest.raises(SpecError, match="no condition 'colour'"):
        ready.conditions({"colour": "red"})


# ---- labels and numbers


def test_a_label_never_seen_names_the_nearest() -> None:
    codec = LabelCodec.fit({}, ["狐狸", "heron", "whale", "heron"])
    assert [through(codec, name) for name in codec.names] == list(codec.names) == ["heron", "whale", "狐狸"]
    with pytest.raises(DataError, match="never seen") as caught:
        codec.encode("haron")
    assert caught.value.repair == "Did you mean 'heron'?"
    with pytest.raises(DataError, match="never seen") as caught:
        codec.encode("quartz")
    assert "heron, whale" in caught.value.repair


@settings(max_examples=100, deadline=None)
@examples(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=60))
def test_numbers_keep_their_order_and_come_back(numbers: list[float]) -> None:
    codec = NumbersCodec.fit({}, [{"n": number} for number in numbers])
    low, high = min(numbers), max(numbers)
    asked = np.linspace(low, high, 50)
    scaled = np.array([float(codec.encode({"n": number})[0]) for number in asked])
    assert bool((np.diff(scaled) >= 0).all())
    assert bool((np.abs(scaled) <= 1).all())
    back = np.array([through(codec, {"n": number})["n"] for number in asked])
    assert np.allclose(back, asked, atol=1e-4 * (high - low) + 1e-6)
    assert through(codec, {"n": high + 9})["n"] <= high + 0.5 + 1e-6


def test_numbers_that_are_none_are_refused_by_name() -> None:
    codec = NumbersCodec.fit({}, [{"a": 1.0, "b": math.nan}, {"a": 3.0, "b": 2.0}])
    for source in ({"a": 1.0}, {"a": 1.0, "b": math.nan}, {"a": 1.0, "b": math.inf}):
        with pytest.raises(DataError, match="'b'"):
            codec.encode(source)
    with pytest.raises(DataError, match="'c'"):
        NumbersCodec.fit({"names": ["c"]}, [{"a": 1.0}])


# ---- rows


@settings(max_examples=30, deadline=None)
@examples(
    st.sampled_from([np.uint8, np.int32, np.float32, np.bool_]),
    st.lists(st.integers(1, 4), max_size=3),
    st.integers(1, 9),
    st.lists(st.integers(0, 8), max_size=12),
)
def test_rows_come_back(
    tmp_path_factory: pytest.TempPathFactory, kind: type[np.generic], shape: list[int], count: int, asked: list[int]
) -> None:
    path = tmp_path_factory.mktemp("rows") / "x.npy"
    content = (np.random.default_rng(0).random((count, *shape)) * 200).astype(kind)
    with RowWriter(path, content[0]) as writer:
        for row in content:
            writer.write(row)
    wanted = [place % count for place in asked]
    assert np.array_equal(np.load(path), content)
    for limit in (rows_file.IN_MEMORY, 0):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(rows_file, "IN_MEMORY", limit)
            rows = Rows(path)
        assert len(rows) == count
        assert np.array_equal(rows.take(wanted), content[wanted])
        assert rows.take(wanted).dtype == content.dtype


def test_rows_that_are_not_finished_leave_nothing(tmp_path: Path) -> None:
    row = np.zeros(3, np.float32)
    with pytest.raises(AssertionError, match="row float64"), RowWriter(tmp_path / "x.npy", row) as writer:
        writer.write(row.astype(np.float64))
    assert not list(tmp_path.iterdir())


# ---- batches


def encoded(folder: Path, count: int) -> EncodedSplit:
    """Write a split whose pictures are their own numbers."""
    image, label = ImageCodec.fit({"size": 2, "mode": "L"}, []), codec_of("label")
    with RowWriter(folder / "made.npy", np.zeros((2, 2, 1), np.uint8)) as made:
        for number in range(count):
            made.write(np.full((2, 2, 1), number, np.uint8))
    with RowWriter(folder / "given-label.npy", label.encode("fox")) as labels:
        for number in range(count):
            labels.write(label.encode(label.names[number % 3]))
    with RowWriter(folder / "keep-label.npy", np.array(True)) as keep:
        for number in range(count):
            keep.write(np.array(number % 2 == 0))
    return EncodedSplit(folder, image, {"label": label})


def numbers_of(values: torch.Tensor) -> list[int]:
    return ((values[:, 0, 0, 0] + 1) / 2 * 255).round().long().tolist()


@settings(max_examples=20, deadline=None)
@examples(st.integers(1, 23), st.integers(1, 9), st.integers(-3, 3))
def test_each_pass_sees_each_sample_once(tmp_path_factory: pytest.TempPathFactory, count: int, size: int, seed: int) -> None:
    split = encoded(tmp_path_factory.mktemp("split"), count)
    data = TrainingData(split, split, AugmentSpec(), seed=seed)
    seen: list[int] = []
    while len(seen) < 3 * count:
        values, given = data.batch(len(seen) // size, size, gen())
        numbers = numbers_of(values)
        assert given.values["label"].tolist() == [number % 3 for number in numbers]
        assert given.keep["label"].tolist() == [number % 2 == 0 for number in numbers]
        seen += numbers
    passes = [seen[first : first + count] for first in range(0, 3 * count, count)]
    assert all(sorted(each) == list(range(count)) for each in passes)
    again = TrainingData(split, split, AugmentSpec(), seed=seed)
    for step in (5, 0, 2):
        late = numbers_of(again.batch(step, size, gen(9))[0])
        assert late[: len(seen) - step * size] == seen[step * size : (step + 1) * size]


def test_the_order_depends_on_the_seed_and_the_pass(tmp_path: Path) -> None:
    split = encoded(tmp_path, 20)
    orders = {tuple(numbers_of(TrainingData(split, split, AugmentSpec(), seed=s).batch(p, 20, gen())[0])) for s in (0, 1) for p in (0, 1)}
    assert len(orders) == 4
    whole = [number for values, _ in TrainingData(split, split, AugmentSpec(), seed=0).held_out() for number in numbers_of(values)]
    assert whole == list(range(20))


def test_augmentation_comes_from_the_step_alone(tmp_path: Path) -> None:
    split = encoded(tmp_path, 20)
    data = TrainingData(split, split, AugmentSpec(ops={"noise": 0.3}), seed=0)
    assert torch.equal(data.batch(3, 8, gen(1))[0], data.batch(3, 8, gen(1))[0])
    assert not torch.equal(data.batch(3, 8, gen(1))[0], data.batch(3, 8, gen(2))[0])


def test_a_split_is_encoded_once_and_whole_or_not_at_all(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    for name in ("fox", "heron"):
        (tmp_path / "data" / name).mkdir(parents=True)
        for number in range(9):
            (tmp_path / "data" / name / f"{number}.png").write_bytes(png(16, 28 * number + (name == "fox") * 14))
    snapshot = snapshot_of(store, imported(store, tmp_path / "data"))
    image, label = ImageCodec.fit({"size": 16}, [png(16, 3)]), LabelCodec.fit({}, snapshot.labels)
    with file_size_limit(300), pytest.raises(StoreError, match="cannot be encoded"):
        encode_split(store, snapshot, "train", image, {"label": label})
    assert not list((store.folder / "encoded").iterdir())
    first = encode_split(store, snapshot, "train", image, {"label": label})
    assert len(first) == snapshot.counts["train"]
    (folder,) = (store.folder / "encoded").iterdir()
    before = folder.stat().st_mtime_ns
    second = encode_split(store, snapshot, "train", image, {"label": label})
    assert folder.stat().st_mtime_ns == before
    assert torch.equal(first.values(range(len(first))), second.values(range(len(first))))
    without = encode_split(store, snapshot, "train", image, {"label": LabelCodec.fit({"names": ["fox"]}, [])})
    kept = without.conditions(range(len(without))).keep["label"]
    assert kept.tolist() == [sample.label == "fox" for sample in snapshot.samples("train")]
    for place, sample in enumerate(snapshot.samples("train")):
        assert label.names[int(first.conditions([place]).values["label"])] == sample.label
        assert np.array_equal(first._made.take([place])[0], image.encode(store.read(sample.blob)))
