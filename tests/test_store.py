"""The store keeps what it is given, says how it came about, and refuses what it cannot trust."""

import io
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from hardship import as_nobody, file_size_limit
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import update

from karat.store.store import Store
from karat.store.tables import VERSION, version, version_of
from karat.words.errors import BusyError, DamageError, KaratError, NotFoundError, StoreError


def run(code: str, *arguments: str) -> "subprocess.Popen[str]":
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen([sys.executable, "-c", textwrap.dedent(code), *arguments], env=environment, stdout=subprocess.PIPE, text=True)


@settings(max_examples=30, deadline=None)
@given(content=st.binary(max_size=4096))
def test_what_was_put_is_read_back(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    store = Store.open(tmp_path_factory.mktemp("store"))
    file = store.folder / "given"
    file.write_bytes(content)
    digests = {store.put(content), store.put(file), store.put(io.BytesIO(content))}
    assert len(digests) == 1
    (digest,) = digests
    assert store.has(digest)
    assert store.read(digest) == content == store.path(digest).read_bytes()
    assert not list(store.folder.rglob("incoming/*"))


def test_records_are_known_by_what_they_say(tmp_path: Path) -> None:
    store = Store.open(tmp_path, clock=iter(range(1000)).__next__)
    blob = store.put(b"weights")
    source = store.record("source", facts={"licence": "CC0-1.0"})
    snapshot = store.record("snapshot", made_from=[source], spec={"seed": 1})
    run_ = store.record("run", made=blob, made_from=[snapshot])
    release = store.record("release", made_from=[run_, snapshot])
    assert store.record("snapshot", made_from=[source], spec={"seed": 1}) == snapshot, "saying it twice is saying it once"
    assert store.record("snapshot", made_from=[source], spec={"seed": 2}) != snapshot
    assert [record.id for record in store.ancestry(release)] == [run_, snapshot, source]
    assert {record.kind for record in store.descendants(source)} == {"snapshot", "run", "release"}
    assert store.get(release[:8]).made_from == (run_, snapshot)
    assert [record.spec["seed"] for record in store.find("snapshot")] == [2, 1]
    assert [record.spec["seed"] for record in store.find("snapshot", newest_first=False, limit=1)] == [1]
    reopened = Store.open(tmp_path)
    assert reopened.get(run_) == store.get(run_)
    assert reopened.read(blob) == b"weights"


def test_a_record_needs_its_blob_and_its_origin(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    with pytest.raises(NotFoundError, match="no blob"):
        store.record("run", made="0" * 64)
    with pytest.raises(NotFoundError, match="made from"):
        store.record("run", made_from=["0" * 64])
    assert store.find("run") == []


def test_aliases_keep_their_history_and_roll_back(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    first, second, third = (store.record("release", facts={"number": number}) for number in range(3))
    for release in (first, second, third, third):
        store.alias("digits:live", release)
    assert store.get("digits:live").id == third
    assert [store.rollback("digits:live"), store.rollback("digits:live")] == [second, first]
    with pytest.raises(NotFoundError, match="nothing to go back to"):
        store.rollback("digits:live")
    assert [entry.record for entry in store.alias_history("digits:live")] == [first, second, third, second, first]
    assert store.aliases() == {"digits:live": first}


def test_unknown_names_are_answered_with_near_ones(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    store.alias("digits:live", store.record("release"))
    with pytest.raises(NotFoundError, match="digits:live"):
        store.get("digit:live")
    with pytest.raises(NotFoundError, match="six digits"):
        store.get("ffffffffffff")
    for name in ("", "deadbeef", "two words", "a:b:c", "../up"):
        with pytest.raises(StoreError, match="cannot be an alias"):
            store.alias(name, store.find("release")[0].id)


@pytest.mark.disk
def test_damage_is_found_on_reading(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    digest = store.put(b"one\ntwo\n")
    store.path(digest).write_bytes(b"one\ntwO\n")
    with pytest.raises(DamageError, match=r"damaged.*Restore"):
        store.read(digest)
    with pytest.raises(DamageError):
        list(store.blobs.lines(digest))
    store.path(digest).write_bytes(b"one")
    assert store.put(b"one\ntwo\n") == digest
    assert store.read(digest) == b"one\ntwo\n", "a blob cut short is written anew"


def test_a_store_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    with store._database.writing() as connection:
        connection.execute(update(version).values(version=VERSION + 1))
    with pytest.raises(StoreError, match="newer Karat"):
        Store.open(tmp_path)
    with store._database.reading() as connection:
        assert version_of(connection) == VERSION + 1


@pytest.mark.disk
def test_a_file_that_is_no_store_is_refused(tmp_path: Path) -> None:
    (tmp_path / "records.sqlite").write_bytes(b"this is no database, whatever its name says" * 100)
    with pytest.raises(StoreError, match="damaged"):
        Store.open(tmp_path)


@pytest.mark.disk
def test_a_folder_that_may_not_be_written_is_refused(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o555)
    with as_nobody(), pytest.raises(StoreError, match="permissions"):
        Store.open(closed / "store")
    (tmp_path / "file").write_text("a file")
    with pytest.raises(StoreError):
        Store.open(tmp_path / "file")
    assert not list(closed.iterdir())


@pytest.mark.disk
def test_a_full_disk_leaves_nothing_half_written(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    kept = store.record("source", facts={"name": "before"})
    with file_size_limit(1 << 16), pytest.raises(StoreError, match="disk is full"):
        store.put(bytes(1 << 20))
    with file_size_limit(1 << 12), pytest.raises(StoreError, match="disk is full"):
        store.record("run", facts={"long": "x" * (1 << 20)})
    assert not list((tmp_path / "blobs" / "incoming").iterdir())
    assert store.find("run") == []
    assert store.get(kept).facts == {"name": "before"}
    assert store.read(store.put(bytes(1 << 20))) == bytes(1 << 20)


def test_two_processes_use_one_store_at_once(tmp_path: Path) -> None:
    code = """
    import sys
    from karat.store.store import Store
    store = Store.open(sys.argv[1])
    root = store.record("source", facts={"name": "shared"})
    for number in range(40):
        blob = store.put(f"blob {number}".encode())
        mine = store.record("asset", made=blob, made_from=[root], facts={"number": number, "by": sys.argv[2]})
        store.alias("shared:live", mine)
    """
    Store.open(tmp_path).close()
    processes = [run(code, str(tmp_path), name) for name in ("one", "other")]
    assert [process.communicate()[0] or process.returncode for process in processes] == [0, 0]
    store = Store.open(tmp_path)
    assets = store.find("asset", limit=1000)
    assert len(assets) == 80
    assert len(store.find("source")) == 1
    assert {asset.facts["by"] for asset in assets} == {"one", "other"}
    history = store.alias_history("shared:live")
    assert len(history) == 80
    assert [entry.before for entry in history] == [None, *(entry.number for entry in history[:-1])]


def test_a_lock_holds_against_other_processes_and_dies_with_its_own(tmp_path: Path) -> None:
    code = """
    import sys
    from karat.store.store import Store
    with Store.open(sys.argv[1]).lock("run-7"):
        print("held", flush=True)
        import time; time.sleep(60)
    """
    store = Store.open(tmp_path)
    process = run(code, str(tmp_path))
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    with pytest.raises(BusyError, match="at work on run-7"), store.lock("run-7"):
        pass
    process.kill()
    process.communicate()
    with store.lock("run-7"):
        pass


def test_a_forked_process_opens_a_connection_of_its_own(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    store.record("source", facts={"by": "parent"})
    child = os.fork()
    if child == 0:
        try:
            store.record("source", facts={"by": "child"})
        except KaratError:
            os._exit(1)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert len(store.find("source")) == 2


def test_tables_say_their_version(tmp_path: Path) -> None:
    with Store.open(tmp_path)._database.reading() as connection:
        assert version_of(connection) == VERSION
