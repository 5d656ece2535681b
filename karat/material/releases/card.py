"""The card: what a release is, from what, for what, how good, in Markdown with the front matter that Hugging Face reads."""

import json
from typing import Any

from karat.words.specs import Spec


class Figure(Spec):
    """One measured score, with its interval where there is one."""

    name: str
    value: float
    low: float | None = None
    high: float | None = None
    data: str = ""
    """What it was measured on."""


class Card(Spec):
    """What a reader should know before running a release."""

    title: str
    summary: str = ""
    licence: str = "unknown"
    languages: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    datasets: tuple[str, ...] = ()
    task: str | None = None
    figures: tuple[Figure, ...] = ()
    sections: dict[str, str] = {}
    """Heading to Markdown, in this order: uses, limits, data, training."""

    def to_markdown(self) -> str:
        """Give the text of `card.md`."""
        lines = ["---", *_yaml(self._front_matter()), "---", "", f"# {self.title}", ""]
        if self.summary:
            lines += [self.summary, ""]
        if self.figures:
            lines += ["## Scores", "", "| score | value | interval | measured on |", "|---|--:|:-:|---|"]
            lines += [f"| {_cell(f.name)} | {f.value:.4g} | {_interval(f)} | {_cell(f.data)} |" for f in self.figures]
            lines.append("")
        for heading, text in self.sections.items():
            lines += [f"## {heading}", "", text.strip(), ""]
        return "\n".join(lines)

    def _front_matter(self) -> dict[str, Any]:
        front: dict[str, Any] = {"license": self.licence, "library_name": "karat"}
        for name, values in (("language", self.languages), ("tags", self.tags), ("datasets", self.datasets)):
            if values:
                front[name] = list(values)
        if self.task:
            front["pipeline_tag"] = self.task
        if self.figures and self.task:
            front["model-index"] = [{"name": self.title, "results": [self._result(figure) for figure in self.figures]}]
        return front

    def _result(self, figure: Figure) -> dict[str, Any]:
        data = figure.data or "held-out data"
        metric = {"type": figure.name.lower().replace(" ", "-"), "name": figure.name, "value": figure.value}
        return {"task": {"type": self.task}, "dataset": {"name": data, "type": data.lower().replace(" ", "-")}, "metrics": [metric]}


def _yaml(values: dict[str, Any]) -> list[str]:
    """Write one key to a line; the values as JSON, which YAML reads alike."""
    return [f"{name}: {json.dumps(value, ensure_ascii=False)}" for name, value in values.items()]


def _interval(figure: Figure) -> str:
    return "" if figure.low is None or figure.high is None else f"{figure.low:.4g} … {figure.high:.4g}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
