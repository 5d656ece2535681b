"""Watching runs: the curves and samples of one that is being trained, and of several beside each other. Takes no torch.

A run's folder holds its plan, its events as they came and what it drew; a plan that was made and not begun is such a folder as well.
"""

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from karat.app.chain import RunLine, runs
from karat.store.store import Store
from karat.words.errors import NotFoundError
from karat.words.specs import Spec

FOLDER = re.compile(r"[0-9a-f]{16}")
MOST_POINTS = 1_500
"""Points of a curve that are given; of longer ones every so many."""


class RunCurve(Spec):
    """One curve: (step, value) pairs, and the chart that it belongs to."""

    name: str
    chart: str
    points: tuple[tuple[float, float], ...]


class Watched(Spec):
    """A run as it stands. `sheets` are the files that it drew, in the order of their steps."""

    line: RunLine
    done: int = 0
    total: int | None = None
    seconds_left: float | None = None
    curves: tuple[RunCurve, ...] = ()
    sheets: tuple[tuple[int, str], ...] = ()
    plan: dict[str, Any] = {}
    warnings: tuple[str, ...] = ()

    @property
    def begun(self) -> bool:
        return bool(self.curves or self.done or self.line.state == "finished")


def run_folder(store: Store, name: str) -> Path:
    """Give the folder of a run by its name. Raises NotFoundError; a name is never a path."""
    place = store.folder / "runs" / name
    if not FOLDER.fullmatch(name) or not (place / "spec.json").is_file():
        raise NotFoundError(f"There is no run {name[:20]!r}.", repair="Look at the list of runs.")
    return place


def watch(store: Store, name: str) -> Watched:
    """Look at one run. Raises NotFoundError."""
    folder = run_folder(store, name)
    line = next(line for line in runs(store) if line.folder == name)
    log = folder / "events.jsonl"
    events = [json.loads(each) for each in log.read_text(encoding="utf-8").splitlines() if each.endswith("}")] if log.exists() else []
    last: dict[str, Any] = next((event for event in reversed(events) if event["kind"] == "progress" and "loss" in event["figures"]), {})
    last = last or next((event for event in reversed(events) if event["kind"] == "progress"), {})
    drawn = sorted(each for each in (folder / "samples").glob("step-*") if each.suffix in (".png", ".txt"))
    return Watched(
        line=line,
        done=line.step if line.state == "finished" else last.get("done", 0),
        total=last.get("total"),
        seconds_left=last.get("seconds_left"),
        curves=tuple(curves_of(events)),
        sheets=tuple((int(each.stem.removeprefix("step-")), each.name) for each in drawn),
        plan=json.loads((folder / "spec.json").read_bytes()),
        warnings=tuple(event["message"] for event in events if event["kind"] == "warned"),
    )


def sheet(store: Store, name: str, file: str) -> Path:
    """Give the file that a run drew at a step. Raises NotFoundError."""
    place = run_folder(store, name) / "samples" / file
    if not re.fullmatch(r"step-\d{9}\.(png|txt)", file) or not place.is_file():
        raise NotFoundError(f"The run has not drawn {file[:40]!r}.", repair="Look at the run again.")
    return place


def curves_of(events: Sequence[dict[str, Any]]) -> Iterator[RunCurve]:
    """Give the curves that stand in a run's events, those of training first."""
    points: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for event in events:
        step = event.get("step", event.get("done", 0))
        for name, value in (event.get("figures") or {}).items() if event["kind"] in ("progress", "scored") else ():
            if (chart := _chart_of(name)) is not None and isinstance(value, int | float):
                points.setdefault((chart, name), []).append((float(step), float(value)))
    for (chart, name), all_points in sorted(points.items(), key=lambda each: each[0][0] != "training"):
        every = -(-len(all_points) // MOST_POINTS)
        yield RunCurve(name=name, chart=chart, points=tuple(all_points[::every]))


def _chart_of(name: str) -> str | None:
    if name in ("loss", "critic", "generator", "lead"):
        return "training"
    if name.startswith("held-out") and not name.startswith("held-out loss at"):
        return "held-out"
    return "quality" if name.startswith("kid/") else None
