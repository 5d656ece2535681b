"""A first pass over the names of a place: whether it holds pictures or texts, what describes them, and what is passed over."""

import uuid
from collections import Counter
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Literal

from karat.material.data.samples import batches
from karat.material.data.sources import Place, is_licence, is_metadata, is_picture, is_readme
from karat.material.data.tables import is_table
from karat.material.data.texts.documents import is_document
from karat.store.files import SeenFile
from karat.store.store import Store

SPLITS = frozenset(("train", "training", "test", "testing", "validation", "valid", "val", "dev", "eval"))
SETTLE = 512
Modality = Literal["auto", "image", "text"]
Each = Literal["file", "paragraph", "line"]
"""What of a document is one sample."""


@dataclass
class Scan:
    """What a first pass has found: how many files are to be imported, with how many bytes, and how many are documents.

    `others` are texts beside pictures that are no captions, `ignored` what is neither.
    """

    modality: Modality
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    files: int = 0
    size: int = 0
    documents: int = 0
    others: Counter[str] = field(default_factory=Counter)
    metadata: list[SeenFile] = field(default_factory=list)
    licences: list[tuple[str, bytes]] = field(default_factory=list)
    ignored: Counter[str] = field(default_factory=Counter)
    classes: set[str] = field(default_factory=set)
    splits: set[str] = field(default_factory=set)

    @property
    def labels_by_folder(self) -> bool:
        return len(self.classes) >= 2 and not self.metadata


@dataclass(frozen=True)
class Visit:
    """What an import works on: a scanned place, and where it is kept."""

    store: Store
    place: Place
    location: str
    scan: Scan
    columns: dict[str, str]
    each: Each
    workers: int


def scanned(store: Store, place: Place, location: str, *, modality: Modality) -> Scan:
    """Note the files of one modality in the store; `auto` means pictures where there are any, else texts."""
    scan = _scan(store, place, location, modality="image" if modality == "auto" else modality)
    if modality == "auto" and not scan.files and (scan.documents or scan.others or scan.metadata):
        return _scan(store, place, location, modality="text")
    return scan


def _scan(store: Store, place: Place, location: str, *, modality: Modality) -> Scan:
    scan = Scan(modality)
    for files in batches(place.scan(), SETTLE):
        _note(store, location, scan, [file for file in files if _belongs(scan, file)])
    if modality == "text" and not scan.documents:
        # Nothing is there that these tables could describe, so they are texts themselves.
        _note(store, location, scan, scan.metadata)
        scan.metadata = []
    scan.metadata.sort(key=lambda file: (file.name, file.raw))
    scan.licences.sort()
    return scan


def _note(store: Store, location: str, scan: Scan, files: list[SeenFile]) -> None:
    for file in files:
        split, label = folders(file.name)
        scan.classes.update([label] if label else ())
        scan.splits.update([split] if split else ())
        scan.files += 1
        scan.size += file.size
    if files:
        store.files.see(location, scan.id, files)


def _belongs(scan: Scan, file: SeenFile) -> bool:
    """Say whether a file is one of those that are imported, and count it where it belongs otherwise."""
    suffix = PurePosixPath(file.name).suffix.lower()
    as_text = scan.modality == "text"
    if is_picture(file.name):
        if as_text:
            scan.ignored[suffix] += 1
        return not as_text
    if is_metadata(file.name):
        scan.metadata.append(file)
    elif is_licence(file.name):
        scan.licences.append((file.name, file.raw))
    elif is_readme(file.name):
        scan.ignored[PurePosixPath(file.name).name] += 1
    elif is_document(file.name) or is_table(file.name):
        scan.documents += is_document(file.name) if as_text else suffix == ".txt"
        if not as_text and suffix != ".txt":
            scan.others[suffix] += 1
        return as_text
    else:
        scan.ignored[suffix or "no suffix"] += 1
    return False


def folders(name: str) -> tuple[str | None, str | None]:
    """Give the split (`train`, `test` …) and the class that the folders of a name say."""
    below = list(PurePosixPath(name).parts[:-1])
    split = next((folder for folder in below if folder.lower() in SPLITS), None)
    classes = [folder for folder in below if folder != split]
    return split, classes[-1] if classes else None


def counted(kinds: Counter[str]) -> str:
    """Give the most frequent kinds of files with how many there are, for a sentence."""
    return ", ".join(f"{count} of {suffix}" for suffix, count in kinds.most_common(5))


def problem(check: str, message: str) -> dict[str, dict[str, str]]:
    """Give the fact that says what is wrong with a sample."""
    return {"problem": {"check": check, "message": message}}
