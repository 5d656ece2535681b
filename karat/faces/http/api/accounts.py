"""Keys, people and the audit log; and who the caller is, with what they have spent."""

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import Field

from karat.app import costs
from karat.app.audit import Call
from karat.app.keys import Caller, Key, NewKey
from karat.app.people import PersonLine
from karat.faces.http.api.pages import Before, Limit
from karat.faces.http.auth import Administrator, Anyone, Serving
from karat.faces.http.repeating import Repeatable
from karat.words.specs import Spec

router = APIRouter(prefix="/api", tags=["accounts"])


class KeyRequest(Spec):
    """A key to be made. `budget` is in the server's money."""

    name: str = Field(min_length=1, max_length=200)
    scopes: tuple[str, ...] = ("generate",)
    seconds: float | None = Field(None, gt=0, lt=1e10)
    per_minute: float | None = Field(None, ge=1, le=1e6)
    budget: float | None = Field(None, ge=0, lt=1e12)


class Rotation(Spec):
    """How long the key that is followed still holds."""

    grace: float = Field(3600.0, ge=0, le=30 * 86_400)


class PersonRequest(Spec):
    """A person to be let in."""

    name: str = Field(min_length=1, max_length=60)
    password: str = Field(max_length=1_000)
    role: str = "creator"


class PersonChange(Spec):
    """What is to change of a person."""

    password: str | None = Field(None, max_length=1_000)
    role: str | None = None
    left: bool | None = None


class Account(Spec):
    """A caller, what was spent and is reserved of their budget, and the secret that signs their webhooks."""

    caller: Caller
    seconds: float
    spent: float
    currency: str
    webhook_secret: str


@router.get("/me")
async def me(service: Serving, caller: Anyone) -> Account:
    """Say who the caller is, what they may, and what they have spent."""
    spent = await asyncio.to_thread(costs.spent, service.store, caller.owner)
    secret = await asyncio.to_thread(service.webhooks.secret, caller.owner)
    return Account(caller=caller, seconds=spent.seconds, spent=spent.money, currency=spent.currency, webhook_secret=secret)


@router.get("/keys")
async def keys(service: Serving, caller: Administrator) -> dict[str, list[Key]]:
    """List all keys, without their secrets, which nobody has."""
    return {"data": await asyncio.to_thread(service.keys.all)}


@router.post("/keys", status_code=201)
async def make_key(body: KeyRequest, service: Serving, caller: Administrator, repeat: Repeatable) -> NewKey:
    """Make a key. Its secret is shown this once."""
    limits = body.model_dump(include={"seconds", "per_minute", "budget"})
    return await repeat.once(NewKey, lambda: service.keys.make(body.name, body.scopes, **limits), secret=True)


@router.post("/keys/{id}/rotate", status_code=201)
async def rotate_key(id: str, body: Rotation, service: Serving, caller: Administrator, repeat: Repeatable) -> NewKey:
    """Make a key that follows another, which ends after a while. They share limits and budget."""
    return await repeat.once(NewKey, lambda: service.keys.rotate(id, grace=body.grace), secret=True)


@router.delete("/keys/{id}")
async def revoke_key(id: str, service: Serving, caller: Administrator) -> Key:
    """End a key at once."""
    return await asyncio.to_thread(service.keys.revoke, id)


@router.get("/people")
async def people(service: Serving, caller: Administrator) -> dict[str, list[PersonLine]]:
    """List all people."""
    return {"data": await asyncio.to_thread(service.people.all)}


@router.post("/people", status_code=201)
async def add_person(body: PersonRequest, service: Serving, caller: Administrator, repeat: Repeatable) -> PersonLine:
    """Let a person in, as creator, reviewer, trainer or admin."""
    return await repeat.once(PersonLine, lambda: service.people.add(body.name, body.password, body.role))


@router.patch("/people/{name}")
async def change_person(name: str, body: PersonChange, service: Serving, caller: Administrator) -> PersonLine:
    """Change a person's password or role, or let them leave."""
    return await asyncio.to_thread(service.people.change, name, **body.model_dump())


@router.get("/audit")
async def audit(
    service: Serving,
    caller: Administrator,
    who: Annotated[str | None, Query(max_length=100)] = None,
    before: Before = None,
    limit: Limit = 50,
) -> dict[str, Any]:
    """Read the audit log, newest first."""
    found: list[Call] = await asyncio.to_thread(service.store.calls.latest, who=who, before=before, limit=limit)
    return {"data": found, "next": found[-1].number if len(found) == limit else None}
