"""Removing what nobody needs any more: a run that was not finished, and an import of which nothing was made.

All else stands on the chain, since something else came from it. What an import cost stays in the books, for nobody gets it back.
"""

import json
import re
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from karat.app.chain import find
from karat.store.queue import ENDED, Job
from karat.store.records import Record
from karat.store.store import Store
from karat.words.errors import KaratError
from karat.words.specs import Spec

DIGEST = re.compile(rb"[0-9a-f]{64}")
MOST = 1_000_000
LOOKED_AT = 10_000
"""The newest jobs among which some may still need what is to be removed."""


class InUseError(KaratError):
    """Something cannot be removed, for something else needs it."""

    code = "in-use"
    exit_code = 8


class Removed(Spec):
    """What was removed, and how many files of it; those that something else needs as well were kept."""

    kind: Literal["run", "source"]
    id: str
    files: int


def remove(store: Store, ref: str) -> Removed:
    """Remove an unfinished run by the name of its folder, or a source. Raises InUseError, BusyError or NotFoundError."""
    folder = _folder(store, ref)
    return _remove_source(store, find(store, ref, "source")) if folder is None else _remove_run(store, folder)


def _folder(store: Store, ref: str) -> Path | None:
    """Give the folder of the run whose name starts with `ref`, if there is one."""
    runs = store.folder / "runs"
    found = [each for each in runs.iterdir() if each.name.startswith(ref)] if len(ref) >= 6 and runs.is_dir() else []
    return found[0] if len(found) == 1 else None


def _remove_run(store: Store, folder: Path) -> Removed:
    if (folder / "record").exists():
        raise InUseError(f"The run {folder.name} is finished and stands on the chain.", repair="Only runs that are unfinished are removed.")
    if any(job.spec.get("folder") == folder.name for job in _going(store)):
        raise InUseError(f"The run {folder.name} is being trained, or waits for it.", repair="Stop it first.")
    with store.lock(f"run-{folder.name}"):
        files = sum(1 for each in folder.rglob("*") if each.is_file())
        shutil.rmtree(folder)
    return Removed(kind="run", id=folder.name, files=files)


def _remove_source(store: Store, source: Record) -> Removed:
    below = store.descendants(source.id)
    made = Counter(each.kind for each in below if each.kind not in ("checkup", "cost"))
    if made:
        counts = ", ".join(f"{count:,} {kind}{'s' if count > 1 else ''}" for kind, count in made.items())
        raise InUseError(
            f"The source {source.id[:12]} is needed: {counts} came from it.", repair="Only imports of which nothing was made are removed."
        )
    if any(job.kind in ("import", "snapshot", "check") for job in _going(store)):
        raise InUseError("Data is being imported, checked or cut into snapshots.", repair="Wait until that has ended.")
    own = _blobs(store, source)
    for entry in [each for each in below if each.kind == "cost"]:
        store.record("cost", made_from=[id for id in entry.made_from if id != source.id], spec=entry.spec)
    store.remove([source.id, *(each.id for each in below)])
    free = own - _needed(store, own)
    free |= store.files.forget_blobs(free)
    store.blobs.remove(free)
    return Removed(kind="source", id=source.id, files=len(free))


def _going(store: Store) -> Sequence[Job]:
    return [job for job in store.queue.latest(limit=LOOKED_AT) if job.state not in ENDED]


def _blobs(store: Store, source: Record) -> set[str]:
    """Give the digests of all that a source is made of."""
    listed = {digest for line in store.blobs.lines(source.made or "") for digest in _digests(line)}
    return {source.made or "", *listed, *_digests(json.dumps(source.spec).encode())}


def _needed(store: Store, own: set[str]) -> set[str]:
    """Give those of some blobs that records, the lists of other sources, or jobs to come speak of."""
    needed = {digest for digest in store.named() if digest in own}
    lists = [record.made for kind in ("source", "base", "snapshot") for record in store.find(kind, limit=MOST) if record.made]
    for line in (line for digest in lists for line in store.blobs.lines(digest)):
        needed |= own & _digests(line)
    for job in _going(store):
        needed |= own & _digests(json.dumps(job.spec).encode())
    return needed


def _digests(text: bytes) -> set[str]:
    return {found.decode() for found in DIGEST.findall(text)}
