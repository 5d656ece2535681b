"""Placing files outside the blobs: each appears whole or not at all."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from karat.store.blobs import NO_ROOM, store_error
from karat.words.errors import StoreError


def write_whole(path: Path, content: bytes) -> None:
    """Write a file, and the folders above it, in place of one that was there. Raises StoreError, with nothing half-written."""
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException as error:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        if not isinstance(error, OSError):
            raise
        problem = f"The disk is full: {path} cannot be written" if error.errno in NO_ROOM else f"{path} cannot be written: {error.strerror}"
        raise StoreError(f"{problem}.", repair="Free some space, change the permissions, or write to another place.") from None


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Give an empty folder that takes its place when all has been written, and vanishes when something goes wrong.

    Raises StoreError when the place is taken.
    """
    if path.exists() and (path.is_file() or any(path.iterdir())):
        raise StoreError(f"{path} exists already.", repair="Choose another folder, or remove it.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as temporary:
            folder = Path(temporary) / path.name
            folder.mkdir()
            yield folder
            os.replace(folder, path)
    except OSError as error:
        raise store_error(error, path) from None
