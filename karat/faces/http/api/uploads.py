"""Uploads: files for an import. They go to a folder of their own; `{"kind": "import", "spec": {"upload": id}}` brings them in."""

import asyncio
from typing import Annotated

from fastapi import APIRouter, File, UploadFile

from karat.app.lots import Lot
from karat.faces.http.auth import Serving, Trainer
from karat.faces.http.repeating import Repeatable

router = APIRouter(prefix="/api/uploads", tags=["data"])


@router.post("", status_code=201)
async def upload(files: Annotated[list[UploadFile], File(max_length=1_000)], service: Serving, caller: Trainer, repeat: Repeatable) -> Lot:
    """Upload a zip file, a table, or some files; a file's name may have folders in it, which become labels."""
    named = [(file.filename or "", file.file) for file in files]
    return await repeat.once(Lot, lambda: service.lots.bring(named))


@router.get("")
async def uploads(service: Serving, caller: Trainer) -> dict[str, list[Lot]]:
    """List all uploads, newest first."""
    return {"data": await asyncio.to_thread(service.lots.all)}


@router.get("/{id}")
async def one(id: str, service: Serving, caller: Trainer) -> Lot:
    """Say what an upload holds."""
    return await asyncio.to_thread(service.lots.get, id)


@router.delete("/{id}", status_code=204)
async def remove(id: str, service: Serving, caller: Trainer) -> None:
    """Remove an upload. What was imported of it stays."""
    await asyncio.to_thread(service.lots.remove, id)
