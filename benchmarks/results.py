"""Recorded results: a JSON list in a file, one row for each measurement, replaced when it is taken again."""

import json
from pathlib import Path
from typing import Any


def record(path: Path, row: dict[str, Any], *, key: tuple[str, ...]) -> None:
    """Put a row into a file, in the place of one with the same key."""
    rows = json.loads(path.read_text()) if path.exists() else []
    rows = [old for old in rows if any(old.get(name) != row.get(name) for name in key)]
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps([*rows, rounded(row)], indent=1, ensure_ascii=False) + "\n")


def rounded(value: Any) -> Any:
    """Give the same figures with six significant digits."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, dict):
        return {name: rounded(each) for name, each in value.items()}
    return [rounded(each) for each in value] if isinstance(value, list | tuple) else value
