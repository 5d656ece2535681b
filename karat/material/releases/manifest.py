"""The manifest: which parts a release has, and what their bytes are. Its digest is the release's name, whatever form the release has."""

import json
import re
from typing import Any, Literal

from pydantic import Field

from karat.words.errors import ReleaseError, SpecError
from karat.words.specs import Spec, canonical

MANIFEST = "manifest.json"
SIGNATURE = "signature.json"
MAJOR, MINOR = 1, 0

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*(\.[a-z0-9][a-z0-9_-]*)+")
_SUFFIXES = ("safetensors", "json", "md", "html", "txt", "png")


class Part(Spec):
    """One file of a release."""

    name: str
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    size: int = Field(ge=0)


class Manifest(Spec):
    """What is signed. `facts` says what the release is to people: title, family, licence."""

    format: Literal["karat release"] = "karat release"
    version: str = f"{MAJOR}.{MINOR}"
    parts: tuple[Part, ...]
    facts: dict[str, Any] = {}

    def encoded(self) -> bytes:
        """Give the one encoding that is written, digested and signed."""
        return canonical(self.model_dump(mode="json"))


def read_manifest(raw: bytes) -> Manifest:
    """Read a manifest of this major version. Raises ReleaseError for others and for anything that is no manifest."""
    try:
        values = json.loads(raw)
    except (ValueError, RecursionError):
        raise _damaged("it is not JSON") from None
    if not isinstance(values, dict) or values.get("format") != "karat release":
        raise _damaged("it does not describe a release")
    major = str(values.get("version", "")).partition(".")[0]
    if major != str(MAJOR):
        raise ReleaseError(
            f"The release has format version {values.get('version')!r}; this Karat reads version {MAJOR}.", repair="Install a newer Karat."
        )
    try:
        # A later minor version may say more; what it says more is signed but not needed.
        manifest = Manifest.from_values({name: values[name] for name in Manifest.model_fields if name in values})
    except SpecError as error:
        raise _damaged(error.problem) from None
    if canonical(values) != raw:
        raise _damaged("it is not written as Karat writes it")
    names = [part.name for part in manifest.parts]
    for name in names:
        check_name(name)
    if len(set(names)) != len(names) or {MANIFEST, SIGNATURE} & set(names):
        raise _damaged("it names a part twice, or itself")
    return manifest


def check_name(name: str) -> None:
    """Refuse part names that could lead out of the release, differ between systems, or hold code."""
    if "/" in name or "\\" in name or name.startswith("."):
        raise ReleaseError(f"The part {name!r} would lie outside the release.", repair="Do not trust this release.")
    if not _NAME.fullmatch(name) or len(name) > 100:
        raise ReleaseError(f"{name!r} is no name for a part.", repair="Names are lower-case letters, digits, '-', '_' and a suffix.")
    if name.rpartition(".")[2] not in _SUFFIXES:
        raise ReleaseError(f"A release holds no files like {name!r}.", repair=f"Its parts end in {', '.join(_SUFFIXES)}.")


def _damaged(reason: str) -> ReleaseError:
    return ReleaseError(f"The release's manifest is damaged: {reason}.", repair="Get the release again from where it came.")
