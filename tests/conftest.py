"""Fixtures that more than one test file uses, and where the stores of tests lie.

Each worker runs on one thread: the threads of several workers on few cores would only wait for each other.
"""

import os
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from elsewhere import Place, bucket, on_disk, postgres
from shell import QUICK, TINY, Shell, draw_shapes

STORED = {
    "test_store": ("disk", "postgres", "s3"),
    "test_queue": ("disk", "postgres"),
    "test_assets": ("disk", "postgres"),
    **{f"test_{name}": ("disk", "postgres s3") for name in ("costs", "http", "repeating", "serving", "verdicts", "webhooks")},
}
"""The files whose tests run again on stores that lie elsewhere, but for those marked `disk`."""
CHOSEN = "KARAT_TEST_PLACE"
"""The one place for the stores of all tests, as in `KARAT_TEST_PLACE="postgres s3" pytest tests`."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    places = (os.environ[CHOSEN],) if CHOSEN in os.environ else STORED.get(metafunc.module.__name__, ())
    if places and not metafunc.definition.get_closest_marker("disk"):
        metafunc.parametrize("place", places, indirect=True, scope="module")


@pytest.fixture(scope="session")
def database() -> Iterator[str]:
    with postgres() as url:
        yield url


@pytest.fixture(scope="session")
def buckets() -> Iterator[str]:
    with bucket() as url:
        yield url


@pytest.fixture(scope="module", autouse=True)
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    """Let the stores of a test lie where its parameter says: `disk`, `postgres`, `s3`, or both of them."""
    wanted = getattr(request, "param", "disk").split()
    made = Place(
        request.getfixturevalue("database") if "postgres" in wanted else None,
        request.getfixturevalue("buckets") if "s3" in wanted else None,
    )
    if "disk" in wanted:
        yield made
    else:
        with made.chosen():
            yield made


@pytest.fixture
def shell(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    """Give an empty store and a folder to be in."""
    monkeypatch.chdir(tmp_path)
    return Shell(capsys, tmp_path)


@pytest.fixture(scope="session")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder that the whole chain has been through, at the smallest size. Tests copy it, or leave it as it is."""
    from karat.faces.cli.entry import run

    folder = tmp_path_factory.mktemp("chain")
    pictures, store = draw_shapes(folder / "pictures"), str(folder / "store")
    commands = [
        ["data", "import", str(pictures), "--licence", "CC0-1.0"],
        ["data", "snapshot", "latest", "--name", "shapes"],
        ["train", "shapes", "--given", "label", "--steps", "6", *TINY],
        ["evaluate", "latest", *QUICK, "-o", str(folder / "report")],
        ["release", "latest", "--as", "shapes:live", "--title", "Shapes", "-o", str(folder / "shapes.karat")],
        ["generate", "shapes:live", "-n", "2", "--each", "label", "-o", str(folder / "out"), "--sheet", str(folder / "sheet.png")],
    ]
    with on_disk():
        for words in commands:
            assert run(["--store", store, "--json", *words]) == 0, words
    return folder


@pytest.fixture
def done(chain: Path, place: Place, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    """Give a copy of a store that the whole chain has been through."""
    import shutil

    shutil.copytree(chain, tmp_path / "chain", symlinks=True)
    place.carry(tmp_path / "chain" / "store")
    monkeypatch.chdir(tmp_path / "chain")
    return Shell(capsys, tmp_path / "chain")
