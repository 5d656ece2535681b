"""Reports and scores: taken out of the store into files and lines that a person can read."""

from collections.abc import Iterator
from pathlib import Path

from karat.app.chain import find
from karat.store.placing import write_whole
from karat.store.store import Store
from karat.words.events import Event, Saved
from karat.words.specs import Spec

BASELINES = ("noise", "n-grams", "nearest training", "frequency alone")
"""What needs no model, or hardly one: the first of them that a score has stands beside it."""


class ScoreLine(Spec):
    """One score beside what real data score, and what takes no model (`baseline` names it)."""

    name: str
    title: str
    space: str
    value: float
    low: float
    high: float
    real: float | None = None
    trivial: float | None = None
    baseline: str = ""
    meaning: str

    @property
    def told(self) -> str:
        """Say the value with what stands beside it."""
        beside = [f"{name} {value:.3g}" for name, value in (("real", self.real), (self.baseline, self.trivial)) if value is not None]
        return f"{self.value:.3g} ({', '.join(beside)})" if beside else f"{self.value:.3g}"


def scores_of(store: Store, ref: str) -> list[ScoreLine]:
    """Give the scores of an evaluation."""
    lines = []
    for score in find(store, ref, "evaluation").facts["evaluation"]["scores"]:
        known = {name: score[name] for name in ("name", "title", "space", "value", "low", "high", "meaning")}
        real = score["floor"]["value"] if score["floor"] else None
        baseline = next((name for name in BASELINES if name in score["baselines"]), "")
        lines.append(ScoreLine(real=real, trivial=score["baselines"].get(baseline), baseline=baseline, **known))
    return lines


def save_report(store: Store, ref: str, folder: Path | None = None) -> Iterator[Event]:
    """Write the report.html and report.json of an evaluation into a folder, that of its run if none is given."""
    evaluation = find(store, ref, "evaluation")
    run = store.get(evaluation.made_from[0])
    folder = folder or store.folder / "runs" / str(run.facts["folder"])
    for name, blob in (("report.html", evaluation.facts["report.html"]), ("report.json", evaluation.made)):
        write_whole(folder / name, store.read(str(blob)))
        yield Saved(what=name, path=str(folder / name))
