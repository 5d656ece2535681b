"""Lots: files that came over the API, each lot under an id in a folder of its own below the store, until they are imported."""

import re
import secrets
import shutil
import time
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from karat.store.blobs import store_error
from karat.words.errors import NotFoundError, SpecError
from karat.words.specs import Spec

ID = re.compile(r"[0-9a-f]{24}")
MOST_FILES = 20_000


class Lot(Spec):
    """A lot of files: how many, how many bytes, since when."""

    id: str
    files: int
    bytes: int
    at: float


class Lots:
    """The uploads of a store, in a folder that nothing else writes to."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def new(self) -> str:
        """Begin a lot, and give its id."""
        id = secrets.token_hex(12)
        try:
            (self._folder / id).mkdir(parents=True)
        except OSError as error:
            raise store_error(error, self._folder) from None
        return id

    def bring(self, files: Iterable[tuple[str, BinaryIO]]) -> Lot:
        """Make a lot of some files, each under its name, and give it; where one cannot be kept, none is."""
        id = self.new()
        try:
            for name, file in files:
                self.put(id, name, file)
        except BaseException:
            self.remove(id)
            raise
        return self.get(id)

    def put(self, id: str, name: str, file: BinaryIO) -> None:
        """Add a file under a name, which may have folders in it. Raises SpecError for a name that leads elsewhere."""
        place = self._place(id)
        path = place / safe_name(name)
        if sum(1 for _ in place.rglob("*")) >= MOST_FILES:
            raise SpecError(f"An upload has at most {MOST_FILES:,} files.", repair="Put them into one zip file.")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("xb") as written:
                shutil.copyfileobj(file, written, 1 << 20)
        except FileExistsError:
            raise SpecError(f"The upload has a file called {name!r} already.", repair="Give each file a name of its own.") from None
        except OSError as error:
            raise store_error(error, path) from None

    def source(self, id: str) -> Path:
        """Give what there is to import: the file, if there is one alone, else the folder. Raises SpecError when there is nothing."""
        place = self._place(id)
        files = [path for path in place.rglob("*") if path.is_file()]
        if not files:
            raise SpecError("The upload has no files.", repair="Upload some, then import.")
        return files[0] if len(files) == 1 else place

    def get(self, id: str) -> Lot:
        """Say what a lot holds. Raises NotFoundError."""
        sizes = [path.stat().st_size for path in self._place(id).rglob("*") if path.is_file()]
        return Lot(id=id, files=len(sizes), bytes=sum(sizes), at=self._place(id).stat().st_ctime)

    def all(self) -> list[Lot]:
        """Give all lots, newest first."""
        found = [self.get(path.name) for path in self._folder.iterdir() if ID.fullmatch(path.name)] if self._folder.is_dir() else []
        return sorted(found, key=lambda lot: -lot.at)

    def remove(self, id: str) -> None:
        """Remove a lot. What was imported of it is in the store."""
        shutil.rmtree(self._place(id))

    def remove_older(self, seconds: float) -> None:
        """Remove lots that nobody has touched for so long."""
        for lot in self.all():
            if lot.at < time.time() - seconds:
                self.remove(lot.id)

    def _place(self, id: str) -> Path:
        if not ID.fullmatch(id) or not (self._folder / id).is_dir():
            raise NotFoundError(f"There is no upload {id[:60]!r}.", repair="Upload the files first: POST /api/uploads.")
        return self._folder / id


def safe_name(name: str) -> Path:
    """Give a file's name as a path that stays below where it is put. Raises SpecError for one that does not."""
    parts = PurePosixPath(name.replace("\\", "/")).parts
    wrong = not parts or any(part in ("..", "/") or ":" in part or not part.isprintable() or len(part.encode()) > 200 for part in parts)
    if wrong or len(parts) > 16:
        raise SpecError(f"{name[:80]!r} cannot be the name of a file here.", repair="Use plain names, and folders without `..`.")
    return Path(*parts)
