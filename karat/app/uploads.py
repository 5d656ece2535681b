"""Uploads: files that a browser brings, put into a folder of the store from which they are imported."""

import re
import secrets
from collections.abc import AsyncIterator
from pathlib import Path

from karat.store.store import Store
from karat.words.errors import DataError

FOLDER = "uploads"
LONGEST = 120


class Upload:
    """A batch of files that is brought together. A label puts files into a class folder, as an import reads it."""

    def __init__(self, store: Store) -> None:
        self.folder = store.folder / FOLDER / secrets.token_hex(8)
        self.files = 0

    async def keep(self, name: str, pieces: AsyncIterator[bytes], *, label: str = "") -> None:
        """Write a file under its name. Raises DataError for a name of nothing but dots and slashes."""
        place = self.folder / safe_name(label) / safe_name(name) if label.strip() else self.folder / safe_name(name)
        place.parent.mkdir(parents=True, exist_ok=True)
        while place.exists():
            place = place.with_name(f"{place.stem}-{secrets.token_hex(3)}{place.suffix}")
        with place.open("xb") as file:
            async for piece in pieces:
                file.write(piece)
        self.files += 1

    @property
    def place(self) -> Path:
        """Where an import finds them: the one file that came by itself (a zip file is unpacked so), else the folder."""
        own = list(self.folder.iterdir())
        return own[0] if len(own) == 1 and own[0].suffix.lower() == ".zip" else self.folder


def safe_name(name: str) -> str:
    """Give a name as one that stays in its folder and that every system takes; scripts of the world are kept."""
    last = re.split(r"[\\/]", name)[-1]
    clean = re.sub(r"[\x00-\x1f<>:\"|?*]", "-", last).strip(" .")
    if not clean:
        raise DataError(f"{name!r} is no name for a file.", repair="Rename it and bring it again.")
    stem, dot, suffix = clean.rpartition(".")
    return f"{stem[: LONGEST - len(suffix)]}.{suffix}" if dot and len(suffix) < 10 else clean[:LONGEST]
