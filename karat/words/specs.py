"""Specs: frozen descriptions of the whole of what was asked, with an exact JSON and YAML round trip and a digest.

The digest says what was asked, never where it ran: fields declared with `Where(...)` are left out of it.
"""

import difflib
import hashlib
import json
from pathlib import Path
from typing import Any, Self, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from karat.words.errors import SpecError

S = TypeVar("S", bound="Spec")


def Where(default: Any, **options: Any) -> Any:  # noqa: N802 - reads as a kind of field
    """Declare a field that says where or how fast something ran, which the digest leaves out."""
    return Field(default, json_schema_extra={"where": True}, **options)


class Spec(BaseModel):
    """The base of every spec: frozen, and unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")

    def digest(self) -> str:
        """Give the SHA-256 of what was asked, as 64 hex digits."""
        return digest_of(_without_where(self))

    def to_json(self) -> str:
        """Give indented JSON that `from_json` reads back to an equal spec."""
        return self.model_dump_json(indent=2)

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Read what `to_json` wrote. Raises SpecError that names the first wrong key."""
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            raise _spec_error(cls, error) from None

    @classmethod
    def from_values(cls, values: dict[str, Any]) -> Self:
        """Build from a mapping, as read from YAML or the command line. Raises SpecError that names the first wrong key."""
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise _spec_error(cls, error) from None

    def changed(self, **values: Any) -> Self:
        """Give a copy with some fields replaced, checked like a new one."""
        return self.from_values({**{name: getattr(self, name) for name in type(self).model_fields}, **values})


def read_spec(kind: type[S], path: Path) -> S:
    """Read a spec of class `kind` from a .json, .yaml or .yml file."""
    import yaml

    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SpecError(f"{path} cannot be read: {error.strerror}.", repair="Check the path.") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SpecError(f"{path} is neither YAML nor JSON: {error}.", repair="Correct the file.") from None
    if not isinstance(values, dict):
        raise SpecError(f"{path} holds no mapping of keys to values.", repair="Write one `key: value` to a line.")
    return kind.from_values(values)


def canonical(value: Any) -> bytes:
    """Give the one JSON encoding by which values are compared and digested: sorted keys, no spaces, UTF-8."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def digest_of(value: Any) -> str:
    """Give the SHA-256 of a JSON value's canonical encoding, as 64 hex digits."""
    return hashlib.sha256(canonical(value)).hexdigest()


def _without_where(spec: Spec) -> Any:
    return json.loads(spec.model_dump_json(exclude=_where_fields(spec)))


def _where_fields(spec: Spec) -> dict[str, Any]:
    """Name the fields to leave out, at every depth, in pydantic's `exclude` form."""
    left_out: dict[str, Any] = {}
    for name, field in type(spec).model_fields.items():
        extra = field.json_schema_extra
        value = getattr(spec, name)
        if isinstance(extra, dict) and extra.get("where"):
            left_out[name] = True
        elif isinstance(value, Spec) and (below := _where_fields(value)):
            left_out[name] = below
    return left_out


def _spec_error(kind: type[BaseModel], error: ValidationError) -> SpecError:
    first = error.errors()[0]
    fields, within = _place(kind, first["loc"])
    if first["type"] == "extra_forbidden":
        known = sorted({name for each in within for name in each.model_fields})
        near = difflib.get_close_matches(fields[-1], known, n=1)
        repair = f"Did you mean {near[0]!r}?" if near else f"Known are: {', '.join(known)}."
        return SpecError(f"{kind.__name__} has no {'.'.join(fields)}.", repair=repair)
    said = first["msg"].removeprefix("Value error, ").rstrip(".")
    place = ".".join(fields)
    given = f", got {first['input']!r}" if isinstance(first["input"], str | int | float | bool) else ""
    return SpecError(f"{kind.__name__}{f' {place}' if place else ''}: {said}{given}.", repair=f"Correct {place or 'it'}.")


def _place(kind: type[BaseModel], path: tuple[int | str, ...]) -> tuple[list[str], list[type[BaseModel]]]:
    """Give the fields that an error's path names, without the marks of unions in it, and the specs in which the last one stands."""
    fields: list[str] = []
    within: list[type[BaseModel]] = [kind]
    for number, name in enumerate(path):
        below = [each.model_fields[name] for each in within if name in each.model_fields]
        tagged = [each for each in within if "kind" in each.model_fields and each.model_fields["kind"].default == name]
        if tagged and not below:
            within = tagged
            continue
        fields.append(str(name))
        if number + 1 < len(path):
            within = [spec for field in below for spec in _specs_in(field.annotation)] or within
    return fields, within


def _specs_in(annotation: Any) -> list[type[BaseModel]]:
    """Give the specs that a field's annotation mentions."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [spec for part in get_args(annotation) for spec in _specs_in(part)]
