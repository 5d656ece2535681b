"""Reports and scores: taken out of the store into files and lines that a person can read."""

from collections.abc import Iterator
from pathlib import Path

from karat.app.chain import find
from karat.store.placing import write_whole
from karat.store.store import Store
from karat.words.events import Event, Saved
from karat.words.specs import Spec


class ScoreLine(Spec):
    """One score beside what real data and what noise score."""

    name: str
    title: str
    space: str
    value: float
    low: float
    high: float
    real: float | None = None
    noise: float | None = None
    meaning: str

    @property
    def told(self) -> str:
        """Say the value with what stands beside it."""
        beside = [f"{name} {value:.3g}" for name, value in (("real", self.real), ("noise", self.noise)) if value is not None]
        return f"{self.value:.3g} ({', '.join(beside)})" if beside else f"{self.value:.3g}"


def scores_of(store: Store, ref: str) -> list[ScoreLine]:
    """Give the scores of an evaluation."""
    lines = []
    for score in find(store, ref, "evaluation").facts["evaluation"]["scores"]:
        known = {name: score[name] for name in ("name", "title", "space", "value", "low", "high", "meaning")}
        real = score["floor"]["value"] if score["floor"] else None
        lines.append(ScoreLine(real=real, noise=score["baselines"].get("noise"), **known))
    return lines


def save_report(store: Store, ref: str, folder: Path | None = None) -> Iterator[Event]:
    """Write the report.html and report.json of an evaluation into a folder, that of its run if none is given."""
    evaluation = find(store, ref, "evaluation")
    run = store.get(evaluation.made_from[0])
    folder = folder or store.folder / "runs" / str(run.facts["folder"])
    for name, blob in (("report.html", evaluation.facts["report.html"]), ("report.json", evaluation.made)):
        write_whole(folder / name, store.read(str(blob)))
        yield Saved(what=name, path=str(folder / name))
