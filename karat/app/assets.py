"""Assets as a gallery shows them: found by words, release and date, page after page."""

from typing import Any

from karat.app.chain import find
from karat.store.assets import Wanted
from karat.store.records import Record
from karat.store.store import Store
from karat.words.errors import NotFoundError
from karat.words.specs import Spec

__all__ = ["AssetLine", "AssetPage", "Wanted", "asset", "file_of", "search"]

MEDIA = "application/octet-stream"


class AssetLine(Spec):
    """An asset with all that was asked for it."""

    id: str
    at: float
    release: str | None
    media_type: str
    request: dict[str, Any]
    facts: dict[str, Any]


class AssetPage(Spec):
    """Some assets, newest first; `next` is where the next page begins."""

    data: tuple[AssetLine, ...]
    next: int | None = None


def search(store: Store, wanted: Wanted, *, limit: int = 50) -> AssetPage:
    """Give a page of the assets that are wanted; the release may be named by its alias."""
    if wanted.release is not None:
        wanted = wanted.changed(release=find(store, wanted.release, "release").id)
    found = store.assets.search(wanted, limit=limit + 1)
    lines = tuple(_line(record) for record in store.several([id for _, id in found[:limit]]))
    return AssetPage(data=lines, next=found[limit - 1][0] if len(found) > limit else None)


def asset(store: Store, id: str) -> AssetLine:
    """Give one asset. Raises NotFoundError."""
    return _line(find(store, id, "asset"))


def file_of(store: Store, id: str) -> tuple[bytes, str]:
    """Give an asset's file and its media type. Raises NotFoundError when it is gone."""
    record = find(store, id, "asset")
    if record.made is None or not store.has(record.made):
        raise NotFoundError(f"The file of asset {record.id[:12]} is gone.", repair="Make it again: `karat reproduce`.")
    return store.read(record.made), str(record.facts.get("media_type", MEDIA))


def _line(record: Record) -> AssetLine:
    return AssetLine(
        id=record.id,
        at=record.at,
        release=record.made_from[0] if record.made_from else None,
        media_type=str(record.facts.get("media_type", MEDIA)),
        request=record.spec,
        facts=record.facts,
    )
