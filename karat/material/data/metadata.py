"""Reading what people write about their files: `metadata.jsonl` and `metadata.csv` in Hugging Face's layout.

A row names its file (`file_name`) and says `label`, `text`, `text_zh` …, `group`, `licence`; columns of numbers are numbers, and whatever
else there is is kept as facts. Rows are streamed.
"""

import csv
import io
import json
import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any, BinaryIO

from karat.material.data.sources import decoded
from karat.words.errors import DataError

Row = dict[str, Any]
FILE_COLUMNS = ("file_name", "image", "file", "path")
LICENCE_COLUMNS = ("licence", "license")
MAX_LINE = 1 << 24


def metadata_rows(name: str, reopen: Callable[[], BinaryIO]) -> Iterator[tuple[int, Row]]:
    """Stream the rows of a metadata file with their line numbers. Raises DataError that names the first wrong line."""
    if name.lower().endswith(".jsonl"):
        yield from _jsonl_rows(name, _lines(name, reopen))
    else:
        yield from _csv_rows(name, reopen)


def described(row: Row, columns: dict[str, str]) -> tuple[str | None, Row]:
    """Give the file that a row is about and what it says, sorted into label, captions, numbers, group, licence and facts.

    `columns` renames columns first: `{"category": "label"}` makes a column the label.
    """
    row = {columns.get(column, column): value for column, value in row.items() if value is not None and value != ""}
    file = next((row[column] for column in FILE_COLUMNS if isinstance(row.get(column), str)), None)
    said: Row = {"captions": {}, "numbers": {}, "facts": {}}
    for column, value in row.items():
        if column in FILE_COLUMNS and value == file:
            continue
        if column in ("label", "group"):
            said[column] = _plain(value)
        elif column in LICENCE_COLUMNS:
            said["licence"] = _plain(value)
        elif isinstance(value, str) and column.split("_")[0] in ("text", "caption"):
            said["captions"]["_".join(["text", *column.split("_")[1:]])] = value
        elif isinstance(value, int | float) and not isinstance(value, bool):
            said["numbers"][column] = float(value)
        else:
            said["facts"][column] = value
    return file, {key: value for key, value in said.items() if value not in ({}, None)}


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _jsonl_rows(name: str, lines: Iterable[tuple[int, str]]) -> Iterator[tuple[int, Row]]:
    for number, line in lines:
        if not line.strip():
            continue
        try:
            row = json.loads(line, parse_constant=_refused, parse_float=_finite, parse_int=_finite_int)
            json.dumps(row, ensure_ascii=False).encode()
        except (ValueError, RecursionError) as error:
            reason = str(error) or "it is nested too deeply"
            raise DataError(f"{name}, line {number}, is no JSON: {reason}.", repair="Correct the line.") from None
        if not isinstance(row, dict):
            raise DataError(f"{name}, line {number}, holds no object.", repair='Write one {"file_name": …} to a line.')
        yield number, row


def _csv_rows(name: str, reopen: Callable[[], BinaryIO]) -> Iterator[tuple[int, Row]]:
    """Read twice: a column is one of numbers only if all that stands in it is."""
    numeric: dict[str, bool] = {}
    for _, row in _csv_dicts(name, reopen):
        for column, value in row.items():
            if value and numeric.get(column, True):
                numeric[column] = _number(value) is not None
    for column in ("label", "group", *FILE_COLUMNS):
        numeric[column] = False
    for number, row in _csv_dicts(name, reopen):
        yield number, {column: _number(value) if value and numeric.get(column) else value for column, value in row.items()}


def _csv_dicts(name: str, reopen: Callable[[], BinaryIO]) -> Iterator[tuple[int, dict[str, str]]]:
    reader = csv.reader((line for _, line in _lines(name, reopen)), strict=True)
    try:
        head = next(reader, [])
        if len(set(head)) != len(head):
            raise DataError(f"{name} names a column twice.", repair="Give each column a name of its own.")
        for row in reader:
            if len(row) not in (0, len(head)):
                raise DataError(
                    f"{name}, line {reader.line_num}, has {len(row)} columns in place of {len(head)}.", repair="Correct the line."
                )
            if row:
                yield reader.line_num, dict(zip(head, row, strict=True))
    except csv.Error as error:
        raise DataError(f"{name}, line {reader.line_num}, is no CSV: {error}.", repair="Correct the line.") from None


def _lines(name: str, reopen: Callable[[], BinaryIO]) -> Iterator[tuple[int, str]]:
    """Stream lines as text, with the ends that CSV needs to see."""
    with reopen() as reading:
        start = reading.read(2)
        if start in (b"\xff\xfe", b"\xfe\xff"):
            yield from enumerate(io.StringIO(decoded(start + reading.read(), name)), 1)
            return
        rest = start
        number = 0
        while True:
            chunk = reading.read(1 << 16)
            rest += chunk
            *whole, rest = rest.split(b"\n")
            for line in whole:
                number += 1
                yield number, decoded(line + b"\n", f"{name}, line {number},")
            if not chunk:
                if rest:
                    yield number + 1, decoded(rest, f"{name}, line {number + 1},")
                return
            if len(rest) > MAX_LINE:
                raise DataError(f"{name}, line {number + 1}, is longer than {MAX_LINE >> 20} megabytes.", repair="Write one row to a line.")


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _refused(constant: str) -> float:
    raise ValueError(f"{constant} is no number that JSON knows")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is too large")
    return value


def _finite_int(text: str) -> int:
    _finite(text)
    return int(text)
