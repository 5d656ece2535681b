"""Hostile and broken data: each gives a finding or one clear error, and leaves nothing half-written."""

import os
import struct
import unicodedata
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from hardship import as_nobody, file_size_limit
from PIL import Image

from karat.material.data.checks import check_sources
from karat.material.data.importing import ImportOptions, import_source
from karat.material.data.looking import Lookers
from karat.material.data.policy import CheckPolicy
from karat.material.data.samples import Sample, samples_of
from karat.material.data.snapshots import Snapshot, SnapshotSpec, make_snapshot
from karat.material.data.sources import readable
from karat.store.store import Store
from karat.words.errors import BusyError, DamageError, DataError, SpecError, StoreError
from karat.words.events import Event, Finding, Finished


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "store")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


def picture(seed: int) -> Image.Image:
    blots = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), np.uint8)
    return Image.fromarray(blots).resize((32, 32), Image.Resampling.BICUBIC)


def imported(store: Store, place: Path) -> list[Sample]:
    *_, last = import_source(store, place)
    assert isinstance(last, Finished)
    return list(samples_of(store, last.result))


def checked(store: Store, place: Path) -> dict[str, tuple[str, str]]:
    """Import and check a place; give for each sample its one finding."""
    *_, last = import_source(store, place)
    assert isinstance(last, Finished)
    events: list[Event] = list(check_sources(store, [last.result]))
    found = [event for event in events if isinstance(event, Finding)]
    assert len({finding.sample for finding in found}) == len(found)
    assert all(finding.repair for finding in found)
    return {finding.sample: (finding.check, finding.message) for finding in found}


def bomb(width: int, height: int) -> bytes:
    """Make a small PNG that unfolds to width x height pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    packing = zlib.compressobj(9)
    row = bytes(1 + width // 8)
    rows = b"".join(packing.compress(row) for _ in range(min(height, 2000))) + packing.flush()
    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def test_an_empty_folder_is_refused(store: Store, folder: Path) -> None:
    with pytest.raises(DataError, match="holds neither pictures nor texts"):
        list(import_source(store, folder))
    (folder / "notes.xyz").write_text("none")
    with pytest.raises(DataError, match=r"1 of \.xyz"):
        list(import_source(store, folder))
    with pytest.raises(DataError, match="There is no file or folder"):
        list(import_source(store, folder / "gone"))
    with pytest.raises(DataError, match=r"1 of \.xyz"):
        list(import_source(store, folder / "notes.xyz"))
    assert store.find("source") == []


def test_one_picture_is_a_snapshot_with_a_warning(store: Store, folder: Path) -> None:
    picture(0).save(folder / "only.png")
    *_, last = import_source(store, folder)
    assert isinstance(last, Finished)
    events = list(make_snapshot(store, SnapshotSpec(sources=(last.result,))))
    assert next(event.message for event in events if event.kind == "warned").startswith("Too few samples")
    assert isinstance(events[-1], Finished)
    assert Snapshot.open(store, events[-1].result).counts == {"train": 1, "validation": 0, "test": 0, "judge": 0}


def test_broken_files_are_findings(store: Store, folder: Path) -> None:
    picture(0).save(folder / "good.png")
    (folder / "zero.png").write_bytes(b"")
    whole = (folder / "good.png").read_bytes()
    (folder / "truncated.png").write_bytes(whole[: len(whole) // 2])
    picture(1).save(folder / "whole.jpg")
    (folder / "truncated.jpg").write_bytes((folder / "whole.jpg").read_bytes()[:-200])
    (folder / "text.png").write_text("This is no picture. 这不是图片。", encoding="utf-8")
    (folder / "noise.webp").write_bytes(np.random.default_rng(0).bytes(3000))
    (folder / "bomb.png").write_bytes(bomb(50_000, 50_000))
    found = checked(store, folder)
    assert {name: check for name, (check, _) in found.items()} == {
        "zero.png": "empty",
        "truncated.png": "truncated",
        "truncated.jpg": "truncated",
        "text.png": "unreadable",
        "noise.webp": "unreadable",
        "bomb.png": "bomb",
    }
    assert "text" in found["text.png"][1]
    assert "50000 x 50000" in found["bomb.png"][1]


def test_nothing_is_left_when_all_is_broken(store: Store, folder: Path) -> None:
    (folder / "zero.png").write_bytes(b"")
    *_, last = import_source(store, folder)
    assert isinstance(last, Finished)
    with pytest.raises(DataError, match="No sample is left"):
        list(make_snapshot(store, SnapshotSpec(sources=(last.result,))))
    assert store.find("snapshot") == []


def test_files_that_cannot_be_opened_are_findings(store: Store, folder: Path) -> None:
    picture(0).save(folder / "open.png")
    (folder / "dangling.png").symlink_to(folder / "gone.png")
    (folder / "loop.png").symlink_to(folder / "loop.png")
    assert {name: check for name, (check, _) in checked(store, folder).items()} == {"dangling.png": "unreadable", "loop.png": "unreadable"}
    picture(1).save(folder / "gone.png")
    assert {name: check for name, (check, _) in checked(store, folder).items()} == {"gone.png": "exact-duplicate", "loop.png": "unreadable"}


def test_a_looker_that_dies_takes_only_its_file_with_it(tmp_path: Path) -> None:
    good = tmp_path / "good.png"
    picture(0).save(good)
    with Lookers(1) as lookers:
        lookers.ask([good, good])
        lookers._processes[0].kill()
        seen = lookers.answer()
        assert [facts.get("width") for facts, _ in seen] in ([32, 32], [None, 32])
        lookers.ask([good])
        assert lookers.answer()[0][0]["width"] == 32


def test_strange_names_are_kept_and_told_apart(store: Store, folder: Path) -> None:
    raw = os.fsencode(folder)
    for number, name in enumerate(
        ("图片 一.png".encode(), "图片 二.png".encode("gb18030"), b"\xff\xfe\x00.png".replace(b"\0", b"\x81"), b"a\nb.png")
    ):
        picture(number).save(open(os.path.join(raw, name), "wb"), "PNG")  # noqa: SIM115
    picture(8).save(folder / unicodedata.normalize("NFC", "é.png"))
    picture(9).save(folder / unicodedata.normalize("NFD", "é.png"))
    names = [sample.name for sample in imported(store, folder)]
    assert names[-2:] == ["图片 一.png", "图片 二.png"]
    assert {"é.png", "é.png (2)", "a\nb.png"} < set(names)
    assert len(names) == len(set(names)) == 6
    assert readable("名".encode("gb18030")) == "名"


def test_duplicate_names_in_a_zip_are_both_kept(store: Store, tmp_path: Path) -> None:
    for number in range(2):
        picture(number).save(tmp_path / f"{number}.png")
    with zipfile.ZipFile(tmp_path / "twice.zip", "w") as packed:
        packed.write(tmp_path / "0.png", "a.png")
        with pytest.warns(UserWarning, match="Duplicate name"):
            packed.write(tmp_path / "1.png", "a.png")
    samples = imported(store, tmp_path / "twice.zip")
    assert [sample.name for sample in samples] == ["a.png", "a.png (2)"]
    assert samples[0].blob != samples[1].blob


def test_chinese_names_in_an_old_zip_are_read(store: Store, tmp_path: Path) -> None:
    picture(0).save(tmp_path / "x.png")
    with zipfile.ZipFile(tmp_path / "old.zip", "w") as packed:
        packed.write(tmp_path / "x.png", "####.png")
    content = (tmp_path / "old.zip").read_bytes()
    (tmp_path / "old.zip").write_bytes(content.replace(b"####.png", "照片".encode("gb18030") + b".png"))
    assert [sample.name for sample in imported(store, tmp_path / "old.zip")] == ["照片.png"]


@pytest.mark.parametrize("name", ["../up.png", "/root.png", "a/../../b.png", "C:\\x.png", "..\\up.png"])
def test_a_zip_that_points_outside_is_refused(store: Store, tmp_path: Path, name: str) -> None:
    with zipfile.ZipFile(tmp_path / "slip.zip", "w") as packed:
        packed.writestr(name, b"x")
    with pytest.raises(DataError, match="points outside"):
        list(import_source(store, tmp_path / "slip.zip"))


def test_a_zip_bomb_is_refused(store: Store, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("a.png", bytes(1 << 20))
    content = bytearray((tmp_path / "bomb.zip").read_bytes())
    unfolds_to = content.index(b"PK\x01\x02") + 24
    content[unfolds_to : unfolds_to + 4] = struct.pack("<I", 3 << 30)
    (tmp_path / "bomb.zip").write_bytes(content)
    with pytest.raises(DataError, match="zip bombs"):
        list(import_source(store, tmp_path / "bomb.zip"))


def test_a_damaged_zip_is_refused_or_found(store: Store, tmp_path: Path) -> None:
    picture(0).save(tmp_path / "x.png")
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as packed:
        packed.write(tmp_path / "x.png", "x.png")
        packed.write(tmp_path / "x.png", "y.png")
    content = bytearray((tmp_path / "x.zip").read_bytes())
    content[200] ^= 0xFF
    (tmp_path / "x.zip").write_bytes(content)
    assert {name: check for name, (check, _) in checked(store, tmp_path / "x.zip").items()} == {"x.png": "unreadable"}
    (tmp_path / "x.zip").write_bytes(content[:100])
    with pytest.raises(DataError, match="cannot be read as a zip file"):
        list(import_source(store, tmp_path / "x.zip"))


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("metadata.jsonl", b'{"file_name": "a.png"}\n{"file_name": ', "line 2, is no JSON"),
        ("metadata.jsonl", b'["a.png"]', "line 1, holds no object"),
        ("metadata.jsonl", b'{"file_name": "a.png", "size": NaN}', "NaN is no number"),
        ("metadata.jsonl", b'{"text": "no file"}', "No row of metadata.jsonl names a file"),
        ("metadata.jsonl", b'{"file_name": "a.png", "text": "\\ud800"}', "line 1, is no JSON"),
        ("metadata.jsonl", b"\xff" * 20, "is no text in UTF-8"),
        ("metadata.csv", b"file_name,text\na.png", "has 1 columns in place of 2"),
        ("metadata.csv", b"file_name,text,text\na.png,b,c", "names a column twice"),
        ("metadata.csv", b'file_name,text\na.png,"open', "is no CSV"),
    ],
)
def test_broken_metadata_is_refused_with_its_line(store: Store, folder: Path, name: str, content: bytes, said: str) -> None:
    picture(0).save(folder / "a.png")
    (folder / name).write_bytes(content)
    with pytest.raises(DataError, match=said):
        list(import_source(store, folder))
    assert store.find("source") == []


def test_metadata_may_not_point_outside(store: Store, folder: Path) -> None:
    picture(0).save(folder / "a.png")
    picture(1).save(folder.parent / "secret.png")
    (folder / "metadata.jsonl").write_text('{"file_name": "../secret.png", "text": "x"}\n{"file_name": "a.png", "text": "y"}')
    events = list(import_source(store, folder))
    assert [event.sample for event in events if isinstance(event, Finding)] == ["../secret.png"]


def test_a_full_disk_stops_the_import_and_it_goes_on_later(store: Store, folder: Path) -> None:
    for number in range(3):
        picture(number).resize((400, 400)).save(folder / f"{number}.png")
    with file_size_limit(1 << 12), pytest.raises(StoreError, match="disk is full"):
        list(import_source(store, folder))
    assert store.find("source") == []
    assert not list((store.folder / "blobs" / "incoming").iterdir())
    assert len(imported(store, folder)) == 3


def test_a_store_that_may_not_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o555)
    with as_nobody(), pytest.raises(StoreError, match="permissions"):
        Store.open(tmp_path / "closed" / "store")


def test_a_damaged_list_of_samples_is_found(store: Store, folder: Path) -> None:
    picture(0).save(folder / "a.png")
    *_, last = import_source(store, folder)
    assert isinstance(last, Finished)
    made = store.get(last.result).made
    assert made is not None
    store.path(made).write_bytes(store.read(made).replace(b"a.png", b"b.png"))
    with pytest.raises(DamageError, match="damaged"):
        list(make_snapshot(store, SnapshotSpec(sources=(last.result,))))
    assert store.find("snapshot") == []


def test_one_folder_is_imported_by_one_process_at_a_time(store: Store, folder: Path) -> None:
    picture(0).save(folder / "a.png")
    running = import_source(store, folder)
    next(running)
    with pytest.raises(BusyError, match="at work"):
        list(import_source(store, folder))
    list(running)


def test_specs_that_make_no_sense_are_refused(store: Store, folder: Path) -> None:
    picture(0).save(folder / "a.png")
    *_, last = import_source(store, folder, options=ImportOptions(name="pets"))
    assert isinstance(last, Finished)
    with pytest.raises(SpecError, match="given twice"):
        list(make_snapshot(store, SnapshotSpec(sources=(last.result, last.result[:9]))))
    with pytest.raises(SpecError, match="no check called 'ugly'"):
        CheckPolicy.from_values({"drop": ["ugly"]})
    with pytest.raises(SpecError, match="nothing to learn from"):
        SnapshotSpec.from_values({"sources": ["a"], "fractions": {"train": 0}})
    with pytest.raises(DataError, match="no source"):
        list(check_sources(store, [store.record("run")]))
