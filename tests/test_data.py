"""From a folder to a snapshot: what is imported, that nothing leaks between the splits, and that nothing is lost silently."""

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from karat.material.data.checks import Survey, check_sources, surveyed
from karat.material.data.groups import alone, join_keys, join_pairs
from karat.material.data.importing import ImportOptions, import_source
from karat.material.data.likeness import hashes, near_groups
from karat.material.data.metadata import described, metadata_rows
from karat.material.data.policy import REPAIRS, CheckPolicy
from karat.material.data.preview import contact_sheet
from karat.material.data.samples import Sample, samples_of
from karat.material.data.showing import show
from karat.material.data.snapshots import Snapshot, SnapshotSpec, make_snapshot
from karat.material.data.split import SPLIT_NAMES, Fractions, split
from karat.store.store import Store
from karat.words.errors import DataError, SpecError
from karat.words.events import Event, Finding, Finished

EMOJI = Path(__file__).parent.parent.parent / "shared" / "data" / "emoji"
TONES = frozenset(("1f3fb", "1f3fc", "1f3fd", "1f3fe", "1f3ff"))


def drawn(seed: int, *, size: int = 48) -> Image.Image:
    """Draw a picture that looks like no other: soft blots of random colours."""
    blots = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), np.uint8)
    return Image.fromarray(blots).resize((size, size), Image.Resampling.BICUBIC)


def write_pictures(folder: Path, count: int, *, first: int = 0) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{number:05}.png" for number in range(first, first + count)]
    for number, path in enumerate(paths, first):
        drawn(number).save(path)
    return paths


def ended(events: Sequence[Event]) -> Finished:
    assert isinstance(events[-1], Finished)
    return events[-1]


def imported(store: Store, folder: Path, **options: object) -> str:
    return ended(list(import_source(store, folder, options=ImportOptions.from_values(options)))).result


def snapshot_of(store: Store, *sources: str, **values: object) -> Snapshot:
    events = list(make_snapshot(store, SnapshotSpec.from_values({"sources": sources, **values})))
    return Snapshot.open(store, ended(events).result)


def places(snapshot: Snapshot) -> dict[str, str]:
    return {sample.name: split for split in SPLIT_NAMES for sample in snapshot.samples(split)}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "store")


def test_class_folders_become_labels(tmp_path: Path, store: Store) -> None:
    write_pictures(tmp_path / "data" / "train" / "cat", 2)
    write_pictures(tmp_path / "data" / "test" / "dog", 1, first=9)
    (tmp_path / "data" / "LICENSE").write_text("\nCC0 1.0 Universal\nno rights reserved\n")
    (tmp_path / "data" / "notes.md").write_text("# notes")
    events = list(import_source(store, tmp_path / "data", options=ImportOptions(origin="https://example.org/pets")))
    samples = list(samples_of(store, ended(events).result))
    assert [(sample.name, sample.label, sample.facts["split"]) for sample in samples] == [
        ("test/dog/00009.png", "dog", "test"),
        ("train/cat/00000.png", "cat", "train"),
        ("train/cat/00001.png", "cat", "train"),
    ]
    assert samples[0].facts == {"split": "test", "width": 48, "height": 48, "mode": "RGB", "format": "PNG"}
    assert {sample.licence for sample in samples} == {"CC0 1.0 Universal"}
    record = store.get(ended(events).result)
    assert record.spec["origin"] == "https://example.org/pets"
    assert b"no rights" in store.read(record.spec["licence_text"])
    assert any("1 of .md" in event.message for event in events if event.kind == "warned")
    assert len({sample.id for sample in samples}) == 3
    assert store.read(samples[0].blob).startswith(b"\x89PNG")


def test_metadata_becomes_captions_numbers_labels_and_groups(tmp_path: Path, store: Store) -> None:
    folder = tmp_path / "data"
    write_pictures(folder / "images", 3)
    rows = [
        {"file_name": "images/00000.png", "text": "a blot", "text_zh": "墨迹", "group": "ada", "weight": 2.5, "extra": ["kept"]},
        {"file_name": "images/00001.png", "caption": "more", "kind": "soft", "license": "CC-BY-4.0", "count": 3},
        {"file_name": "images/gone.png", "text": "nothing"},
        {"file_name": "images/00000.png", "text": "a second row"},
    ]
    (folder / "metadata.jsonl").write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8")
    (folder / "images" / "00002.txt").write_text("by its name\n")
    events = list(import_source(store, folder, options=ImportOptions(columns={"kind": "label"}, licence="CC0-1.0")))
    first, second, third = samples_of(store, ended(events).result)
    assert first.captions == {"text": "a second row"}
    assert (second.captions, second.label, second.numbers, second.licence) == ({"text": "more"}, "soft", {"count": 3.0}, "CC-BY-4.0")
    assert third.captions == {"text": "by its name"}
    assert third.licence == "CC0-1.0"
    found = [(event.check, event.sample) for event in events if isinstance(event, Finding)]
    assert found == [("missing-row", "images/gone.png"), ("repeated-row", "images/00000.png")]


def test_csv_and_hugging_face_folders(tmp_path: Path, store: Store) -> None:
    for split_name, first in (("train", 0), ("test", 5)):
        paths = write_pictures(tmp_path / "data" / split_name, 2, first=first)
        lines = ["file_name,label,text,size,code", *(f'{path.name},{path.stem},"a, {path.stem}",{first}.5,x{first}' for path in paths)]
        (tmp_path / "data" / split_name / "metadata.csv").write_text("\r\n".join(lines), encoding="utf-8-sig")
    samples = list(samples_of(store, imported(store, tmp_path / "data")))
    assert [sample.label for sample in samples] == ["00005", "00006", "00000", "00001"]
    assert samples[0].captions == {"text": "a, 00005"}
    assert samples[0].numbers == {"size": 5.5}
    assert samples[0].facts["code"] == "x5"
    assert samples[0].facts["split"] == "test"


def test_a_zip_holds_the_same_samples_as_its_folder(tmp_path: Path, store: Store) -> None:
    paths = write_pictures(tmp_path / "data" / "a", 3) + write_pictures(tmp_path / "data" / "乙", 2, first=7)
    (paths[0].with_suffix(".txt")).write_text("first")
    with zipfile.ZipFile(tmp_path / "data.zip", "w") as packed:
        for path in sorted((tmp_path / "data").rglob("*.*")):
            packed.write(path, path.relative_to(tmp_path / "data"))
    folder, packed_ = (list(samples_of(store, imported(store, tmp_path / name))) for name in ("data", "data.zip"))
    assert [sample.name for sample in folder] == ["a/00000.png", "a/00001.png", "a/00002.png", "乙/00007.png", "乙/00008.png"]
    own = {"source", "id"}
    assert [sample.model_dump(exclude=own) for sample in folder] == [sample.model_dump(exclude=own) for sample in packed_]


def test_a_second_import_reads_only_what_has_changed(tmp_path: Path, store: Store) -> None:
    paths = write_pictures(tmp_path / "data", 6)
    first = imported(store, tmp_path / "data")
    events = list(import_source(store, tmp_path / "data"))
    assert ended(events).result == first
    assert not [event for event in events if event.kind == "progress"]
    drawn(99).save(paths[2])
    paths[3].unlink()
    second = list(samples_of(store, imported(store, tmp_path / "data")))
    before = list(samples_of(store, first))
    assert [sample.name for sample in second] == [sample.name for sample in before if sample.name != "00003.png"]
    assert [sample.name for sample in second if sample.blob not in {old.blob for old in before}] == ["00002.png"]


def test_a_killed_import_goes_on_and_ends_the_same(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    for label in ("a", "b"):
        write_pictures(folder / label, 400, first=ord(label) * 1000)
    code = """
import sys
from pathlib import Path
from karat.material.data.importing import import_source
from karat.store.store import Store
for event in import_source(Store.open(sys.argv[1]), Path(sys.argv[2])):
    print(event.model_dump_json(), flush=True)
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", code, str(tmp_path / "killed"), str(folder)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if json.loads(line).get("done", 0) > 600:
                process.send_signal(signal.SIGKILL)
                break
    killed = Store.open(tmp_path / "killed")
    assert not killed.find("source"), "it was killed before its end"
    events = list(import_source(killed, folder))
    went_on = [event.done for event in events if event.kind == "progress"]
    assert min(went_on) > 256, "what was kept is not read again"
    whole = Store.open(tmp_path / "whole")
    source = imported(whole, folder)
    assert ended(events).result == source
    assert snapshot_of(killed, source).id == snapshot_of(whole, source).id
    assert all(killed.read(sample.blob) for sample in samples_of(killed, source))


def plant(folder: Path) -> dict[str, str]:
    """Write pictures, and copies of some of them that a split must not part from them; give what each copy is of."""
    of = {}
    for number, path in enumerate(write_pictures(folder, 120)):
        picture = Image.open(path)
        if number < 12:
            (folder / f"copy-{path.name}").write_bytes(path.read_bytes())
            of[f"copy-{path.name}"] = path.name
        elif number < 24:
            picture.save(folder / f"resaved-{path.stem}.jpg", quality=70)
            of[f"resaved-{path.stem}.jpg"] = path.name
        elif number < 36:
            picture.resize((31, 31), Image.Resampling.LANCZOS).save(folder / f"resized-{path.name}")
            of[f"resized-{path.name}"] = path.name
        elif number < 48:
            ImageOps.mirror(picture).save(folder / f"mirrored-{path.stem}.webp", quality=80)
            of[f"mirrored-{path.stem}.webp"] = path.name
    rows = [{"file_name": f"{number:05}.png", "group": f"sitter {number % 4}"} for number in range(60, 84)]
    (folder / "metadata.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    return of


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_planted_leaks_never_straddle_the_split(tmp_path: Path, store: Store, seed: int) -> None:
    of = plant(tmp_path / "data")
    source = imported(store, tmp_path / "data")
    snapshot = snapshot_of(store, source, seed=seed, policy={"drop": []})
    where = places(snapshot)
    assert len(where) == 168
    assert {copy: where[copy] for copy in of} == {copy: where[original] for copy, original in of.items()}
    for sitter in range(4):
        assert len({where[f"{number:05}.png"] for number in range(60, 84) if number % 4 == sitter}) == 1
    assert all(snapshot.counts[name] > 0 for name in SPLIT_NAMES)


def test_every_drop_stands_in_the_ledger(tmp_path: Path, store: Store) -> None:
    of = plant(tmp_path / "data")
    (tmp_path / "data" / "zero.png").write_bytes(b"")
    Image.new("RGB", (4, 4)).save(tmp_path / "data" / "small.png")
    source = imported(store, tmp_path / "data")
    snapshot = snapshot_of(store, source, policy={"drop": [*CheckPolicy().drop, "near-duplicate"]})
    ledger = {left.name: left.check for left in snapshot.ledger()}
    everything = {sample.name for sample in samples_of(store, source)}
    assert everything == set(ledger) | set(places(snapshot))
    assert not set(ledger) & set(places(snapshot))
    checks = Counter(ledger.values())
    assert checks == {"exact-duplicate": 12, "near-duplicate": 36, "empty": 1, "too-small": 1}
    assert len(of) == 48
    assert all(left.message for left in snapshot.ledger())
    assert snapshot.record.facts["left_out"] == len(ledger)


def test_a_snapshot_is_known_by_what_it_holds(tmp_path: Path) -> None:
    write_pictures(tmp_path / "data" / "a", 20)
    write_pictures(tmp_path / "data" / "b", 20, first=50)
    one, other = Store.open(tmp_path / "one"), Store.open(tmp_path / "other")
    source = imported(one, tmp_path / "data")
    assert imported(other, tmp_path / "data") == source
    snapshot = snapshot_of(one, source, seed=3)
    assert snapshot_of(other, source[:12], seed=3).id == snapshot.id
    assert snapshot_of(one, source, seed=4).id != snapshot.id
    assert [list(snapshot.samples(name)) for name in SPLIT_NAMES] == [
        list(Snapshot.open(other, snapshot.id).samples(name)) for name in SPLIT_NAMES
    ]
    assert snapshot.record.made_from == (source,)
    assert snapshot.labels == ["a", "b"]
    assert sum(snapshot.counts.values()) == 40
    assert list(snapshot.counts) == list(SPLIT_NAMES)
    with pytest.raises(SpecError, match="no split called"):
        next(snapshot.samples("holdout"))
    with pytest.raises(DataError, match="no snapshot"):
        Snapshot.open(one, source)


def test_checks_find_what_is_wrong_and_say_how_to_repair_it(tmp_path: Path, store: Store) -> None:
    folder = tmp_path / "data"
    write_pictures(folder / "many", 44)
    write_pictures(folder / "few", 3, first=100)
    Image.new("RGB", (48, 48), "red").save(folder / "few" / "blank.png")
    drawn(7).resize((300, 20)).save(folder / "many" / "wide.png")
    (folder / "few" / "other-label.png").write_bytes((folder / "many" / "00001.png").read_bytes())
    (folder / "many" / "00001.txt").write_text("captioned")
    events = list(check_sources(store, [imported(store, folder)], policy=CheckPolicy(max_imbalance=5)))
    found = [event for event in events if isinstance(event, Finding)]
    assert {finding.check: finding.sample for finding in found if finding.check not in ("missing-caption", "near-duplicate")} == {
        "blank": "few/blank.png",
        "odd-aspect": "many/wide.png",
        "label-conflict": "many/00001.png",
        "exact-duplicate": "many/00001.png",
        "class-imbalance": "label few",
    }
    assert all(finding.repair == REPAIRS[finding.check] for finding in found)
    figures = ended(events).figures
    assert figures["findings"] == len(found)
    assert figures["left_out"] == 1
    assert figures["samples"] == 50


@settings(max_examples=50, deadline=None)
@given(
    labels=st.lists(st.sampled_from("abc"), min_size=1, max_size=200),
    size=st.integers(1, 9),
    seed=st.integers(0, 5),
)
def test_splits_keep_groups_whole_and_shares_near(labels: list[str], size: int, seed: int) -> None:
    groups = np.arange(len(labels)) // size
    given_ = split(groups, labels, fractions=Fractions(), seed=seed)
    assert all(len(set(given_[groups == group].tolist())) == 1 for group in set(groups.tolist()))
    assert (given_ == split(groups, labels, fractions=Fractions(), seed=seed)).all()
    assert (given_ == 0).any(), "there is always something to learn from"
    counts = np.bincount(given_, minlength=4)
    assert (abs(counts - Fractions().shares() * len(labels)) <= 3 * size).all()


def test_splits_are_even_within_each_label() -> None:
    labels = [str(number % 10) for number in range(1800)]
    given_ = split(np.arange(1800), labels, fractions=Fractions(), seed=0)
    for label in set(labels):
        inside = np.bincount([place for place, own in zip(given_.tolist(), labels, strict=True) if own == label], minlength=4)
        assert (abs(inside - Fractions().shares() * 180) <= 3).all()


def test_joining_names_each_group_by_its_first_sample() -> None:
    assert join_pairs(alone(6), [(4, 5), (1, 4), (3, 2)]).tolist() == [0, 1, 2, 2, 1, 1]
    assert join_keys(alone(5), ["a", None, None, "a", "b"]).tolist() == [0, 1, 2, 0, 4]


def test_near_duplicates_of_many_alike_need_no_memory_for_their_pairs() -> None:
    print_ = np.asarray(drawn(1, size=16).convert("L"))
    noise = np.random.default_rng(0).integers(0, 2, (3000, 16, 16), np.uint8)
    prints = np.clip(print_.astype(int) + noise, 0, 255).astype(np.uint8)
    *_, (done, groups) = near_groups(prints, np.full(3000, 64), distance=0.07)
    assert done == 3000
    assert (groups == 0).all(), "what truly is one picture stays together, crowd or not"
    assert hashes(prints, np.arange(3000)).shape == (3000,)


def test_digits_are_not_each_others_duplicates(tmp_path: Path, store: Store) -> None:
    from sklearn.datasets import load_digits

    (tmp_path / "data").mkdir()
    for number, digit in enumerate(load_digits().images[:600]):
        Image.fromarray((digit * 255 / 16).astype(np.uint8)).save(tmp_path / "data" / f"{number:04}.png")
    survey = Survey(CheckPolicy())
    list(surveyed(store, [imported(store, tmp_path / "data")], survey))
    sizes = Counter(survey.groups().tolist()).values()
    assert sum(size for size in sizes if size > 1) <= 12
    assert not survey.dropped


@pytest.mark.skipif(not EMOJI.exists(), reason="the emoji are not here")
def test_skin_tones_stay_together(tmp_path: Path, store: Store) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    for path in sorted((EMOJI / "images").glob("1f4*")) + sorted((EMOJI / "images").glob("1f64*")):
        (folder / path.name).symlink_to(path)
    survey = Survey(CheckPolicy())
    list(surveyed(store, [imported(store, folder)], survey))
    parts: dict[str, list[int]] = {}
    for name, group in zip(survey.names, survey.groups().tolist(), strict=True):
        parts.setdefault("-".join(part for part in Path(name).stem.split("-") if part not in TONES), []).append(group)
    variants = [groups for groups in parts.values() if len(groups) > 1]
    together = sum(Counter(groups).most_common(1)[0][1] for groups in variants) / sum(map(len, variants))
    assert len(variants) > 30
    assert together > 0.97
    assert max(Counter(survey.groups().tolist()).values()) < 0.2 * len(survey.ids)


def test_a_contact_sheet_shows_pictures_with_captions() -> None:
    pictures = [(drawn(number, size=8 if number % 2 else 200), f"{number} 图片 with a long caption") for number in range(11)]
    sheet = contact_sheet(pictures, columns=4, cell=64, title="Digits")
    assert sheet.width == 4 * 70 + 6
    assert sheet.height > 3 * 64
    once_more = contact_sheet(pictures, columns=4, cell=64, title="Digits")
    assert sheet.tobytes() == once_more.tobytes()
    assert len(set(map(tuple, np.asarray(sheet.crop((6, 26, 70, 90))).reshape(-1, 3).tolist()))) > 20, (
        "there is a picture in the first cell"
    )
    assert contact_sheet([]).size[0] > 0


rows_ = st.lists(
    st.dictionaries(
        st.sampled_from(["text", "text_zh", "label", "group", "size", "note", "caption"]),
        st.one_of(
            st.text(max_size=20), st.integers(-(10**6), 10**6), st.floats(allow_nan=False, allow_infinity=False), st.none(), st.booleans()
        ),
    ),
    max_size=8,
)


@settings(max_examples=80, deadline=None)
@given(rows=rows_)
def test_metadata_rows_survive_being_written_and_read(rows: list[dict[str, object]]) -> None:
    written = "\n".join(json.dumps(row) for row in rows).encode()
    read = [row for _, row in metadata_rows("metadata.jsonl", lambda: io.BytesIO(written))]
    assert read == rows
    for row in rows:
        file, said = described({"file_name": "a.png", **row}, {})
        assert file == "a.png"
        Sample(id="", source="", name="a.png", blob="", **said)


@settings(max_examples=150, deadline=None)
@given(content=st.binary(max_size=300), name=st.sampled_from(["metadata.jsonl", "metadata.csv"]))
def test_any_bytes_as_metadata_are_read_or_refused(content: bytes, name: str) -> None:
    with contextlib.suppress(DataError):
        for _, row in metadata_rows(name, lambda: io.BytesIO(content)):
            described(row, {})


def test_showing_adds_up_what_a_source_and_a_snapshot_hold(tmp_path: Path, store: Store) -> None:
    paths = write_pictures(tmp_path / "data" / "a", 12) + write_pictures(tmp_path / "data" / "b", 13, first=30)
    (tmp_path / "data" / "b" / "zero.png").write_bytes(b"")
    paths[0].with_suffix(".txt").write_text("a caption")
    source = imported(store, tmp_path / "data", licence="CC0-1.0", origin="drawn here")
    of_source = show(store, source)
    assert of_source.counts == {"all": 26}
    assert of_source.labels == {"all": {"a": 12, "b": 14}}
    assert (of_source.origins, of_source.licences, of_source.captions) == (("drawn here",), ("CC0-1.0",), {"text": 1})
    of_snapshot = show(store, snapshot_of(store, source).id, examples=3)
    assert of_snapshot.counts == snapshot_of(store, source).counts
    assert of_snapshot.left_out == {"empty": 1}
    assert [sum(of.values()) for of in of_snapshot.labels.values()] == list(of_snapshot.counts.values())
    assert len(of_snapshot.examples) == 3


def save_as(picture: Image.Image, path: Path, kind: str) -> None:
    grey = np.asarray(picture.convert("L"))
    match kind:
        case "sixteen bits":
            Image.fromarray(grey.astype(np.uint16) * 257).save(path.with_suffix(".png"))
        case "floats":
            Image.fromarray(grey.astype(np.float32) / 255).save(path.with_suffix(".tiff"))
        case "palette":
            picture.quantize(128).save(path.with_suffix(".png"))
        case "cmyk":
            picture.convert("CMYK").save(path.with_suffix(".tiff"))
        case "alpha":
            picture.convert("RGBA").save(path.with_suffix(".webp"), lossless=True)
        case "turned":
            exif = Image.Exif()
            exif[0x0112] = 6
            picture.transpose(Image.Transpose.ROTATE_90).save(path.with_suffix(".jpg"), quality=95, exif=exif)
        case "gif":
            picture.save(path.with_suffix(".gif"))


@pytest.mark.parametrize("kind", ["sixteen bits", "floats", "palette", "cmyk", "alpha", "turned", "gif"])
def test_a_picture_is_its_own_near_duplicate_in_any_form(tmp_path: Path, store: Store, kind: str) -> None:
    path = write_pictures(tmp_path / "data", 1)[0]
    wide = drawn(0).resize((64, 48))
    wide.save(path)
    save_as(wide, tmp_path / "data" / "other", kind)
    source = imported(store, tmp_path / "data")
    survey = Survey(CheckPolicy())
    list(surveyed(store, [source], survey))
    assert survey.groups().tolist() == [0, 0]
    assert [(sample.facts["width"], sample.facts["height"]) for sample in samples_of(store, source)] == [(64, 48), (64, 48)]


@pytest.mark.disk
def test_a_blob_that_was_deleted_is_kept_anew(tmp_path: Path, store: Store) -> None:
    write_pictures(tmp_path / "data", 3)
    source = imported(store, tmp_path / "data")
    lost, cut, _ = samples_of(store, source)
    store.path(lost.blob).unlink()
    store.path(cut.blob).write_bytes(store.read(cut.blob)[:50])
    assert imported(store, tmp_path / "data") == source
    assert all(store.read(sample.blob) for sample in samples_of(store, source))


def test_import_can_be_stopped_between_steps(tmp_path: Path, store: Store) -> None:
    write_pictures(tmp_path / "data", 100)
    events = import_source(store, tmp_path / "data")
    for event in events:
        if event.kind == "progress":
            events.close()  # type: ignore[attr-defined]
            break
    assert not store.find("source")
    began = time.monotonic()
    assert store.get(imported(store, tmp_path / "data")).facts["samples"] == 100
    assert time.monotonic() - began < 20
