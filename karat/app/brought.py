"""Pictures that somebody brings to be retouched: they are kept in the store before anything is made of them. Takes no torch."""

from pathlib import Path

from karat.store.store import Store
from karat.values.pictures import PictureFacts, probe
from karat.words.errors import DataError
from karat.work.requests import VARIED as VARIED  # how much is lost of a whole, unless somebody says so

PIXELS = 1 << 24
"""The largest picture that is retouched: 4096 × 4096."""


def keep_pictures(store: Store, picture: bytes, mask: bytes | None = None) -> dict[str, str]:
    """Put a picture and its mask into the store, and give what a request says of them.

    Raises DataError for what is no picture, and for a mask of another size or without transparency. Decodes nothing.
    """
    facts = probe(picture, pixel_limit=PIXELS)
    if mask is None:
        return {"picture": store.put(picture)}
    about = probe(mask, pixel_limit=PIXELS)
    if (about.width, about.height) != (facts.width, facts.height):
        said = f"The mask has {about.width}x{about.height} pixels, the picture {facts.width}x{facts.height}."
        raise DataError(said, repair="Give a mask of the picture's size.")
    if not about.has_alpha:
        raise DataError("The mask has no transparency.", repair="Give a PNG that is transparent where the picture is to be made anew.")
    return {"picture": store.put(picture), "mask": store.put(mask)}


def facts_of(store: Store, digest: str) -> PictureFacts:
    """Say how large a picture in the store is. Raises DataError, or NotFoundError."""
    return probe(store.read(digest), pixel_limit=PIXELS)


def read_pictures(store: Store, picture: Path, mask: Path | None) -> dict[str, str]:
    """Put files of a picture and its mask into the store, and give what a request says of them. Raises DataError."""
    return keep_pictures(store, _read(picture), None if mask is None else _read(mask))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.", repair="Check the path.") from None
