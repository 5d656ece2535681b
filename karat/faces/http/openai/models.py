"""GET /v1/models: every release by its aliases and its id."""

import asyncio
from typing import Any

from fastapi import APIRouter

from karat.app.serving.catalog import Named
from karat.faces.http.auth import Creator, Serving

router = APIRouter(tags=["models"])


def _line(named: Named) -> dict[str, Any]:
    offer = named.offer
    said = offer.model_dump(mode="json", exclude={"id", "at"})
    return {"id": named.name, "object": "model", "created": int(offer.at), "owned_by": "karat", "release": offer.id, **said}


@router.get("/v1/models")
async def models(service: Serving, caller: Creator) -> dict[str, Any]:
    """List every release that can be asked, by alias and by id."""
    return {"object": "list", "data": [_line(named) for named in await asyncio.to_thread(service.catalog.all)]}


@router.get("/v1/models/{model:path}")
async def model(model: str, service: Serving, caller: Creator) -> dict[str, Any]:
    """Give one release by alias or id."""
    return _line(Named(name=model, offer=await service.offer(model)))
