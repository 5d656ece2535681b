"""Write the reference from the code, and the tables of the benchmarks from their recorded results.

python docs/generate.py            # or: make docs
python docs/generate.py --check    # fails when a page is not what the code says now
"""

import importlib
import inspect
import json
import pkgutil
import re
import sys
import types
from collections.abc import Iterator, Mapping
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typer
from marked import table
from pydantic import BaseModel
from pydantic_core import PydanticUndefined
from recorded import benchmarks_page

import karat
from karat.words.errors import KaratError
from karat.words.events import Event
from karat.words.registry import Registry
from karat.words.specs import Spec

DOCS = Path(__file__).parent
NOTE = "_Written by `docs/generate.py` from the code. Change the code, then run `make docs`._"
SPECS = {
    "A run": ("RunSpec", "TrainingPlan", "FittedCodec", "ModelSpec", "Space", "Dials"),
    "Families": (
        "DiffusionOptions",
        "VaeOptions",
        "GanOptions",
        "AutoregressiveOptions",
        "MaskedOptions",
        "AutoencoderOptions",
        "PretrainedOptions",
        "Lora",
    ),
    "Nets": ("ConvnetSpec", "TransformerSpec"),
    "Sampling": (
        "DiffusionSampling",
        "VaeSampling",
        "GanSampling",
        "AutoregressiveSampling",
        "WritingOptions",
        "Request",
        "Retouch",
        "Walk",
        "Point",
        "WritingRequest",
    ),
    "Data": ("ImportOptions", "SnapshotSpec", "CheckPolicy", "Fractions", "Sample", "Passage", "Turn"),
    "Codecs and augmentation": ("ImageOptions", "TextOptions", "LabelOptions", "NumbersOptions", "LatentState", "AugmentSpec"),
    "The house": ("Policy", "Prices", "Verdict", "Gold"),
    "Measuring": (
        "EvaluatingOptions",
        "EvaluationOptions",
        "TextMeasuring",
        "JudgeOptions",
        "OriginalityOptions",
        "OriginalityVerdict",
        "TextVerdict",
        "NetworkOptions",
    ),
    "The store": ("Whereabouts",),
}
"""The specs that a user may write or read, by subject."""


def main() -> None:
    """Write the pages that differ, or say which do."""
    stale = [path for path, text in pages().items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    if "--check" in sys.argv[1:]:
        if stale:
            print("Not up to date: " + ", ".join(path.name for path in stale) + ". Run `make docs`.", file=sys.stderr)
        sys.exit(bool(stale))
    for path in stale:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(pages()[path], encoding="utf-8")
        print(path.relative_to(DOCS.parent))


def pages() -> dict[Path, str]:
    """Give every generated page with its text."""
    reference = DOCS / "reference"
    return {
        reference / "commands.md": commands_page(),
        reference / "events.md": events_page(),
        reference / "errors.md": errors_page(),
        reference / "registries.md": registries_page(),
        reference / "specs.md": specs_page(),
        DOCS / "benchmarks.md": benchmarks_page((DOCS / "benchmarks.md").read_text(encoding="utf-8")),
    }


def modules() -> list[types.ModuleType]:
    """Import and give every module of the package."""
    return [importlib.import_module(found.name) for found in pkgutil.walk_packages(karat.__path__, "karat.")]


def things(kind: type) -> dict[str, type]:
    """Give the package's own classes below one class, by name."""
    modules()
    found: dict[str, type] = {}
    waiting = [kind]
    while waiting:
        for each in waiting.pop().__subclasses__():
            waiting.append(each)
            if each.__module__.startswith("karat."):
                found[each.__name__] = each
    return dict(sorted(found.items()))


def registries() -> dict[str, Registry[Any]]:
    """Give every registry of the package by its kind."""
    found = {value.kind: value for module in modules() for value in vars(module).values() if isinstance(value, Registry)}
    return dict(sorted(found.items()))


def commands() -> Iterator[tuple[str, Any]]:
    """Give every command with its full name, groups left out."""
    from karat.faces.cli.entry import app

    def walk(command: Any, name: str) -> Iterator[tuple[str, Any]]:
        below = getattr(command, "commands", None)
        if below is None:
            yield name, command
            return
        for each, sub in below.items():
            yield from walk(sub, f"{name} {each}")

    yield from walk(typer.main.get_command(app), "karat")


def global_options() -> list[Any]:
    """Give the options that stand before or after any command."""
    from karat.faces.cli.entry import app

    return list(typer.main.get_command(app).params)


def commands_page() -> str:
    lines = ["# Commands", "", NOTE, "", "These options go with every command:", "", *_parameters(global_options(), None), ""]
    for name, command in commands():
        usage = " ".join([name, "[OPTIONS]", *(p.metavar or p.name.upper() for p in command.params if p.param_type_name == "argument")])
        lines += [f"## {name}", "", f"    {usage}", "", inspect.cleandoc(command.help or ""), ""]
        lines += _parameters(command.params, command.callback)
        examples = [line for line in (command.epilog or "").splitlines() if line.strip()]
        lines += ["", "```sh", *examples, "```", ""] if examples else [""]
    return "\n".join(lines).rstrip() + "\n"


def _parameters(parameters: list[Any], function: Any) -> list[str]:
    rows = []
    for each in parameters:
        if each.param_type_name == "argument":
            rows.append([f"`{each.metavar or each.name.upper()}`", each.help or "", "" if each.required else "optional"])
        elif each.name != "help":
            value = "" if each.is_flag else f" {each.metavar or _choices(function, each.name) or _kind(each)}"
            rows.append(["`" + ", ".join(each.opts) + value + "`", each.help or "", _default(each)])
    return table(["", "what", "if not given"], rows) if rows else ["It takes no options of its own."]


def _kind(option: Any) -> str:
    return {int: "NUMBER", float: "NUMBER"}.get(type(option.default), option.name.upper())


def _choices(function: Any, name: str) -> str:
    """Give the values of an option that takes one of a few."""
    known = inspect.signature(function).parameters if function else {}
    kind = next(iter(get_args(known[name].annotation)), None) if name in known else None
    return "\\|".join(each.value for each in kind) if isinstance(kind, type) and issubclass(kind, Enum) else ""


def _default(option: Any) -> str:
    if option.is_flag or option.default is None:
        return ""
    value = option.default.value if isinstance(option.default, Enum) else option.default
    return f"`{value}`" if str(value) else ""


def events_page() -> str:
    lines = [
        "# Events",
        "",
        NOTE,
        "",
        "Long work tells what it does by events. With `--json` each one is a line of JSON; `kind` says which it is, `at` when it happened",
        "(Unix time in seconds). The last event of every work is `finished`.",
        "",
    ]
    for kind, event in _events().items():
        fields = {name: field for name, field in event.model_fields.items() if name not in ("kind", "at")}
        lines += [f"## {kind}", "", inspect.cleandoc(event.__doc__ or ""), "", *_fields(fields), ""]
    return "\n".join(lines).rstrip() + "\n"


def _events() -> dict[str, type[Event]]:
    """Give the package's own events by kind."""
    return {event.model_fields["kind"].default: event for event in things(Event).values() if issubclass(event, Event)}


def errors_page() -> str:
    rows = [
        [f"`{error.code}`", str(error.exit_code), f"`{name}`", _first_line(error)]
        for name, error in sorted(things(KaratError).items(), key=lambda each: (each[1].exit_code, each[1].code))
        if issubclass(error, KaratError)
    ]
    lines = [
        "# Errors",
        "",
        NOTE,
        "",
        "An error is two sentences on stderr: what is wrong, and how to repair it. With `--json` it is one object,",
        '`{"error": {"code", "problem", "repair", "exit_code"}}`. Wrong options and arguments end with 2, as everywhere.',
        "Python code catches `karat.words.errors.KaratError`.",
        "",
        *table(["code", "exit code", "in Python", "when"], rows),
    ]
    return "\n".join(lines) + "\n"


def registries_page() -> str:
    lines = [
        "# Registries",
        "",
        NOTE,
        "",
        "Whatever can be chosen by name. A plug-in adds to a registry by an entry point in the group `karat.<kind>`;",
        "[CONTRIBUTING](../../CONTRIBUTING.md) shows how.",
        "",
    ]
    for kind, registry in registries().items():
        lines += [f"## {kind}", "", *table(["name", "what"], [[f"`{name}`", _said_of(thing)] for name, thing in registry.items()]), ""]
    return "\n".join(lines).rstrip() + "\n"


def _said_of(thing: Any) -> str:
    """Give what a registered thing says of itself: its meaning, if it carries one, else the first line of its docstring."""
    return thing.meaning if "meaning" in getattr(thing, "__dict__", {}) else _first_line(thing)


def specs_page() -> str:
    lines = [
        "# Specs",
        "",
        NOTE,
        "",
        "What a run, a snapshot or an evaluation was asked. `karat train … --set NAME=VALUE` reaches every field of a run by its dotted",
        "name (`plan.rate`, `family.net.width`, `augment.ops.shift`, `made.size`); `--dry-run` prints the whole of it. Fields marked",
        "_where_ say where or how fast something ran; the digest, and so the run's name, leaves them out.",
        "",
    ]
    known = things(Spec)
    for title, names in SPECS.items():
        lines += [f"## {title}", ""]
        for name in names:
            spec = known[name]
            assert issubclass(spec, BaseModel)
            lines += [f"### {name}", "", inspect.cleandoc(spec.__doc__ or ""), "", *_fields(spec.model_fields), ""]
    return "\n".join(lines).rstrip() + "\n"


def _fields(fields: Mapping[str, Any]) -> list[str]:
    rows = []
    for name, field in fields.items():
        default = _shown(field.default) if field.default_factory is None else _shown(field.default_factory())
        extra = field.json_schema_extra
        where = " _where_" if isinstance(extra, dict) and extra.get("where") else ""
        kind = _cell(_type(field.annotation) + _limits(field.metadata))
        rows.append([f"`{name}`", kind, default, _cell(field.description or "") + where])
    return table(["field", "type", "if not given", "what"], rows) if rows else ["No fields of its own."]


def _shown(value: Any) -> str:
    if value is PydanticUndefined:
        return "must be given"
    if value is None:
        return "nothing"
    if isinstance(value, BaseModel):
        return f"as [{type(value).__name__}](#{type(value).__name__.lower()})"
    text = value.kind if hasattr(value, "kind") else json.dumps(value, ensure_ascii=False) if not isinstance(value, str) else value
    return f"`{text}`" if text not in ("", "{}", "[]") else "none"


def _type(annotation: Any) -> str:
    """Give a type in few words, without modules."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        return " or ".join(_type(part) for part in parts if part is not type(None))
    if origin is Literal:
        return " or ".join(json.dumps(part) for part in parts)
    if origin is Annotated:
        return _type(parts[0]) + _limits(parts[1:])
    if parts and origin is not None:
        inner = ", ".join("…" if part is Ellipsis else _type(part) for part in parts)
        return f"{origin.__name__}[{inner}]"
    name = getattr(annotation, "__name__", str(annotation))
    return {"Any": "anything", "object": "anything", "NoneType": "nothing"}.get(name, name)


def _limits(metadata: Any) -> str:
    said = []
    for each in [part for meta in metadata for part in getattr(meta, "metadata", [meta])]:
        for mark, sign in (("ge", "≥"), ("gt", ">"), ("le", "≤"), ("lt", "<"), ("min_length", "length ≥")):
            if (limit := getattr(each, mark, None)) is not None:
                said.append(f"{sign} {limit}")
    return f" {', '.join(said)}" if said else ""


def _first_line(thing: Any) -> str:
    return (inspect.getdoc(thing) or "").strip().split("\n")[0]


def _cell(text: str) -> str:
    return re.sub(r"\s+", " ", text).replace("|", "\\|").strip()


if __name__ == "__main__":
    main()
