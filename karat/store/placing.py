"""Placing files outside the blobs: each appears whole or not at all."""

import os
import tempfile
from pathlib import Path

from karat.store.blobs import NO_ROOM
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
