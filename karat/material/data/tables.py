"""Reading tables row by row: .jsonl, .json, .csv, .tsv and .parquet, in flat memory.

A row that is wrong comes as the DataError that says so, with its line, and the rows after it are read on; whoever reads decides whether
that ends the work.
"""

import csv
import json
import math
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager
from datetime import date, time
from pathlib import PurePosixPath
from typing import Any, BinaryIO

from karat.material.data.texts.encodings import MAX_LINE, Encoding, characters, lines
from karat.words.errors import DataError

Row = dict[str, Any]
Rows = Iterator[tuple[int, Row | DataError]]
Reopen = Callable[[], AbstractContextManager[BinaryIO]]
TABLES = frozenset((".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet"))
BATCH_BYTES = 8 << 20
BLANKS = " \t\r\n"


def is_table(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in TABLES


def table_rows(name: str, reopen: Reopen, *, encoding: Encoding, words: Collection[str] = ()) -> Rows:
    """Stream the rows of a table with their numbers: of lines in .jsonl, .csv and .tsv, of rows in .json and .parquet.

    In .csv and .tsv a column is one of numbers if all that stands in it is, except the columns called `words`. Raises DataError where no
    row after it can be read.
    """
    suffix = PurePosixPath(name).suffix.lower()
    if suffix == ".parquet":
        yield from _parquet_rows(name, reopen)
    elif suffix in (".csv", ".tsv"):
        yield from _numbered_rows(name, reopen, encoding, words)
    elif suffix == ".json":
        yield from _array_rows(name, reopen, encoding)
    else:
        with reopen() as reading:
            yield from _jsonl_rows(name, lines(reading, encoding))


class _Json:
    """A JSON decoder that takes no number for another: what JSON does not know, or is too large, is a complaint."""

    def __init__(self) -> None:
        self.complaints: list[str] = []
        self._decoder = json.JSONDecoder(parse_constant=self._constant, parse_float=self._float, parse_int=self._int)

    def row(self, text: str, where: str) -> Row | DataError:
        """Decode a whole row."""
        try:
            value, end = self.start(text, len(text) - len(text.lstrip(BLANKS)))
            if text[end:].strip(BLANKS):
                raise ValueError(f"more follows after column {end}")
        except (ValueError, RecursionError) as error:
            reason = str(error) or "it is nested too deeply"
            return DataError(f"{where}, is no JSON: {reason}.", repair="Correct the line.")
        return self.checked(value, text, where)

    def start(self, text: str, place: int) -> tuple[Any, int]:
        """Decode the value that begins at a place, and give where it ends. Raises ValueError or RecursionError."""
        self.complaints.clear()
        return self._decoder.raw_decode(text, place)

    def checked(self, value: Any, text: str, where: str) -> Row | DataError:
        """Give a decoded value if it is a row of Unicode text and finite numbers."""
        if "\\u" in text:
            try:
                json.dumps(value, ensure_ascii=False).encode()
            except UnicodeEncodeError:
                self.complaints.append("it holds half of a character (a lone surrogate)")
        if self.complaints:
            return DataError(f"{where}, is no JSON: {self.complaints[0]}.", repair="Correct the line.")
        if not isinstance(value, dict):
            return DataError(f"{where}, holds no object.", repair='Write one {"column": value, …} to a line.')
        return value

    def _constant(self, text: str) -> None:
        self.complaints.append(f"{text} is no number that JSON knows")

    def _float(self, text: str) -> float:
        value = float(text)
        if not math.isfinite(value):
            self.complaints.append(f"{text} is too large")
        return value

    def _int(self, text: str) -> int:
        if len(text) > 300:
            self.complaints.append(f"{text[:20]}… is too large")
            return 0
        return int(text)


def _jsonl_rows(name: str, numbered: Iterator[tuple[int, str | None]]) -> Rows:
    decoder = _Json()
    for number, line in numbered:
        if line is None:
            yield number, _too_long(f"{name}, line {number}")
        elif line.strip():
            yield number, decoder.row(line, f"{name}, line {number}")


def _array_rows(name: str, reopen: Reopen, encoding: Encoding) -> Rows:
    """Stream the objects of an array; a file of that name that holds one object to a line is read as that."""
    with reopen() as reading:
        chunks = characters(reading, encoding)
        text = ""
        for chunk in chunks:
            text = (text + chunk).lstrip(BLANKS)
            if text:
                break
        if not text.startswith("["):
            with reopen() as again:
                yield from _jsonl_rows(name, lines(again, encoding))
            return
        yield from _items(name, text[1:], chunks)


def _items(name: str, text: str, chunks: Iterator[str]) -> Rows:
    """Decode one value after the other, and read on where one does not end within what was read so far."""
    decoder, place, number = _Json(), 0, 1
    while True:
        begin = _after(text, place, BLANKS if number == 1 else BLANKS + ",")
        try:
            if text[begin : begin + 1] == "]":
                return
            value, end = decoder.start(text, begin)
            if end == len(text):
                raise ValueError("it has no end")
        except (ValueError, RecursionError) as error:
            text, place = text[begin:], 0
            more = _more(chunks, len(text)) if not isinstance(error, RecursionError) and len(text) < MAX_LINE else ""
            if not more:
                reason = "it is longer than 16 million characters" if len(text) >= MAX_LINE else str(error)
                raise DataError(
                    f"{name}, row {number}, is no JSON: {reason}.", repair="Correct the file; what follows is not read."
                ) from None
            text += more
            continue
        yield number, decoder.checked(value, text[begin:end], f"{name}, row {number}")
        place, number = end, number + 1
        if place > len(text) // 2:
            text, place = text[place:], 0


def _after(text: str, place: int, skipped: str) -> int:
    while place < len(text) and text[place] in skipped:
        place += 1
    return place


def _more(chunks: Iterator[str], size: int) -> str:
    """Read at least as much as there is already, so that a long value is not decoded anew for every chunk."""
    read: list[str] = []
    while sum(map(len, read)) <= size and (chunk := next(chunks, None)) is not None:
        read.append(chunk)
    return "".join(read)


def _numbered_rows(name: str, reopen: Reopen, encoding: Encoding, words: Collection[str]) -> Rows:
    """Read twice: a column is one of numbers only if all that stands in it is."""
    numeric: dict[str, bool] = {}
    for _, row in _dict_rows(name, reopen, encoding):
        for column, value in row.items() if isinstance(row, dict) else ():
            if value and numeric.get(column, True):
                numeric[column] = _number(value) is not None
    numeric |= dict.fromkeys(words, False)
    for number, row in _dict_rows(name, reopen, encoding):
        if isinstance(row, dict):
            row = {column: _number(value) if value and numeric.get(column) else value for column, value in row.items()}
        yield number, row


def _dict_rows(name: str, reopen: Reopen, encoding: Encoding) -> Rows:
    csv.field_size_limit(MAX_LINE)
    with reopen() as reading:
        delimiter = "\t" if name.lower().endswith(".tsv") else ","
        reader = csv.reader(_csv_lines(name, reading, encoding), strict=True, delimiter=delimiter)
        head: list[str] | None = None
        while True:
            number = reader.line_num + 1
            try:
                row = next(reader, None)
            except csv.Error as error:
                yield number, DataError(f"{name}, line {number}, is no CSV: {error}.", repair="Correct the line.")
                continue
            if row is None:
                return
            if head is None:
                head = row
                if len(set(head)) != len(head):
                    raise DataError(f"{name} names a column twice.", repair="Give each column a name of its own.")
            elif len(row) not in (0, len(head)):
                problem = f"{name}, line {number}, has {len(row)} columns in place of {len(head)}."
                yield number, DataError(problem, repair="Correct the line.")
            elif row:
                yield number, dict(zip(head, row, strict=True))


def _csv_lines(name: str, reading: BinaryIO, encoding: Encoding) -> Iterator[str]:
    for number, line in lines(reading, encoding):
        if line is None:
            raise _too_long(f"{name}, line {number}")
        yield line


def _parquet_rows(name: str, reopen: Reopen) -> Rows:
    try:
        import pyarrow
        from pyarrow.parquet import ParquetFile
    except ImportError:
        raise DataError(f"{name} cannot be read without pyarrow.", repair="Install it: pip install 'karat[text]'.") from None
    number = 0
    try:
        with reopen() as reading, ParquetFile(reading, pre_buffer=False) as file:
            about = file.metadata
            size = sum(about.row_group(group).total_byte_size for group in range(about.num_row_groups))
            step = max(1, min(4096, BATCH_BYTES * about.num_rows // max(1, size)))
            for batch in file.iter_batches(batch_size=step):
                for row in batch.to_pylist():
                    number += 1
                    yield number, {column: _plain(value) for column, value in row.items()}
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise DataError(f"{name} cannot be read as Parquet after row {number}: {reason}.", repair="Write the file again.") from None


def _plain(value: Any) -> Any:
    """Give a value of Arrow's as JSON has it; numbers that are none are absent."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, bytes):
        return value.hex()
    return value.isoformat() if isinstance(value, date | time) else str(value)


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _too_long(where: str) -> DataError:
    return DataError(f"{where}, is longer than {MAX_LINE >> 20} million characters.", repair="Write one row to a line.")
