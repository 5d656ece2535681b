"""A release opens only when it is whole, unchanged, signed and of a known version; its form and the way it is read make no difference."""

import json
import os
import resource
import stat
import struct
import subprocess
import sys
import zipfile
from multiprocessing import get_context
from pathlib import Path

import pytest
import safetensors.torch
import torch
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from karat.material.releases import Card, Figure, Lineage, Release, SigningKey, read_lineage, write_release
from karat.material.releases.archive import Entry, layout, read_entries
from karat.material.releases.manifest import read_manifest
from karat.store.store import Store
from karat.values.tensors import Shape, TensorFile, shapes_of, tensor_bytes
from karat.words.errors import DataError, ReleaseError
from karat.words.specs import canonical

WEIGHTS = {
    "net.weight": torch.arange(12, dtype=torch.float32).reshape(3, 4),
    "net.half": torch.arange(5).to(torch.bfloat16),
    "net.none": torch.zeros(0, 3),
    "steps": torch.tensor(7),
}
PARTS = {
    "model.safetensors": tensor_bytes(WEIGHTS),
    "spec.json": json.dumps({"family": "diffusion", "labels": ["零", "one"]}).encode(),
    "card.md": "# 数字\n".encode(),
    "empty.txt": b"",
}
FORMS = ["release", "release.karat"]


@pytest.fixture(scope="module")
def key(tmp_path_factory) -> SigningKey:
    return SigningKey.at(tmp_path_factory.mktemp("keys"))


@pytest.fixture(params=FORMS)
def release(request, tmp_path, key) -> Path:
    path = tmp_path / request.param
    write_release(path, PARTS, key=key, facts={"title": "digits"})
    return path


def refused(path: Path, match: str | None, **options) -> None:
    with pytest.raises(ReleaseError, match=match) as caught:
        Release.open(path, **options)
    assert caught.value.repair


def test_what_is_written_is_read(release, key):
    opened = Release.open(release, trusted_keys={key.id})
    assert opened.signer == key.id
    assert opened.facts == {"title": "digits"}
    assert opened.names == sorted(PARTS)
    assert {name: opened.read(name) for name in opened.names} == PARTS
    assert opened.json("spec.json")["labels"] == ["零", "one"]
    tensors = opened.tensors()
    assert sorted(tensors) == sorted(WEIGHTS)
    for name, tensor in WEIGHTS.items():
        assert tensors[name].dtype == tensor.dtype
        assert torch.equal(tensors[name], tensor)
    for ask in (opened.read, opened.tensors):
        with pytest.raises(ReleaseError, match="no part"):
            ask("report.html")


def test_same_parts_same_bytes_same_digest_in_both_forms(tmp_path, key):
    digests = {write_release(tmp_path / name, PARTS, key=key) for name in ("a", "b.karat", "c.karat")}
    shuffled = dict(reversed(PARTS.items()))
    digests.add(write_release(tmp_path / "d.karat", shuffled, key=key))
    assert len(digests) == 1
    assert len({(tmp_path / f"{name}.karat").read_bytes() for name in "bcd"}) == 1
    assert Release.open(tmp_path / "a").digest == Release.open(tmp_path / "b.karat").digest == digests.pop()
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_saving_in_the_other_form_and_back_gives_the_same_bytes(tmp_path, key):
    first = tmp_path / "first.karat"
    write_release(first, PARTS, key=key)
    Release.open(first).save(tmp_path / "folder")
    Release.open(tmp_path / "folder").save(tmp_path / "again.karat")
    assert (tmp_path / "again.karat").read_bytes() == first.read_bytes()


def test_parts_may_come_from_files(tmp_path, key):
    (tmp_path / "weights").write_bytes(PARTS["model.safetensors"])
    from_files = {**PARTS, "model.safetensors": tmp_path / "weights"}
    assert write_release(tmp_path / "a.karat", from_files, key=key) == write_release(tmp_path / "b", PARTS, key=key)
    with pytest.raises(ReleaseError, match="cannot be read"):
        write_release(tmp_path / "c.karat", {"spec.json": tmp_path / "none"}, key=key)


def test_any_zip_program_can_read_the_file(tmp_path, key):
    write_release(tmp_path / "a.karat", PARTS, key=key)
    with zipfile.ZipFile(tmp_path / "a.karat") as archive:
        assert archive.testzip() is None
        assert archive.read("card.md") == PARTS["card.md"]
        archive.extractall(tmp_path / "unpacked")
    assert Release.open(tmp_path / "unpacked").digest == Release.open(tmp_path / "a.karat").digest


@pytest.fixture(scope="module")
def whole(tmp_path_factory, key) -> Path:
    path = tmp_path_factory.mktemp("whole") / "a.karat"
    write_release(path, PARTS, key=key)
    return path


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1, exclude_max=True), change=st.integers(1, 255))
def test_any_changed_byte_of_a_file_is_refused(whole, tmp_path, key, place, change):
    raw = bytearray(whole.read_bytes())
    raw[int(place * len(raw))] ^= change
    (tmp_path / "changed.karat").write_bytes(raw)
    refused(tmp_path / "changed.karat", None, trusted_keys={key.id})


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1, exclude_max=True))
def test_a_file_cut_anywhere_is_refused(whole, tmp_path, place):
    raw = whole.read_bytes()
    (tmp_path / "cut.karat").write_bytes(raw[: int(place * len(raw))])
    refused(tmp_path / "cut.karat", None)


def test_a_file_with_something_before_or_after_it_is_refused(whole, tmp_path):
    for number, raw in enumerate((b"\0" + whole.read_bytes(), whole.read_bytes() + b"\0", whole.read_bytes() * 2)):
        (tmp_path / f"{number}.karat").write_bytes(raw)
        refused(tmp_path / f"{number}.karat", None)


@pytest.mark.parametrize("part", [*(name for name, content in PARTS.items() if content), "manifest.json", "signature.json"])
def test_any_changed_part_of_a_folder_is_refused(tmp_path, key, part):
    path = tmp_path / "release"
    write_release(path, PARTS, key=key)
    raw = (path / part).read_bytes()
    for place in {0, len(raw) // 3, len(raw) // 2, len(raw) - 1}:
        (path / part).write_bytes(raw[:place] + bytes([raw[place] ^ 1]) + raw[place + 1 :])
        refused(path, None, trusted_keys={key.id})
    (path / part).write_bytes(raw[:-1])
    refused(path, None)
    (path / part).write_bytes(raw + b" ")
    refused(path, None)
    (path / part).write_bytes(raw)
    Release.open(path)


def test_missing_extra_and_unsigned(tmp_path, key):
    path = tmp_path / "release"
    write_release(path, PARTS, key=key)
    (path / "card.md").rename(tmp_path / "card.md")
    refused(path, "lacks its part 'card.md'")
    (tmp_path / "card.md").rename(path / "card.md")
    (path / "notes.txt").write_text("by the way")
    refused(path, "'notes.txt' that nobody signed")
    (path / "notes.txt").unlink()
    (path / "signature.json").rename(tmp_path / "signature.json")
    refused(path, r"no signature\.json")
    (path / "manifest.json").unlink()
    refused(path, r"no manifest\.json")
    refused(tmp_path / "nothing", "cannot be read")
    os.mkfifo(tmp_path / "pipe")
    refused(tmp_path / "pipe", "neither a folder nor a file")
    (tmp_path / "text.karat").write_text("hello " * 10)
    refused(tmp_path / "text.karat", "no release")
    (tmp_path / "zero.karat").write_bytes(b"")
    refused(tmp_path / "zero.karat", "no release")


def test_links_folders_and_strange_names_in_a_folder(tmp_path, key):
    for name, spoil, match in (
        ("link", lambda path: path.joinpath("more.txt").symlink_to("/etc/hostname"), "is a link"),
        ("folder", lambda path: path.joinpath("more").mkdir(), "no file"),
        ("hidden", lambda path: path.joinpath(".hidden.json").write_text("{}"), "outside"),
        ("code", lambda path: path.joinpath("model.pkl").write_bytes(b"\x80\x04."), "holds no files like"),
        ("case", lambda path: path.joinpath("CARD.md").write_text(""), "no name for a part"),
    ):
        path = tmp_path / name
        write_release(path, PARTS, key=key)
        spoil(path)
        refused(path, match)
    swapped = tmp_path / "swapped"
    write_release(swapped, PARTS, key=key)
    (swapped / "card.md").rename(tmp_path / "card.md")
    (swapped / "card.md").symlink_to(tmp_path / "card.md")
    refused(swapped, "is a link")


def zip_of(path: Path, *members: tuple[str, bytes, int, int]) -> Path:
    """A zip file of (name, content, mode, method) as other programs write it."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, content, mode, method in members:
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            info.create_system = 3
            info.date_time = (2024, 2, 29, 12, 0, 0)
            archive.writestr(info, content, method)
    return path


def test_dangerous_zip_files_are_refused(tmp_path, whole):
    plain = stat.S_IFREG | 0o644
    refused(zip_of(tmp_path / "up.karat", ("../evil.txt", b"x", plain, 0)), "outside the release")
    refused(zip_of(tmp_path / "root.karat", ("/etc/evil.txt", b"x", plain, 0)), "outside the release")
    refused(zip_of(tmp_path / "windows.karat", ("..\\evil.txt", b"x", plain, 0)), "outside the release")
    refused(zip_of(tmp_path / "link.karat", ("card.md", b"/etc/passwd", stat.S_IFLNK | 0o777, 0)), "is a link")
    refused(zip_of(tmp_path / "bomb.karat", ("model.safetensors", b"\0" * 5_000_000, plain, zipfile.ZIP_DEFLATED)), "is compressed")
    with pytest.warns(UserWarning, match="Duplicate"):
        refused(zip_of(tmp_path / "twice.karat", ("a.txt", b"1", plain, 0), ("a.txt", b"2", plain, 0)), "there twice")
    refused(zip_of(tmp_path / "many.karat", *((f"a{i}.txt", b"", plain, 0) for i in range(100))), None)
    with zipfile.ZipFile(whole) as archive:
        members = [(name, archive.read(name), plain, 0) for name in archive.namelist()]
    refused(zip_of(tmp_path / "packed.karat", *members), "packed again")


def test_parts_over_four_gigabytes_are_laid_out_as_zip64(tmp_path):
    entries = [Entry("a.txt", 5, 1), Entry("model.safetensors", 5 << 30, 2), Entry("z.json", 7, 3)]
    laid = layout(entries)
    path = tmp_path / "big.karat"
    with path.open("wb") as file:  # full of holes, so that it takes no room
        for header, start in zip(laid.headers, laid.starts, strict=True):
            file.seek(start - len(header))
            file.write(header)
        file.seek(laid.tail_start)
        file.write(laid.tail)
    with zipfile.ZipFile(path) as archive:
        assert [(info.filename, info.file_size, info.CRC) for info in archive.infolist()] == entries
    with path.open("rb") as file:

        def read(start: int, length: int) -> bytes:
            file.seek(start)
            return file.read(length)

        assert read_entries(read, path.stat().st_size) == (entries, laid)


def resigned(path: Path, key: SigningKey, **changes) -> None:
    """Change a folder release's manifest and sign it again, as a newer Karat or a careless maker would."""
    raw = canonical({**json.loads((path / "manifest.json").read_bytes()), **changes})
    (path / "manifest.json").write_bytes(raw)
    (path / "signature.json").write_bytes(canonical(key.sign(raw).model_dump(mode="json")))


def test_versions(tmp_path, key):
    path = tmp_path / "release"
    write_release(path, PARTS, key=key)
    resigned(path, key, version="1.7", more_than_we_know=[1])
    assert Release.open(path).read("card.md") == PARTS["card.md"]
    resigned(path, key, version="2.0")
    refused(path, "format version '2.0'")
    resigned(path, key, version="1.0", parts=[{"name": "../../evil.txt", "sha256": "0" * 64, "size": 0}])
    refused(path, "outside the release")
    resigned(path, key, format="something else")
    refused(path, "does not describe a release")
    resigned(path, key, format="karat release", parts=[{"name": "a.txt", "sha256": "0", "size": -1}])
    refused(path, "manifest is damaged")
    for raw in (b"", b"[" * 100_000, b"[]", b"\xff"):
        with pytest.raises(ReleaseError):
            read_manifest(raw)


def test_who_signed_matters(tmp_path, key):
    path = tmp_path / "release"
    write_release(path, PARTS, key=key)
    other = SigningKey.at(tmp_path / "other")
    refused(path, "not trusted here", trusted_keys={other.id})
    refused(path, "not trusted here", trusted_keys=[])
    raw = (path / "manifest.json").read_bytes()
    forged = other.sign(raw).changed(key_id=key.id)
    (path / "signature.json").write_bytes(canonical(forged.model_dump(mode="json")))
    refused(path, "signature does not fit", trusted_keys={key.id})
    stolen = key.sign(b"another manifest")
    (path / "signature.json").write_bytes(canonical(stolen.model_dump(mode="json")))
    refused(path, "signature does not fit")
    assert not stolen.changed(public_key="zz").vouches_for(b"another manifest")
    assert stolen.vouches_for(b"another manifest")


def test_a_release_is_never_overwritten(release, key):
    before = Release.open(release).digest
    with pytest.raises(ReleaseError, match="exists already"):
        write_release(release, {"spec.json": b"{}"}, key=key)
    assert Release.open(release).digest == before
    assert len(list(release.parent.iterdir())) == 1


@pytest.mark.parametrize("form", FORMS)
def test_a_full_disk_leaves_nothing_behind(tmp_path, key, form):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        with pytest.raises(ReleaseError, match="cannot be written"):
            write_release(tmp_path / form, {"model.safetensors": tensor_bytes({"a": torch.zeros(10_000)})}, key=key)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").write_text("")
    with pytest.raises(ReleaseError, match="cannot be written"):
        write_release(tmp_path / "file" / form, PARTS, key=key)


def test_names_that_are_no_parts(tmp_path, key):
    for name in ("../a.txt", "a/b.txt", "manifest.json", "signature.json", "model.pt", "A.md", "noending", "", "…", "a..md"):
        with pytest.raises(ReleaseError):
            write_release(tmp_path / "release", {name: b""}, key=key)
    assert not list(tmp_path.iterdir())


def test_a_release_changed_while_it_is_open_is_noticed(release):
    opened = Release.open(release)
    touched = release if release.is_file() else release / "model.safetensors"
    state = touched.stat()
    os.utime(touched, ns=(state.st_atime_ns, state.st_mtime_ns + 1_000_000))
    with pytest.raises(ReleaseError, match="while it was in use"):
        opened.tensors()["steps"]
    touched.unlink()
    with pytest.raises(ReleaseError, match="cannot be read"):
        opened.read("model.safetensors")


def test_tensors_are_compared_with_what_the_spec_asks_for(release):
    opened = Release.open(release)
    right = shapes_of(WEIGHTS)
    opened.check_tensors("model.safetensors", right)
    wrong_shape = {**right, "net.weight": Shape("F32", (4, 3))}
    wrong_type = {**right, "net.weight": Shape("F16", (3, 4))}
    missing = {**right, "net.bias": Shape("F32", (3,))}
    extra = {name: shape for name, shape in right.items() if name != "steps"}
    for expected, match in ((wrong_shape, r"F32 \[3, 4\].*F32 \[4, 3\]"), (wrong_type, "F16"), (missing, "net.bias"), (extra, "steps")):
        with pytest.raises(ReleaseError, match=match):
            opened.check_tensors("model.safetensors", expected)
    with pytest.raises(ReleaseError, match="cannot be read"):
        opened.tensors("card.md")
    with pytest.raises(ReleaseError, match="not JSON"):
        opened.json("card.md")


def test_tensors_are_read_only_when_asked_for():
    raw, asked = tensor_bytes(WEIGHTS), []

    def read(start: int, length: int) -> bytes:
        asked.append(length)
        return raw[start : start + length]

    file = TensorFile(read, len(raw))
    header = sum(asked)
    assert file.shapes == shapes_of(WEIGHTS)
    assert len(file) == 4
    assert torch.equal(file["net.weight"], WEIGHTS["net.weight"])
    assert sum(asked) == header + 48
    assert safetensors.torch.load(raw).keys() == file.keys()
    shared = torch.zeros(3)
    assert tensor_bytes({"a": shared, "b": shared, "c": shared[1:]}) == tensor_bytes(
        {"c": torch.zeros(2), "b": torch.zeros(3), "a": shared}
    )


@settings(max_examples=200, deadline=None)
@given(place=st.integers(0, 400), change=st.integers(1, 255), cut=st.integers(0, 40))
def test_damaged_tensor_files_are_data_errors_or_read_whole(place, change, cut):
    raw = bytearray(tensor_bytes(WEIGHTS))
    raw[place % len(raw)] ^= change
    raw = raw[: len(raw) - cut]
    try:
        file = TensorFile(lambda start, length: bytes(raw[start : start + length]), len(raw))
        assert cut == 0
        assert all(file[name].numel() >= 0 for name in file)
    except DataError:
        pass


@pytest.mark.parametrize(
    "entry",
    [
        {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]},
        {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": ["1"], "data_offsets": [0, 4]},
        {"dtype": "C64", "shape": [1], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [1], "data_offsets": [0]},
        {"dtype": "F32", "shape": 1, "data_offsets": [0, 4]},
        [1],
    ],
)
def test_impossible_tensor_headers(entry):
    header = json.dumps({"a": entry}).encode()
    raw = struct.pack("<Q", len(header)) + header + bytes(4)
    with pytest.raises(DataError):
        TensorFile(lambda start, length: raw[start : start + length], len(raw))


def make_key(folder: Path) -> str:
    return SigningKey.at(folder).id


def test_a_key_is_made_once_and_only_its_owner_reads_it(tmp_path):
    with get_context("fork").Pool(4) as pool:
        assert len(set(pool.map(make_key, [tmp_path / "keys"] * 8))) == 1
    (path,) = (tmp_path / "keys").iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o640)
    with pytest.raises(ReleaseError, match="Others can read") as caught:
        SigningKey.at(tmp_path / "keys")
    assert "chmod 600" in caught.value.repair
    path.chmod(0o600)
    path.write_text("rubbish")
    with pytest.raises(ReleaseError, match="no unencrypted key"):
        SigningKey.at(tmp_path / "keys")
    with pytest.raises(ReleaseError, match="cannot be used"):
        SigningKey.at(path)


def test_lineage_holds_the_chain_and_shows_changes(tmp_path):
    store = Store.open(tmp_path / "store")
    emoji = store.record("source", facts={"name": "emoji", "licence": "OFL-1.1"})
    scans = store.record("source", facts={"name": "扫描"})
    snapshot = store.record("snapshot", made_from=[emoji, scans], facts={"train": 100})
    run = store.record("run", made_from=[snapshot], spec={"steps": 1000, "rate": 3e-4})
    lineage = Lineage.of([store.get(run), *store.ancestry(run)])
    assert lineage.licences == {"OFL-1.1": ["emoji"], "unknown": ["扫描"]}
    written = json.loads(json.dumps(lineage.value()))
    assert read_lineage(written) == lineage
    assert {record.id for record in lineage.records} == {emoji, scans, snapshot, run}
    assert lineage.records[-1].id == run
    with pytest.raises(ReleaseError, match="lacks the record"):
        Lineage.of([store.get(run)])
    changed = json.loads(json.dumps(written))
    changed["records"][0]["facts"]["licence"] = "CC0-1.0"
    with pytest.raises(ReleaseError, match="was changed"):
        read_lineage(changed)
    with pytest.raises(ReleaseError, match="was made from"):
        read_lineage({"records": written["records"][1:]})
    for rubbish in (None, {}, {"records": [1]}):
        with pytest.raises(ReleaseError, match="cannot be read"):
            read_lineage(rubbish)


def test_the_card_has_front_matter_that_yaml_reads():
    card = Card(
        title='数字: a "test"',
        summary="Handwritten digits.",
        licence="apache-2.0",
        languages=("en", "zh"),
        tags=("image", "no"),
        task="unconditional-image-generation",
        figures=(Figure(name="FD", value=1.5, low=1.2, high=1.9, data="held-out digits"), Figure(name="originality", value=0.98)),
        sections={"Uses": "Drawing | digits.\n"},
    )
    text = card.to_markdown()
    _, front, body = text.split("---\n", 2)
    read = yaml.safe_load(front)
    assert read["license"] == "apache-2.0"
    assert read["language"] == ["en", "zh"]
    assert read["tags"] == ["image", "no"]
    assert read["model-index"][0]["name"] == card.title
    assert read["model-index"][0]["results"][0]["metrics"] == [{"type": "fd", "name": "FD", "value": 1.5}]
    assert "| FD | 1.5 | 1.2 … 1.9 | held-out digits |" in body
    assert "## Uses" in body
    assert Card(title="t").to_markdown().startswith("---\nlicense:")


def test_opening_takes_no_torch(release):
    code = (
        "import sys; from pathlib import Path; from karat.material.releases import Release; "
        "Release.open(Path(sys.argv[1])); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code, release], cwd=Path(__file__).parent.parent).returncode == 0
