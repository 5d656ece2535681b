"""Records, runs, releases and aliases: the chain as it stands, and which release a name points at."""

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Query

from karat.app import aliasing, chain, removing
from karat.app.serving.catalog import Named
from karat.faces.http.api.pages import Limit
from karat.faces.http.auth import Creator, Reader, Serving, Trainer
from karat.faces.http.repeating import Repeatable
from karat.words.specs import Spec

router = APIRouter(prefix="/api", tags=["chain"])
MOST = 500
HIDDEN = ("gold",)
"""Kinds of records that only administrators see: reviewers must not know which assets are gold items."""


class Pointing(Spec):
    """Where an alias is to point: an id, the start of one, or another alias."""

    record: str


@router.get("/records")
async def records(
    service: Serving, caller: Reader, kind: str, before: Annotated[str | None, Query(max_length=64)] = None, limit: Limit = 50
) -> dict[str, Any]:
    """List the records of a kind, newest first."""
    if kind in HIDDEN:
        caller.need("admin")
    found = await asyncio.to_thread(service.store.find, kind, limit=limit, before=before)
    return {"data": found, "next": found[-1].id if len(found) == limit else None}


@router.get("/records/{ref}")
async def record(ref: str, service: Serving, caller: Reader) -> dict[str, Any]:
    """Give a record by its id, the start of one, or an alias."""
    found = await asyncio.to_thread(service.store.get, ref)
    if found.kind in HIDDEN:
        caller.need("admin")
    return {**found.model_dump(mode="json"), "about": chain.about(found)}


@router.delete("/records/{ref}")
async def remove(ref: str, service: Serving, caller: Trainer) -> removing.Removed:
    """Remove an unfinished run by its folder's name, or a source of which nothing was made, with all its files."""
    return await asyncio.to_thread(removing.remove, service.store, ref)


@router.get("/records/{ref}/ancestry")
async def ancestry(ref: str, service: Serving, caller: Reader) -> dict[str, Any]:
    """Give everything that a record was made from, nearest first."""
    found = await asyncio.to_thread(service.store.ancestry, ref)
    return {"data": chain.links(found[:MOST]), "count": len(found)}


@router.get("/records/{ref}/descendants")
async def descendants(ref: str, service: Serving, caller: Reader) -> dict[str, Any]:
    """Give what was made from a record, nearest first: the first 500, and how many there are."""
    found = await asyncio.to_thread(service.store.descendants, ref)
    found = [each for each in found if each.kind not in HIDDEN or "admin" in caller.scopes]
    return {"data": chain.links(found[:MOST]), "count": len(found)}


@router.get("/runs")
async def runs(service: Serving, caller: Reader) -> dict[str, Any]:
    """List all runs, finished or not, newest first."""
    return {"data": await asyncio.to_thread(chain.runs, service.store)}


@router.get("/releases")
async def releases(service: Serving, caller: Creator) -> dict[str, list[Named]]:
    """List every release that can be asked, by alias and by id."""
    return {"data": await asyncio.to_thread(service.catalog.all)}


@router.get("/aliases")
async def aliases(service: Serving, caller: Creator) -> dict[str, list[aliasing.AliasLine]]:
    """List all aliases with what they point at."""
    return {"data": await asyncio.to_thread(aliasing.aliases, service.store)}


@router.get("/aliases/{name}")
async def history(name: str, service: Serving, caller: Creator) -> dict[str, list[aliasing.AliasLine]]:
    """Give all that an alias has pointed at, newest first."""
    return {"data": await asyncio.to_thread(aliasing.history, service.store, name)}


@router.put("/aliases/{name}")
async def point(name: str, body: Pointing, service: Serving, caller: Trainer) -> aliasing.AliasLine:
    """Let an alias point at a record. Requests that come from now on are asked of it; those that run end as they began."""
    return await asyncio.to_thread(aliasing.point, service.store, name, body.record)


@router.post("/aliases/{name}/rollback")
async def roll_back(name: str, service: Serving, caller: Trainer, repeat: Repeatable) -> aliasing.AliasLine:
    """Let an alias point at what it pointed at before."""
    return await repeat.once(aliasing.AliasLine, lambda: aliasing.roll_back(service.store, name))
