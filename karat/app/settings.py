"""Settings as they come from a command line: `name=value` pairs, dotted names, values as in YAML."""

from collections.abc import Iterable, Mapping
from typing import Any

from karat.words.errors import SpecError


def pairs(words: Iterable[str], *, option: str) -> list[tuple[str, str]]:
    """Take `name=value` words apart. Raises SpecError for a word without a name or an equals sign."""
    found = []
    for word in words:
        name, sign, value = word.partition("=")
        if not sign or not name.strip():
            raise SpecError(f"{option} {word!r} is no name=value.", repair=f"Write it as `{option} name=value`.")
        found.append((name.strip(), value))
    return found


def settings(words: Iterable[str]) -> dict[str, Any]:
    """Read `--set` words such as `plan.rate=0.001`: dotted names to values as YAML reads them."""
    import yaml

    found: dict[str, Any] = {}
    for name, value in pairs(words, option="--set"):
        try:
            found[name] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise SpecError(f"The value of --set {name} cannot be read: {value!r}.", repair="Write it as in YAML, in quotes.") from None
    return found


def tree_of(dotted: Mapping[str, Any]) -> dict[str, Any]:
    """Give dotted names as nested mappings: {"a.b": 1} becomes {"a": {"b": 1}}.

    Raises SpecError where a name is both a value and a group.
    """
    tree: dict[str, Any] = {}
    for place, value in dotted.items():
        *parents, last = place.split(".")
        branch = tree
        for name in parents:
            branch = branch.setdefault(name, {})
            if not isinstance(branch, dict):
                raise SpecError(f"{name!r} in --set {place} is a value, no group of settings.", repair="Set one or the other.")
        branch[last] = value
    return tree
