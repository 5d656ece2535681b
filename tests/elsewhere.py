"""PostgreSQL and S3 for tests: a server of Debian's package in a folder of its own, and moto's in this process.

While a place other than the disk is chosen, each new store lies there: in a schema and under a prefix of its own.
"""

import os
import pwd
import shutil
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import pytest

from karat.store.moving import move
from karat.store.store import Store
from karat.store.whereabouts import FILE, Whereabouts

GIVEN = "KARAT_TEST_DATABASE"
"""The URL of a database of PostgreSQL for tests to use, in place of a server of their own."""
WHILE_WE_LIVE = '"$@" & read _; kill -QUIT $!; wait'
"""A shell that ends a server at once when this process does, however it ends: then nobody writes to the shell any more."""
USUAL = Store.__dict__["open"]


class Place:
    """Where the stores of a test lie. `database` gives the URL of a new schema, `bucket` that of a new prefix; None: in the folder."""

    def __init__(self, database: str | None = None, bucket: str | None = None) -> None:
        self.database, self.bucket = database, bucket

    def fresh(self, prefix: str | None = None) -> Whereabouts:
        """Give a new empty place, but for the blobs where a prefix is named."""
        name = f"karat_{uuid.uuid4().hex[:12]}"
        database = blobs = None
        if self.database is not None:
            import psycopg

            with psycopg.connect(self.database) as connection:
                connection.execute(f"CREATE SCHEMA {name}")  # type: ignore[arg-type]
            database = f"{self.database}{'&' if '?' in self.database else '?'}options=-csearch_path%3D{name}"
        if self.bucket is not None:
            where, _, options = self.bucket.partition("?")
            blobs = f"{where}/{prefix or name}?{options}"
        return Whereabouts(database=database, blobs=blobs)

    def carry(self, folder: Path) -> None:
        """Move a copy of a store here; the blobs of all its copies are sent once."""
        if self.database is not None or self.bucket is not None:
            for _ in move(folder, self.fresh("copies")):
                pass

    @contextmanager
    def chosen(self) -> Iterator[Self]:
        """Let every store that is made in this block lie here. Those that were opened are closed at its end."""
        opened: list[Store] = []

        def open_here(kind: type[Store], path: Path | str, **options: Any) -> Store:
            folder = Path(path)
            if not folder.is_file() and not any((folder / name).exists() for name in (FILE, "records.sqlite")):
                folder.mkdir(parents=True, exist_ok=True)
                (folder / FILE).write_text(self.fresh().model_dump_json(exclude_none=True))
            opened.append(USUAL.__func__(kind, folder, **options))
            return opened[-1]

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Store, "open", classmethod(open_here))
            yield self
        for store in opened:
            store.close()


@contextmanager
def on_disk() -> Iterator[None]:
    """Let stores lie in their folders again, within a test of another place."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Store, "open", USUAL)
        yield


@contextmanager
def postgres() -> Iterator[str]:
    """Run a server of PostgreSQL and give the URL of a database on it. Skips the test where there is none."""
    if GIVEN in os.environ:
        yield os.environ[GIVEN]
        return
    versions = [*Path("/usr/lib/postgresql").glob("*/bin/initdb"), *filter(None, [shutil.which("initdb")])]
    if not versions:
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
    programs = max(map(Path, versions), key=lambda path: path.parts[-3].zfill(3)).parent
    with tempfile.TemporaryDirectory(prefix="karat-pg-") as name:
        folder, user = Path(name), _unprivileged()
        if user:
            os.chown(folder, user["user"], user["group"])
        quiet: dict[str, Any] = {"cwd": folder, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, **user}
        made = ["--pgdata", "data", "--username", "karat", "--auth", "trust", "--encoding", "UTF8", "--locale", "C.UTF-8", "--no-sync"]
        subprocess.run([programs / "initdb", *made], check=True, **quiet)
        options = ["listen_addresses=", f"unix_socket_directories={folder}", "fsync=off", "max_connections=300"]
        words = [programs / "postgres", "-D", "data", *(word for each in options for word in ("-c", each))]
        server = subprocess.Popen(["sh", "-c", WHILE_WE_LIVE, "sh", *words], stdin=subprocess.PIPE, **quiet)
        try:
            url = f"postgresql://karat@/postgres?host={folder}"
            _wait_for(url)
            yield url
        finally:
            server.communicate()


def _unprivileged() -> dict[str, int]:
    """Give the user to run PostgreSQL as: it refuses to run as root."""
    if os.geteuid() != 0:
        return {}
    names = {each.pw_name for each in pwd.getpwall()}
    user = pwd.getpwnam("postgres" if "postgres" in names else "nobody")
    return {"user": user.pw_uid, "group": user.pw_gid}


def _wait_for(url: str) -> None:
    import psycopg

    for _ in range(600):
        try:
            psycopg.connect(url).close()
            return
        except psycopg.OperationalError:
            time.sleep(0.05)
    raise AssertionError("PostgreSQL did not answer within 30 seconds")


@contextmanager
def bucket() -> Iterator[str]:
    """Run a server that speaks as S3 does and give the URL of a bucket on it."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test"), ("AWS_DEFAULT_REGION", "us-east-1")):
            patch.setenv(name, value)
        endpoint = "http://{}:{}".format(*server.get_host_and_port())
        boto3.client("s3", endpoint_url=endpoint).create_bucket(Bucket="karat")
        yield f"s3://karat?endpoint={endpoint}"
    server.stop()
