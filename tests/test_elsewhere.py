"""A store in PostgreSQL and S3: what is particular to them, their failures in words, and moving there and back."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from elsewhere import Place
from hardship import file_size_limit
from shell import Shell
from sqlalchemy import select

from karat.store import tables
from karat.store.database import Database
from karat.store.files import SeenFile
from karat.store.moving import move
from karat.store.s3 import Bucket, S3Blobs
from karat.store.store import Store
from karat.words.errors import BusyError, DamageError, NotFoundError, StoreError


@pytest.fixture
def url(buckets: str) -> str:
    """Give the URL of a place in a bucket that nobody used."""
    return str(Place(bucket=buckets).fresh().blobs)


def client(url: str) -> Any:
    import boto3

    return boto3.client("s3", endpoint_url=Bucket.of(url).endpoint)


def test_a_blob_is_kept_in_the_bucket_as_in_a_folder(url: str, tmp_path: Path) -> None:
    blobs = S3Blobs(url, tmp_path / "one")
    digest = blobs.put(b"picture")
    assert digest == hashlib.sha256(b"picture").hexdigest()
    assert list(blobs.digests()) == [digest]
    key = f"{Bucket.of(url).prefix}/{digest[:2]}/{digest[2:]}"
    assert client(url).get_object(Bucket="karat", Key=key)["Body"].read() == b"picture"
    other = S3Blobs(url, tmp_path / "other")
    assert other.has(digest)
    assert other.holds(digest, 7)
    assert not other.holds(digest, 8)
    assert other.path(digest).read_bytes() == b"picture"
    assert other.part(digest, 2, 3) == b"ctu"
    with pytest.raises(NotFoundError):
        other.read("0" * 64)


def test_what_was_not_sent_counts_as_missing_and_is_sent_when_put_again(url: str, tmp_path: Path) -> None:
    killed = S3Blobs(url, tmp_path)
    digest = killed.put(b"half way", wait=False)
    assert killed.path(digest).read_bytes() == b"half way", "whoever put it may read it"
    again = S3Blobs(url, tmp_path)
    assert not again.has(digest)
    assert not again.holds(digest, 8)
    assert list(again.digests()) == []
    assert again.put(b"half way") == digest
    assert again.has(digest)
    assert list(again.digests()) == [digest]


def test_blobs_are_sent_together_when_they_are_settled(url: str, tmp_path: Path) -> None:
    blobs = S3Blobs(url, tmp_path)
    put = [blobs.put(str(number).encode(), wait=False) for number in range(40)]
    assert not any(map(blobs.has, put))
    blobs.settle()
    assert list(S3Blobs(url, tmp_path / "other").digests()) == sorted(put)
    blobs.remove(put[:39])
    assert list(S3Blobs(url, tmp_path / "other").digests()) == put[39:]
    assert not blobs.has(put[0])


def test_damage_in_the_bucket_is_found_and_keeps_out_of_the_cache(url: str, tmp_path: Path) -> None:
    digest = S3Blobs(url, tmp_path / "one").put(b"true")
    client(url).put_object(Bucket="karat", Key=Bucket.of(url).key(digest), Body=b"false")
    other = S3Blobs(url, tmp_path / "other")
    for _ in range(2):
        with pytest.raises(DamageError, match="in the bucket karat"):
            other.read(digest)
    assert not (tmp_path / "other" / digest[:2]).exists()


def test_a_full_disk_says_so_and_leaves_nothing(url: str, tmp_path: Path) -> None:
    digest = S3Blobs(url, tmp_path / "one").put(bytes(1 << 20))
    other = S3Blobs(url, tmp_path / "other")
    with file_size_limit(1 << 16), pytest.raises(StoreError, match="disk is full"):
        other.read(digest)
    assert not list((tmp_path / "other" / "incoming").iterdir())
    assert len(other.read(digest)) == 1 << 20


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("s3://nobody-has-this?endpoint={}", "There is not the bucket nobody-has-this"),
        ("s3://karat?endpoint=http://127.0.0.1:1", "Cannot reach the bucket karat at http://127.0.0.1:1"),
        ("s3://karat?profile=nobody&endpoint={}", "profile"),
        ("s3://karat?endpont={}", "it says endpont"),
        ("https://karat", "it is no bucket"),
    ],
)
def test_a_bucket_that_cannot_be_used_says_so(url: str, tmp_path: Path, wrong: str, said: str) -> None:
    with pytest.raises(StoreError, match=said):
        S3Blobs(wrong.format(Bucket.of(url).endpoint), tmp_path).has("0" * 64)
    with pytest.raises(StoreError, match=said):
        S3Blobs(wrong.format(Bucket.of(url).endpoint), tmp_path).put(b"bytes")


def test_a_wrong_key_says_so(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(StoreError, match=r"Unable to locate credentials.*AWS_ACCESS_KEY_ID"):
        S3Blobs(url, tmp_path).put(b"bytes")


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("postgresql://karat@127.0.0.1:1/karat", "cannot be reached"),
        ("postgresql://karat:secret@/karat?host=/nowhere", "cannot be reached"),
        ("mysql://karat@localhost/karat", "such a database: mysql"),
        ("karat", "such a database: no URL"),
    ],
)
def test_a_database_that_cannot_be_used_says_so(wrong: str, said: str) -> None:
    with pytest.raises(StoreError, match=said) as refused:
        Database(wrong)
    assert "secret" not in str(refused.value)


def test_a_server_that_refuses_says_why(database: str) -> None:
    with pytest.raises(StoreError, match=r"no such database.*createdb"):
        Database(database.replace("/postgres", "/nothing"))
    with pytest.raises(StoreError, match=r"does not know this user.*createuser"):
        Database(database.replace("karat@", "nobody-knows-me@"))
    import psycopg

    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("DROP DATABASE IF EXISTS ascii")
        connection.execute("CREATE DATABASE ascii ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0")
    with pytest.raises(StoreError, match=r"keeps its texts as SQL_ASCII.*UTF8"):
        Database(database.replace("/postgres", "/ascii"))


def test_a_connection_that_was_cut_is_made_anew(database: str, tmp_path: Path) -> None:
    import psycopg

    with Place(database).chosen():
        store = Store.open(tmp_path)
        kept = store.record("source")
        with psycopg.connect(database, autocommit=True) as connection:
            connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'karat'")
        assert store.get(kept).id == kept
        assert store.record("source", facts={"after": True})


def test_texts_are_whole_and_in_the_order_of_code_points(database: str, tmp_path: Path) -> None:
    names = ["Z", "a", "\u00e9", "\U0001f98a", "B", "z", "\uffff", "_", "1", "10", "2"]
    with Place(database).chosen():
        store = Store.open(tmp_path)
        store.files.see("here", "scan", [SeenFile(name.encode(), name, 1, "s") for name in names])
        assert [file.name for file in store.files.all("here", "scan")] == sorted(names)
        long = store.record("source", facts={"name": "x" * 5_000, "zero": "a\0b"})
        assert store.get(long).facts == {"name": "x" * 5_000, "zero": "a\0b"}
        with pytest.raises(NotFoundError):
            store.get("a\0b")


def test_readers_see_one_state_and_change_nothing(database: str, tmp_path: Path) -> None:
    with Place(database).chosen():
        store, other = Store.open(tmp_path), Store.open(tmp_path)
        with store._database.reading() as connection:
            assert connection.scalar(select(tables.records.c.id)) is None
            other.record("source")
            assert connection.scalar(select(tables.records.c.id)) is None
        with pytest.raises(StoreError, match="may not be written"), store._database.reading() as connection:
            connection.execute(tables.records.delete())


def test_a_store_moves_there_and_back(done: Shell, database: str, url: str) -> None:
    before = Store.open(done.store)
    records, aliases = before.find("asset", limit=1_000), before.aliases()
    blobs = list(before.blobs.digests())
    before.close()
    there = Place(database).fresh().changed(blobs=url)
    done.well("move", "--database", there.database, "--blobs", there.blobs)
    assert "there already" in done.refused("move", "--database", there.database)
    store = Store.open(done.store)
    assert isinstance(store.blobs, S3Blobs)
    assert (store.find("asset", limit=1_000), store.aliases()) == (records, aliases)
    assert list(store.blobs.digests()) == blobs
    added = store.record("asset", made=store.put(b"new"), made_from=[store.get("shapes:live").id])
    store.close()
    done.well("generate", "shapes:live", "-n", "1", "--seed", "77", "-o", done.folder / "again")
    assert (done.folder / "again").exists()
    done.well("move", "--database", "folder", "--blobs", "folder")
    back = Store.open(done.store)
    assert {record.id for record in records} | {added} < {record.id for record in back.find("asset", limit=1_000)}
    assert set(blobs) < set(back.blobs.digests())
    assert back.read(back.get(added).made or "") == b"new"
    assert back.record("asset", facts={"number": "follows"})
    assert (done.store / "records.sqlite.moved").exists()
    assert (done.store / "blobs.moved").exists()


def test_a_store_that_is_in_use_does_not_move(database: str, tmp_path: Path) -> None:
    Store.open(tmp_path).close()
    code = "import sys; from karat.store.store import Store; store = Store.open(sys.argv[1]); print('open', flush=True); sys.stdin.read()"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"open\n"
        with pytest.raises(BusyError, match="open"):
            list(move(tmp_path, Place(database).fresh()))
        other.communicate()
    assert not (tmp_path / "store.yaml").exists()
    list(move(tmp_path, Place(database).fresh()))


def test_records_do_not_mix_with_others(database: str, tmp_path: Path) -> None:
    taken = Place(database).fresh()
    for name in ("one", "other"):
        store = Store.open(tmp_path / name)
        store.record("source", facts={"name": name})
        store.close()
    list(move(tmp_path / "one", taken))
    with pytest.raises(StoreError, match="records already"):
        list(move(tmp_path / "other", taken))
    assert Store.open(tmp_path / "other").find("source")[0].facts == {"name": "other"}


@pytest.mark.parametrize("said", ["database: postgresql://karat@/karat", "blobs: s3://karat"])
def test_a_store_does_not_lose_sight_of_what_its_folder_holds(tmp_path: Path, said: str) -> None:
    Store.open(tmp_path).close()
    (tmp_path / "store.yaml").write_text(said)
    with pytest.raises(StoreError, match=r"names another place.*karat move"):
        Store.open(tmp_path)


def test_new_rows_follow_those_that_were_copied(database: str, tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    for number in range(5):
        store.record("source", facts={"number": number})
    store.close()
    list(move(tmp_path, Place(database).fresh()))
    again = Store.open(tmp_path)
    again.record("source", facts={"number": 5})
    assert [record.facts["number"] for record in again.find("source", limit=2)] == [5, 4]
