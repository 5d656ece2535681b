"""The report of a model: one HTML file that opens offline, pictures, curves and style inside it, and a JSON file with the same figures.

The page is made for a person who decides whether to use what the model makes: pictures first, then each number with a sentence that says
what it means and with what real data score.
"""

import base64
import io
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from karat.material.charts import Curve, figure, line_chart, score_bar
from karat.material.metrics.scores import Evaluation, Score
from karat.material.text_pages import Strip, TextPages, cut

GROUPS = {
    "Foretelling": ("bits-per-byte", "perplexity"),
    "As answered": ("exact", "chrf", "bleu", "rouge-1", "rouge-2", "rouge-l"),
    "Close to reality": ("fd", "kid", "c2st", "frontier"),
    "True and varied": ("precision", "recall", "density", "coverage", "vendi"),
    "Sure and varied": ("judged-bits", "entropy", "distinct-1", "distinct-2", "self-bleu"),
    "As asked": ("condition-accuracy", "retrieval", "retrieval-rank"),
    "Original": ("closer-to-training", "authenticity", "copied", "copied-runs", "longest-copied"),
}
SPACES = {"all": "everything", "random-conv": "random filters"}


@dataclass(frozen=True)
class Picture:
    """A picture (H, W, C) in bytes and the words below it."""

    pixels: np.ndarray
    caption: str = ""


@dataclass(frozen=True)
class Likeness:
    """A made picture beside its nearest training and held-out pictures, with the distances."""

    made: Picture
    training: Picture
    held_out: Picture
    training_distance: float
    held_out_distance: float
    copied: bool = False


@dataclass(frozen=True)
class Link:
    """One link of the chain from source to release: its kind, its record and what it is."""

    kind: str
    record: str
    about: str = ""


@dataclass(frozen=True)
class ReportContent:
    """Everything a report shows; whatever is empty is left out of the page."""

    title: str
    summary: str
    facts: Mapping[str, str] = field(default_factory=dict)
    pictures: Sequence[Picture] = ()
    evaluation: Evaluation | None = None
    curves: Sequence[Curve] = ()
    likenesses: Sequence[Likeness] = ()
    splits: Mapping[str, int] = field(default_factory=dict)
    dropped: Mapping[str, int] = field(default_factory=dict)
    lineage: Sequence[Link] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    language: str = "en"
    texts: TextPages | None = None


def write_report(content: ReportContent, folder: Path) -> tuple[Path, Path]:
    """Write report.html and report.json into a folder, each whole or not at all, and give their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = (folder / "report.html", folder / "report.json")
    for path, text in zip(paths, (report_html(content), report_json(content)), strict=True):
        unfinished = path.with_name(f".{path.name}.part")
        unfinished.write_text(text, encoding="utf-8")
        os.replace(unfinished, path)
    return paths


def report_html(content: ReportContent) -> str:
    """Give the page."""
    from markupsafe import Markup

    trivial = "n-grams, shuffled words, training texts" if content.texts else "noise, the mean, copied training data"
    template = _pages().get_template("report.html.jinja")
    return template.render(
        content=content,
        groups=_groups(content.evaluation),
        lead=_lead(content.evaluation),
        bar=lambda score: Markup(score_bar(score)),
        chart=lambda curve: Markup(line_chart(curve)),
        standing=standing,
        pixelated=bool(content.pictures) and max(content.pictures[0].pixels.shape[:2]) <= 64,
        settings=list(_flat(content.settings)),
        things="texts" if content.texts else "pictures",
        trivial=trivial,
    )


def explanation_html(title: str, summary: str, told: Strip) -> str:
    """Give the page that explains one answer."""
    return _pages().get_template("explanation.html.jinja").render(title=title, summary=summary, told=told, pixelated=False)


def _pages() -> Any:
    """Give the templates that lie beside this file."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    loader = PackageLoader("karat", "material")
    pages = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    pages.filters |= {"figure": figure, "picture": picture_uri, "percent": lambda share: f"{100 * share:.0f} %", "cut": cut}
    return pages


def report_json(content: ReportContent) -> str:
    """Give the same figures for programs: all that the page says, without the pictures' bytes."""
    facts = {
        "title": content.title,
        "summary": content.summary,
        "facts": dict(content.facts),
        "evaluation": content.evaluation.model_dump(mode="json") if content.evaluation else None,
        "curves": [asdict(curve) for curve in content.curves],
        "pictures": [picture.caption for picture in content.pictures],
        "likenesses": [_likeness_figures(likeness) for likeness in content.likenesses],
        "splits": dict(content.splits),
        "dropped": dict(content.dropped),
        "lineage": [asdict(link) for link in content.lineage],
        "settings": dict(content.settings),
        **({"texts": asdict(content.texts)} if content.texts else {}),
    }
    return json.dumps(facts, ensure_ascii=False, indent=1, default=str)


def picture_uri(picture: Picture) -> str:
    """Give a picture as a data URI (PNG)."""
    from PIL import Image

    pixels = picture.pixels[..., 0] if picture.pixels.shape[-1] == 1 else picture.pixels
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(file, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def standing(score: Score) -> str:
    """Say in words where a score stands against real values."""
    if score.floor is None:
        return ""
    if score.real_is_best:
        return (
            "as real values"
            if score.reaches_floor
            else "short of real values: too much"
            if score.low > score.floor.high
            else "short of real values: too little"
        )
    if score.low > score.floor.high if score.higher_is_better else score.high < score.floor.low:
        return "better than real values"
    return "as real values" if score.reaches_floor else "short of real values"


def _groups(evaluation: Evaluation | None) -> list[tuple[str, list[tuple[Score, list[tuple[str, Score]]]]]]:
    """Sort scores into groups, the spaces of one metric together: (group, [(first score, [(space, score)])])."""
    if evaluation is None:
        return []
    by_metric: dict[str, list[tuple[str, Score]]] = {}
    for score in evaluation.scores:
        metric = score.name.partition("/")[0]
        by_metric.setdefault(metric, []).append((SPACES.get(score.space, score.space), score))
    known = {name for names in GROUPS.values() for name in names}
    groups = {**GROUPS, "More": tuple(name for name in by_metric if name not in known)}
    grouped = []
    for title, names in groups.items():
        if found := [(by_metric[name][0][1], by_metric[name]) for name in names if name in by_metric]:
            grouped.append((title, found))
    return grouped


def _lead(evaluation: Evaluation | None) -> list[tuple[str, str, str]]:
    """Give the three or four figures that a reader wants first: (what, figure, beside it)."""
    if evaluation is None:
        return []
    found = {score.name: score for score in evaluation.scores}
    lead = []
    first = {"fd/judge": "Frechet distance", "condition-accuracy/judge": "Class as asked", "retrieval-rank/judge": "Caption rank"}
    for name, title in first.items():
        if (score := found.get(name)) and score.floor:
            lead.append((title, figure(score.value), f"real values {figure(score.floor.value)}"))
    for name, baseline in {"bits-per-byte/test": "n-grams", "chrf/answers": "nearest training"}.items():
        if (score := found.get(name)) and baseline in score.baselines:
            lead.append((score.title, figure(score.value), f"{baseline} {figure(score.baselines[baseline])}"))
    if copied := found.get("copied/pixels"):
        beside = f"real values {100 * copied.floor.value:.1f} %" if copied.floor else ""
        lead.append(("Copied", f"{100 * copied.value:.1f} %", beside))
    compared = [score for score in evaluation.scores if score.floor]
    if compared:
        reached = sum(score.reaches_floor for score in compared)
        lead.append(("As real values", f"{reached} of {len(compared)}", "scores"))
    return lead


def _likeness_figures(likeness: Likeness) -> dict[str, Any]:
    captions = {name: getattr(likeness, name).caption for name in ("made", "training", "held_out")}
    distances = {"training_distance": likeness.training_distance, "held_out_distance": likeness.held_out_distance}
    return {**captions, **distances, "copied": likeness.copied}


def _flat(settings: Mapping[str, Any], path: str = "") -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for name, value in settings.items():
        place = f"{path}.{name}" if path else str(name)
        if isinstance(value, Mapping) and value:
            rows += _flat(value, place)
        else:
            rows.append((place, ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)))
    return rows
