"""Where the records and the blobs of a store lie: in its folder, unless `store.yaml` in that folder names another database or a bucket."""

from pathlib import Path

from karat.store.blobs import Blobs, LocalBlobs
from karat.store.database import Database
from karat.store.s3 import S3Blobs
from karat.words.errors import StoreError
from karat.words.specs import Spec, read_spec

FILE, RECORDS, BLOBS, CACHE = "store.yaml", "records.sqlite", "blobs", "cache"


class Whereabouts(Spec):
    """What `store.yaml` says: `database` as postgresql://USER@HOST/DATABASE, `blobs` as s3://BUCKET/PREFIX.

    What is left out is in the folder.
    """

    database: str | None = None
    blobs: str | None = None


def whereabouts(folder: Path) -> Whereabouts:
    """Read where the store of a folder is. Raises StoreError when the folder holds what `store.yaml` says is elsewhere."""
    place = folder / FILE
    if not place.exists():
        return Whereabouts()
    said = read_spec(Whereabouts, place)
    for named, here in ((said.database, RECORDS), (said.blobs, BLOBS)):
        if named is not None and (folder / here).exists():
            repair = f"Remove {place} and let `karat move` carry it over; if that was done, rename {here}."
            raise StoreError(f"{place} names another place for what {folder / here} holds.", repair=repair)
    return said


def database(folder: Path, place: Whereabouts) -> Database:
    """Open the records of a store, and make them if there are none."""
    return Database(place.database or folder / RECORDS)


def blobs(folder: Path, place: Whereabouts) -> Blobs:
    """Open the blobs of a store, and make them if there are none."""
    return S3Blobs(place.blobs, folder / CACHE) if place.blobs else LocalBlobs(folder / BLOBS)
