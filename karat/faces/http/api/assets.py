"""Assets: found by words, release and date; each with its file and where it comes from."""

import asyncio
from typing import Annotated

from fastapi import APIRouter, Query, Response

from karat.app import assets, chain
from karat.app.policy import given_out
from karat.faces.http.api.pages import Before, Limit
from karat.faces.http.auth import Creator, Serving, Viewer

router = APIRouter(prefix="/api/assets", tags=["assets"])
PLAIN = {
    "x-content-type-options": "nosniff",
    "content-security-policy": "default-src 'none'; sandbox",
    "cache-control": "private, max-age=86400",
}
"""Whatever a file holds, a browser runs nothing of it."""
Moment = Annotated[float | None, Query(ge=0, lt=1e12, description="Unix seconds")]


@router.get("")
async def search(
    service: Serving,
    caller: Creator,
    words: Annotated[str, Query(max_length=500, description="beginnings of words of the request, all of which it must have")] = "",
    release: Annotated[str | None, Query(max_length=200)] = None,
    since: Moment = None,
    until: Moment = None,
    before: Before = None,
    limit: Limit = 50,
) -> assets.AssetPage:
    """Search assets, newest first."""
    wanted = assets.Wanted(words=words, release=release, since=since, until=until, before=before)
    return await asyncio.to_thread(assets.search, service.store, wanted, limit=limit)


@router.get("/{id}")
async def one(id: str, service: Serving, caller: Viewer) -> assets.AssetLine:
    """Give an asset with all that was asked for it."""
    return await asyncio.to_thread(assets.asset, service.store, id)


@router.get("/{id}/origin")
async def origin(id: str, service: Serving, caller: Creator) -> dict[str, tuple[chain.Link, ...]]:
    """Give everything that an asset was made from: release, run, data."""
    line = await asyncio.to_thread(assets.asset, service.store, id)
    return {"data": chain.links(await asyncio.to_thread(service.store.ancestry, line.id))}


@router.get("/{id}/file", response_class=Response)
async def file(id: str, service: Serving, caller: Viewer) -> Response:
    """Give an asset's file, if the house lets it go; reviewers see what is yet to be accepted."""
    content, media_type = await asyncio.to_thread(given_out, service.store, id, to_reviewer="review" in caller.scopes)
    return Response(content, media_type=media_type, headers=PLAIN)
