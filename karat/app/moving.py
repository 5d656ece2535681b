"""Moving a store to another database or another place of blobs."""

from collections.abc import Iterator
from pathlib import Path

from karat.store import moving
from karat.store.whereabouts import whereabouts
from karat.words.errors import NotFoundError
from karat.words.events import Event

FOLDER = "folder"


def move(folder: Path, *, database: str | None = None, blobs: str | None = None) -> Iterator[Event]:
    """Carry records and blobs of the store in a folder over to where they are to be: a URL, or `folder`; None: they stay where they are."""
    if not folder.is_dir():
        raise NotFoundError(
            f"There is no store in {folder}.", repair="Make one with any command that uses it, such as `karat data import`."
        )
    said = {name: place for name, place in (("database", database), ("blobs", blobs)) if place is not None}
    changed = {name: None if place == FOLDER else place for name, place in said.items()}
    yield from moving.move(folder, whereabouts(folder).changed(**changed))
