"""The command line for tests: runs a command in this process and gives what a shell would see."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from karat.faces.cli.entry import run

TINY = ("--size", "tiny", "--set", "plan.checks=1", "--set", "plan.judged=0", "--set", "plan.samples=8")
QUICK = ("--samples", "24", "--set", "measuring.resamples=10", "--set", "measuring.judge.steps=20")


@dataclass(frozen=True)
class Told:
    """What a command said and how it ended."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[dict[str, Any]]:
        """Give the JSON lines of stdout."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def result(self) -> str:
        """Give what the last event of a `--json` command made."""
        return str(self.lines[-1]["result"])


class Shell:
    """Runs commands in a folder of its own, on a store of its own."""

    def __init__(self, capture: pytest.CaptureFixture[str], folder: Path) -> None:
        self.capture, self.folder = capture, folder
        self.store = folder / "store"

    def __call__(self, *words: object) -> Told:
        self.capture.readouterr()
        code = run(["--store", str(self.store), *map(str, words)])
        out, err = self.capture.readouterr()
        return Told(code, out, err)

    def well(self, *words: object) -> Told:
        """Run a command that must succeed."""
        told = self(*words)
        assert told.code == 0, told.err
        return told

    def refused(self, *words: object) -> str:
        """Run a command that must fail as a user may see it: two sentences, no traceback; give them."""
        told = self(*words)
        assert told.code not in (0, 70), told.err
        assert "Traceback" not in told.err
        problem, repair = told.err.strip().splitlines()[-2:]
        assert problem.endswith((".", "?", "!")), told.err
        assert len(repair) > 5, told.err
        return f"{problem} {repair}"


def draw_shapes(folder: Path, count: int = 120) -> Path:
    """Write small grey pictures of three kinds, in class folders: a bar lying, a bar standing, a square."""
    random = np.random.default_rng(0)
    for number in range(count):
        pixels = random.integers(0, 60, (8, 8), np.uint8)
        row, column = random.integers(1, 5, 2)
        high, wide = ((2, 7), (7, 2), (4, 4))[number % 3]
        pixels[row : row + high, column : column + wide] = random.integers(160, 256)
        place = folder / ("lying", "standing", "square")[number % 3] / f"{number:03d}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(place)
    return folder


def files_below(folder: Path) -> set[str]:
    """Give the names of all files below a folder."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
