"""What the columns of a row mean: which of them are its text or conversation, and what the others say about it.

| columns | become |
|---|---|
| `text` | a text |
| `messages` (`role`, `content`, as OpenAI has them) | a conversation |
| `prompt`, `completion` | a question and its answer; `system` says what stands before it |
| `instruction`, `input`, `output` | the same, with the input below the instruction |
| `source`, `target` | a text and its translation or summary, as a question and its answer |
| `prompt`, `chosen`, `rejected` | a preferred answer; the other one is the fact `rejected` |
| `prompt`, `completion`, `thumb` (or a `label` that is true or false) | a judged answer; the judgement is the fact `verdict` |

`prompt`, `completion`, `chosen` and `rejected` may be lists of messages; without a prompt, `chosen` and `rejected` are whole conversations.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from karat.material.data.metadata import FILE_COLUMNS, fields_of
from karat.material.data.tables import Row
from karat.values.passages import Passage, Role, Turn, check_turns
from karat.words.errors import DataError

PAIRS = (("prompt", "completion"), ("instruction", "output"), ("source", "target"))
MAIN = ("messages", "text", "chosen", "rejected", "system", "input", "thumb", *(column for pair in PAIRS for column in pair))
"""Columns that are never ones of numbers."""
THUMBS = {
    **dict.fromkeys(("true", "yes", "up", "good", "1", "+1", "👍"), True),
    **dict.fromkeys(("false", "no", "down", "bad", "0", "-1", "👎"), False),
}
SPEAKERS: dict[str, Role] = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}
WANTED = "text, messages, prompt and completion, prompt and chosen, instruction and output, or source and target"


@dataclass(frozen=True)
class Understood:
    """What a row holds: the passage, the form that it came in, and the fields of its sample."""

    passage: Passage
    form: str
    fields: Row


def understood(row: Row, columns: dict[str, str]) -> Understood:
    """Read a row by the names of its columns, renamed first. Raises DataError that says what is missing or wrong."""
    row = {columns.get(column, column): value for column, value in row.items() if value is not None}
    if "messages" in row:
        turns = tuple(_messages(row.pop("messages"), "messages"))
        return _conversation("messages", turns, row)
    if "chosen" in row:
        return _preferred(row)
    for question, answer in PAIRS:
        if row.get(question) and answer in row:
            return _answered(question, answer, row)
    if "text" in row:
        text = row.pop("text")
        if not isinstance(text, str):
            raise DataError(f"Its text is {_kind(text)}.", repair="Write the text between quotes.")
        return Understood(Passage(text=text.replace("\r\n", "\n").replace("\r", "\n")), "text", _fields(row))
    there = ", ".join(sorted(map(str, row))) or "none"
    raise DataError(f"It has no column {WANTED}; its columns are: {there}.", repair="Rename one with --column, as in --column body=text.")


def _answered(question: str, answer: str, row: Row) -> Understood:
    """Read a question and its answer, and the judgement of it where there is one."""
    form = question
    prompt, given = row.pop(question), row.pop(answer)
    if question == "instruction" and row.get("input"):
        prompt = f"{prompt}\n\n{_text(row.pop('input'), 'input')}"
    turns = [*_system(row), *_turns(prompt, question, "user"), *_turns(given, answer, "assistant")]
    thumb = row.pop("thumb", None) if "thumb" in row else row.pop("label") if _judges(row.get("label")) else None
    if thumb is not None:
        form, verdict = "thumbs", THUMBS.get(str(thumb).strip().lower())
        if verdict is None:
            raise DataError(f"Its thumb is {thumb!r}, neither up nor down.", repair="Write true or false.")
        row["verdict"] = verdict
    return _conversation(form, tuple(turns), row)


def _preferred(row: Row) -> Understood:
    """Read two answers of which the first is the better one."""
    chosen, rejected = row.pop("chosen"), row.pop("rejected", None)
    if isinstance(chosen, str) and not row.get("prompt"):
        raise DataError("It has a chosen answer, but no prompt.", repair="Add a column prompt, or rename one with --column.")
    before = [*_system(row), *(_turns(row.pop("prompt"), "prompt", "user") if row.get("prompt") else ())]
    if rejected is None or rejected == "":
        raise DataError("It has a chosen answer, but no rejected one.", repair="Add a column rejected, or rename chosen to completion.")
    turns = (*before, *_turns(chosen, "chosen", "assistant"))
    row["rejected"] = list(_turns(rejected, "rejected", "assistant"))[-1].text
    return _conversation("pairs", turns, row)


def _conversation(form: str, turns: tuple[Turn, ...], row: Row) -> Understood:
    check_turns(turns)
    return Understood(Passage(turns=turns), form, _fields(row))


def _fields(row: Row) -> Row:
    """Sort what is left; a column that would name the file of a picture is a fact, `rejected` is one even though it is a text."""
    row = {column: value for column, value in row.items() if value != ""}
    files = {column: row.pop(column) for column in FILE_COLUMNS if column in row}
    fields = fields_of(row)
    return {**fields, "facts": {**fields.get("facts", {}), **files}} if files else fields


def _system(row: Row) -> Iterator[Turn]:
    if row.get("system"):
        yield Turn(role="system", text=_text(row.pop("system"), "system"))


def _turns(value: Any, column: str, role: Role) -> Iterator[Turn]:
    """Give what one column says: a text by one speaker, or a list of messages."""
    if isinstance(value, str) and not (value.startswith("[{") and value.endswith("}]")):
        if not value.strip():
            raise DataError(f"Its {column} is empty.", repair="Fill it in, or leave the row out.")
        yield Turn(role=role, text=_text(value, column))
    else:
        yield from _messages(value, column)


def _messages(value: Any, column: str) -> Iterator[Turn]:
    """Read a list of messages; in .csv it stands as JSON."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError) as error:
            raise DataError(f"Its {column} are no JSON: {error}.", repair="Correct the row.") from None
    if not isinstance(value, list) or not value:
        raise DataError(f"Its {column} are no list of messages.", repair='Write [{"role": "user", "content": "…"}, …].')
    for message in value:
        role = SPEAKERS.get(str(message.get("role"))) if isinstance(message, dict) else None
        if role is None:
            said = repr(message.get("role"))[:40] if isinstance(message, dict) else _kind(message)
            raise DataError(f"A message of its {column} is by {said}.", repair="Roles are system, user and assistant.")
        yield Turn(role=role, text=_content(message.get("content"), column))


def _content(content: Any, column: str) -> str:
    """Give a message's text, which may come in parts."""
    if isinstance(content, list):
        texts = [part.get("text") if isinstance(part, dict) and part.get("type", "text") == "text" else None for part in content]
        if not all(isinstance(text, str) for text in texts):
            raise DataError(f"A message of its {column} holds something other than text.", repair="Leave the row out.")
        content = "".join(map(str, texts))
    return _text(content, column)


def _text(value: Any, column: str) -> str:
    if not isinstance(value, str):
        raise DataError(f"Its {column} holds {_kind(value)} where a text belongs.", repair="Write the text between quotes.")
    return value.replace("\r\n", "\n").replace("\r", "\n")


def _judges(label: Any) -> bool:
    return isinstance(label, bool) or (isinstance(label, str) and label.lower() in ("true", "false"))


def _kind(value: Any) -> str:
    kinds = {bool: "true or false", int: "a number", float: "a number", list: "a list", dict: "an object", type(None): "nothing"}
    return kinds.get(type(value), type(value).__name__)
