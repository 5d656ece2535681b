"""Releases: what a stranger can run, check and trust. Weights, spec, codecs, card, reports and lineage, listed in a signed manifest.

A release is a folder or one file with the same parts, the same manifest and so the same digest. Opening one reads every byte once and
refuses it when anything is not as it was signed; tensors come into memory only when they are asked for. Nothing in a release is executed.
"""

import hashlib
import json
from collections.abc import Collection, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from karat.material.releases.containers import Container, Source, discard, measure, move_into_place, open_container, write_container
from karat.material.releases.manifest import MANIFEST, SIGNATURE, Manifest, Part, check_name, read_manifest
from karat.material.releases.signing import Signature, SigningKey
from karat.words.errors import DataError, ReleaseError, SpecError
from karat.words.specs import canonical

if TYPE_CHECKING:
    from karat.values.tensors import Shape, TensorFile

_DESCRIPTION_LIMIT = 16_000_000


class Release:
    """An opened release: complete, unchanged since it was signed, and signed by `signer`."""

    def __init__(self, path: Path, container: Container, manifest: bytes, signer: str) -> None:
        self.path = path
        self.manifest = read_manifest(manifest)
        self.digest = hashlib.sha256(manifest).hexdigest()
        self.signer = signer
        self._container = container

    @classmethod
    def open(cls, path: Path, *, trusted_keys: Collection[str] | None = None) -> Self:
        """Open and check a release in either form. With `trusted_keys` (key ids), only their signatures count.

        Raises ReleaseError for a changed byte, a missing or extra part, an unknown major version, a missing, wrong or untrusted signature.
        """
        container = open_container(path)
        raw = _described(container, MANIFEST, "It is no release, or a damaged one.")
        manifest = read_manifest(raw)
        signer = _signer(container, raw)
        if trusted_keys is not None and signer not in trusted_keys:
            raise ReleaseError(
                f"The release is signed by the key {signer[:16]}…, which is not trusted here.",
                repair="Ask who made it for their key id, and add it to the trusted keys.",
            )
        _check_parts(container, manifest)
        return cls(path, container, raw, signer)

    @property
    def facts(self) -> dict[str, Any]:
        return self.manifest.facts

    @property
    def names(self) -> list[str]:
        """The parts, without the manifest and its signature."""
        return [part.name for part in self.manifest.parts]

    def read(self, name: str) -> bytes:
        """Give a whole part's bytes."""
        if name not in self.names:
            raise ReleaseError(f"The release has no part {name!r}.", repair=f"It has {', '.join(self.names)}.")
        return self._container.read(name, 0, self._container.sizes[name])

    def json(self, name: str) -> Any:
        """Give what a JSON part says."""
        try:
            return json.loads(self.read(name))
        except (ValueError, RecursionError):
            raise ReleaseError(f"The part {name!r} is not JSON.", repair="Make the release again.") from None

    def tensors(self, name: str = "model.safetensors") -> "TensorFile":
        """Give the tensors of a part as a mapping that reads each one when it is asked for."""
        from karat.values.tensors import TensorFile

        if name not in self.names:
            raise ReleaseError(f"The release has no part {name!r}.", repair=f"It has {', '.join(self.names)}.")
        try:
            return TensorFile(lambda start, length: self._container.read(name, start, length), self._container.sizes[name])
        except DataError as error:
            raise ReleaseError(f"{name}: {error.problem}", repair="Make the release again.") from None

    def check_tensors(self, name: str, expected: "Mapping[str, Shape]") -> None:
        """Refuse a part whose tensors are not exactly those that the spec asks for, before any of them is read."""
        found = self.tensors(name).shapes
        for tensor in sorted(expected.keys() | found.keys()):
            if expected.get(tensor) != found.get(tensor):
                asked, given = expected.get(tensor, "nothing"), found.get(tensor, "nothing")
                raise ReleaseError(
                    f"The tensor {tensor!r} in {name} is {given}; the spec asks for {asked}.",
                    repair="The weights and the spec do not belong together: make the release again from its run.",
                )

    def save(self, path: Path) -> None:
        """Write the same release in the other form or at another place, with the signature that it has."""
        names = (MANIFEST, SIGNATURE, *sorted(self.names))
        parts: dict[str, Source] = {name: partial(self._container.chunks, name) for name in names}
        _write_checked(path, parts, self.signer)


def write_release(path: Path, parts: Mapping[str, Source], *, key: SigningKey, facts: Mapping[str, Any] | None = None) -> str:
    """Sign the parts and write them as a folder, or as one file when the path ends in `.karat`; give the release's digest.

    The same parts, facts and key always give the same bytes. What was written is read back and checked before it gets its name.
    """
    listed = []
    for name, source in sorted(parts.items()):
        check_name(name)
        if name in (MANIFEST, SIGNATURE):
            raise ReleaseError(f"{name!r} is written by the release itself.", repair="Leave it out of the parts.")
        measured = measure(source)
        listed.append(Part(name=name, sha256=measured.sha256, size=measured.size))
    raw = Manifest(parts=tuple(listed), facts=dict(facts or {})).encoded()
    signature = canonical(key.sign(raw).model_dump(mode="json"))
    _write_checked(path, {MANIFEST: raw, SIGNATURE: signature, **dict(sorted(parts.items()))}, key.id)
    return hashlib.sha256(raw).hexdigest()


def _write_checked(path: Path, parts: Mapping[str, Source], signer: str) -> None:
    temporary = write_container(path, parts)
    try:
        Release.open(temporary, trusted_keys={signer})
        move_into_place(temporary, path)
    except BaseException:
        discard(temporary)
        raise


def _described(container: Container, name: str, otherwise: str) -> bytes:
    size = container.sizes.get(name)
    if size is None:
        raise ReleaseError(f"The release has no {name}.", repair=otherwise)
    if size > _DESCRIPTION_LIMIT:
        raise ReleaseError(f"The release's {name} is {size} bytes long.", repair="Do not trust it.")
    return container.read(name, 0, size)


def _signer(container: Container, manifest: bytes) -> str:
    """Give the id of the key that signed the manifest."""
    raw = _described(container, SIGNATURE, "Nobody vouches for it: get it from where it was made.")
    try:
        signature = Signature.from_json(raw)
    except SpecError:
        raise ReleaseError("The release's signature is damaged.", repair="Get the release again from where it came.") from None
    if canonical(signature.model_dump(mode="json")) != raw or not signature.vouches_for(manifest):
        raise ReleaseError(
            "The release's signature does not fit its manifest: one of them was changed.",
            repair="Get the release again from where it came.",
        )
    return signature.key_id


def _check_parts(container: Container, manifest: Manifest) -> None:
    listed, there = {part.name for part in manifest.parts}, set(container.sizes) - {MANIFEST, SIGNATURE}
    if missing := sorted(listed - there):
        raise ReleaseError(f"The release lacks its part {missing[0]!r}.", repair="Get the release again from where it came.")
    if extra := sorted(there - listed):
        raise ReleaseError(f"The release has a part {extra[0]!r} that nobody signed.", repair="Remove it, or get the release again.")
    for part in manifest.parts:
        if container.sizes[part.name] != part.size or container.digest(part.name) != part.sha256:
            raise ReleaseError(f"The part {part.name!r} was changed after the release was signed.", repair="Get the release again.")
    for name in (MANIFEST, SIGNATURE):
        container.digest(name)  # compares the checksum that a release file keeps beside them
