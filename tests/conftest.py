"""Fixtures that more than one test file uses.

Each worker runs on one thread: the threads of several workers on few cores would only wait for each other.
"""

import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from shell import QUICK, TINY, Shell, draw_shapes


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
    for words in commands:
        assert run(["--store", store, "--json", *words]) == 0, words
    return folder


@pytest.fixture
def done(chain: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    """Give a copy of a store that the whole chain has been through."""
    import shutil

    shutil.copytree(chain, tmp_path / "chain", symlinks=True)
    monkeypatch.chdir(tmp_path / "chain")
    return Shell(capsys, tmp_path / "chain")
