"""The house: its policy, its prices, and what its assets came to."""

import asyncio
import time
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field

from karat.app import costs
from karat.app.policy import Policy, PolicyChange, declare_policy, policy, policy_history
from karat.faces.http.auth import Administrator, Reader, Serving
from karat.words.specs import Spec

router = APIRouter(prefix="/api", tags=["house"])


class PolicyWish(Spec):
    """What the house is to demand from now on, all of it: what is not named is not demanded."""

    licences: tuple[str, ...] = Field((), max_length=200)
    labelled: bool = False
    original: bool = False
    reviewed: bool = False
    calls_days: float | None = Field(None, ge=1, le=36_500)
    uploads_days: float = Field(7, ge=1, le=36_500)


class PriceWish(Spec):
    """What an hour is to cost from now on."""

    device_hour: float = Field(0.0, ge=0, lt=1e9)
    reviewer_hour: float = Field(0.0, ge=0, lt=1e9)
    currency: str = Field("", max_length=8)


@router.get("/policy")
async def held(service: Serving, caller: Reader) -> Policy:
    """Say what the house demands."""
    return await asyncio.to_thread(policy, service.store)


@router.put("/policy")
async def declare(body: PolicyWish, service: Serving, caller: Administrator) -> Policy:
    """Let a policy hold from now on."""
    wanted = Policy(**body.model_dump(), by=caller.name[:100], since=time.time())
    return await asyncio.to_thread(declare_policy, service.store, wanted)


@router.get("/policy/history")
async def history(service: Serving, caller: Administrator) -> dict[str, list[PolicyChange]]:
    """Give what every declaration changed, newest first."""
    return {"data": await asyncio.to_thread(policy_history, service.store)}


@router.get("/prices")
async def prices(service: Serving, caller: Reader) -> costs.Prices:
    """Say what an hour costs now."""
    return await asyncio.to_thread(costs.prices, service.store)


@router.put("/prices")
async def declare_prices(body: PriceWish, service: Serving, caller: Administrator) -> costs.Prices:
    """Let prices hold from now on; what was before keeps the prices of its time."""
    return await asyncio.to_thread(costs.declare, service.store, costs.Prices(**body.model_dump(), since=time.time()))


@router.get("/value")
async def value(service: Serving, caller: Reader, release: Annotated[str | None, Query(max_length=200)] = None) -> costs.Value:
    """Say what the assets of a release, or all assets, cost and came to."""
    return await asyncio.to_thread(costs.value, service.store, release)
