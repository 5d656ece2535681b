"""The tables of the benchmarks, from the JSON files in which their results are recorded.

A file holds rows: what was measured, on which data, by whom, in how many minutes, with which scores; when, where, at which commit.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from marked import table

RESULTS = Path(__file__).parent.parent / "benchmarks" / "results"
MARKS = ("<!-- recorded results: written by docs/generate.py -->", "<!-- end of recorded results -->")
TITLES = {
    "quality": "Quality per minute",
    "bits per byte": "Bits per byte at equal time",
    "compression": "Compression",
    "sampling": "Sampling speed",
    "text generation": "Writing speed",
    "text examples": "Examples of text, with what they wrote",
    "loop": "Overhead of the loop",
    "fine-tuning": "Overhead of the loop in fine-tuning",
    "text_autoencoder": "Texts through latents",
    "near duplicates": "Near duplicates of texts",
    "personal data": "Personal data",
    "preferences": "Learning from verdicts",
    "server overhead": "The server: overhead",
    "server texts": "The server: texts",
    "server pictures": "The server: pictures",
    "server overload": "The server: overload",
    "server disconnects": "The server: clients that go away",
    "server kills": "The server: kills",
    "server switches": "The server: switching between releases",
    "server start": "The server: start",
    "server gallery": "The server: gallery",
    "import": "Import",
    "start": "Start of the command line",
    "memory": "Memory",
}
"""What is measured: a word in a row's `what`, and its heading."""
SHOWN = (
    "pictures a second",
    "times DDIM-50",
    "fd/judge",
    "fd/random-conv",
    "kid/judge",
    "condition-accuracy/judge",
    "retrieval-rank/judge",
    "coverage/judge",
    "closer-to-training/pixels",
)
"""The scores of an evaluation that stand in the tables; the files hold all of them."""
WHERE = ("commit", "machine", "torch", "threads", "load", "date")
ABOUT = {"what", "data", "contender", "peer", "minutes", "budget_s", "seed", "about", "floor", "baselines", "scores", *WHERE}


def benchmarks_page(text: str) -> str:
    """Put the recorded results between the marks of the page."""
    before, _, rest = text.partition(MARKS[0])
    after = rest.partition(MARKS[1])[2]
    rows = recorded()
    lines = [MARKS[0], ""]
    for word, title in TITLES.items():
        own = [row for row in rows if subject(row) == word]
        lines += [f"## {title}", "", *(_tables(own) if own else ["Not yet recorded."]), ""]
    if others := [row for row in rows if subject(row) is None]:
        lines += ["## More", "", *_tables(others), ""]
    return before + "\n".join([*lines, MARKS[1]]) + after


def recorded() -> list[dict[str, Any]]:
    """Give the rows of all result files; what a row does not name itself, its file's name says."""
    rows = []
    for path in sorted(RESULTS.glob("*.json")) if RESULTS.is_dir() else []:
        found = json.loads(path.read_text(encoding="utf-8"))
        for row in found if isinstance(found, list) else [found]:
            rows.append({"what": path.stem, **row} if isinstance(row, dict) else {"what": path.stem, "value": row})
    return rows


def subject(row: Mapping[str, Any]) -> str | None:
    """Give the word of TITLES under which a row belongs."""
    return next((word for word in TITLES if word in str(row["what"]).lower()), None)


def _tables(rows: list[dict[str, Any]]) -> list[str]:
    """Give a table for all that can be compared: contenders down, scores across with their intervals.

    Real data stand in the first row; in the second real pictures of training, which is what a mere copier would score.
    """
    lines: list[str] = []
    for heading, together in _comparable(rows).items():
        own = sorted(together, key=lambda row: (_minutes(row), _contender(row)))
        names = _columns(own)
        floors = {name: value for row in own if isinstance(row.get("floor"), dict) for name, value in row["floor"].items()}
        timed = any(_minutes(row) for row in own)
        copied = {name: each["training"] for row in own for name, each in row.get("baselines", {}).items() if "training" in each}
        controls = {"_real data_": floors, "_training data_": copied}
        body = [[control, *([""] * timed), *(_interval(known.get(name)) for name in names)] for control, known in controls.items() if known]
        for row in own:
            minutes = [f"{_minutes(row):g}" if _minutes(row) else ""] * timed
            body.append([_contender(row), *minutes, *(_interval(_scores(row).get(name)) for name in names)])
        head = ["", *(["minutes"] * timed), *names]
        lines += [*([f"### {heading}", ""] if heading else []), *table(head, body), "", _conditions(own), ""]
        lines += [line for row in own for line in _outputs(row)]
    return lines[:-1]


def _comparable(rows: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Give the rows by data set, and where several machines measured it, by machine as well."""
    machines: dict[str, set[str]] = {}
    for row in rows:
        machines.setdefault(row.get("data", ""), set()).add(row.get("machine", ""))
    found: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        data = row.get("data", "")
        found.setdefault(f"{data}, {row['machine']}" if len(machines[data]) > 1 else data, []).append(row)
    return found


def _outputs(row: Mapping[str, Any]) -> list[str]:
    """Give what was written, if that is recorded, beside what really stands there."""
    if not row.get("outputs"):
        return []
    body = [[each["kind"], *(_shown(each[name]) for name in ("prompt", "written", "reference")), each["score"]] for each in row["outputs"]]
    return [*table(["", "asked", "written", "really", "score"], body), ""]


def _shown(text: str) -> str:
    """Give a text in a cell, its first 200 characters on one line."""
    line = " ".join(text.split())
    cut = f"{line[:200]}…" if len(line) > 200 else line
    return re.sub(r"([\\|<>*_`\[\]])", r"\\\1", cut) or "(nothing)"


def _columns(rows: list[dict[str, Any]]) -> list[str]:
    names = list(dict.fromkeys(name for row in rows for name in _scores(row)))
    return [name for name in SHOWN if name in names] or names


def _scores(row: Mapping[str, Any]) -> dict[str, Any]:
    if isinstance(row.get("scores"), dict):
        return dict(row["scores"])
    return {name: value for name, value in row.items() if name not in ABOUT and isinstance(value, int | float | str | dict)}


def _contender(row: Mapping[str, Any]) -> str:
    name = str(row.get("contender") or row.get("peer") or "Karat")
    return f"{name}, seed {row['seed']}" if row.get("seed") else name


def _minutes(row: Mapping[str, Any]) -> float:
    return float(row.get("minutes") or (row.get("budget_s") or 0) / 60)


def _interval(score: Any) -> str:
    if not isinstance(score, dict):
        return _figure(score)
    value = _figure(score.get("value"))
    return f"{value} ({_figure(score['low'])} to {_figure(score['high'])})" if "low" in score and "high" in score else value


def _figure(value: Any) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return "" if value is None else str(value).replace("|", "\\|")


def _conditions(rows: list[dict[str, Any]]) -> str:
    """Say where and when the rows were measured."""
    said = []
    for name in WHERE:
        values = dict.fromkeys(_figure(row[name]) for row in rows if row.get(name) not in (None, ""))
        if values:
            said.append(f"{name} {', '.join(values)}")
    return f"_{'; '.join(said)}_" if said else ""
