"""Reading what people write about their files: `metadata.jsonl` and `metadata.csv` in Hugging Face's layout.

A row names its file (`file_name`) and says `label`, `text`, `text_zh` …, `group`, `licence`; columns of numbers are numbers, and whatever
else there is is kept as facts. Rows are streamed.
"""

import json
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

from karat.material.data.tables import Row, table_rows
from karat.material.data.texts.encodings import found_encoding
from karat.words.errors import DataError

FILE_COLUMNS = ("file_name", "image", "file", "path")
LICENCE_COLUMNS = ("licence", "license")
WORDS = ("label", "group", *FILE_COLUMNS)
"""Columns that are never ones of numbers, whatever stands in them."""


def metadata_rows(name: str, reopen: Callable[[], BinaryIO]) -> Iterator[tuple[int, Row]]:
    """Stream the rows of a metadata file with their line numbers. Raises DataError that names the first wrong line."""
    for number, row in table_rows(name, reopen, encoding=found_encoding(reopen, name), words=WORDS):
        if isinstance(row, DataError):
            raise row
        yield number, row


def described(row: Row, columns: dict[str, str]) -> tuple[str | None, Row]:
    """Give the file that a row is about and what it says, sorted into label, captions, numbers, group, licence and facts.

    `columns` renames columns first: `{"category": "label"}` makes a column the label.
    """
    row = renamed(row, columns)
    file = next((row[column] for column in FILE_COLUMNS if isinstance(row.get(column), str)), None)
    return file, fields_of({column: value for column, value in row.items() if not (column in FILE_COLUMNS and value == file)})


def renamed(row: Row, columns: dict[str, str]) -> Row:
    """Give a row with the names that the user gave its columns, without empty ones."""
    return {columns.get(column, column): value for column, value in row.items() if value is not None and value != ""}


def fields_of(row: Row) -> Row:
    """Sort the columns of a row into the fields of a sample."""
    said: Row = {"captions": {}, "numbers": {}, "facts": {}}
    for column, value in row.items():
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
    return {key: value for key, value in said.items() if value not in ({}, None)}


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
