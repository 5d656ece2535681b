"""Verdicts: what is to be reviewed, what people say of it, and what all of them say together."""

import asyncio
import time
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import Field

from karat.app import verdicts
from karat.app.assets import asset
from karat.app.verdicts import Agreement, Gold, GoldLine, Pair, Standing, State, Verdict
from karat.faces.http.auth import Administrator, Reviewer, Serving
from karat.faces.http.repeating import Repeatable
from karat.words.errors import DataError
from karat.words.specs import Spec

router = APIRouter(prefix="/api", tags=["verdicts"])
Most = Annotated[int, Query(ge=1, le=200, description="how many to give")]
Release = Annotated[str | None, Query(max_length=200)]
One = Annotated[str, Query(max_length=200)]


class Judged(Spec):
    """A verdict to be kept: of one asset, or of two in the order in which they were shown."""

    assets: tuple[str, ...] = Field(min_length=1, max_length=2)
    judgement: Literal["accept", "reject", "edit", "tags", "prefer"]
    prefers: Literal["first", "second", "tie"] | None = None
    tags: tuple[str, ...] = Field((), max_length=50)
    note: str = Field("", max_length=4_000)
    position: int | None = Field(None, ge=0)
    seconds: float | None = Field(None, ge=0, le=86_400)


class Kept(Spec):
    """A verdict that was kept, and its record."""

    id: str
    verdict: Verdict


class Marking(Spec):
    """An asset and the verdict that is right; none: it is no gold item any more."""

    asset: str
    expected: Literal["accept", "reject", "edit"] | None


class Marked(Spec):
    """A gold item as it was marked, and the record of that."""

    id: str
    gold: Gold


class Together(Spec):
    """What all reviewers say together; None where too few have judged."""

    agreement: Agreement | None
    agreement_on_pairs: Agreement | None
    preference: tuple[Standing, ...]


@router.get("/review")
async def queue(service: Serving, caller: Reviewer, release: Release = None, limit: Most = 50) -> dict[str, list[str]]:
    """Give the assets that the caller has not decided on yet, in an order of their own."""
    return {"data": await asyncio.to_thread(verdicts.to_review, service.store, caller.name, release=release, limit=limit)}


@router.get("/review/pairs")
async def pairs(service: Serving, caller: Reviewer, one: One, other: One, limit: Most = 50) -> dict[str, list[Pair]]:
    """Give pairs of what two releases made of the same requests, each in the order in which it is to be shown."""
    return {"data": await asyncio.to_thread(verdicts.pairs, service.store, caller.name, (one, other), limit=limit)}


@router.post("/verdicts", status_code=201)
async def judge(body: Judged, service: Serving, caller: Reviewer, repeat: Repeatable) -> Kept:
    """Keep what the caller says of an asset, or which of two they prefer."""
    said = Verdict(**body.model_dump(exclude={"assets"}), by=caller.name[:100], at=time.time())
    return await repeat.once(Kept, lambda: Kept(id=verdicts.judge(service.store, body.assets, said), verdict=said))


@router.get("/assets/{id}/verdicts")
async def of_asset(id: str, service: Serving, caller: Reviewer) -> dict[str, Any]:
    """Give what was said of an asset, oldest first, and what its reviewers say together."""
    line = await asyncio.to_thread(asset, service.store, id)
    state: State = await asyncio.to_thread(verdicts.state_of, service.store, line.id)
    return {"data": await asyncio.to_thread(verdicts.verdicts_of, service.store, line.id), "state": state}


@router.get("/review/together")
async def together(service: Serving, caller: Reviewer) -> Together:
    """Say how far reviewers agree, and which releases they prefer."""

    def found() -> Together:
        agreed = [_known(lambda of=of: of(service.store)) for of in (verdicts.agreed, verdicts.agreed_on_pairs)]
        preference = _known(lambda: verdicts.preferred(service.store)) or ()
        return Together(agreement=agreed[0], agreement_on_pairs=agreed[1], preference=tuple(preference))

    return await asyncio.to_thread(found)


def _known(work: Any) -> Any:
    """Give what some judgements say; None where there are too few."""
    try:
        return work()
    except DataError:
        return None


@router.get("/gold")
async def gold(service: Serving, caller: Administrator) -> dict[str, list[GoldLine]]:
    """Say how each reviewer judged the gold items."""
    return {"data": await asyncio.to_thread(verdicts.gold, service.store)}


@router.post("/gold", status_code=201)
async def mark_gold(body: Marking, service: Serving, caller: Administrator, repeat: Repeatable) -> Marked:
    """Say which verdict on an asset is right, so that it is a gold item among what reviewers see."""
    known = Gold(expected=body.expected, by=caller.name[:100], at=time.time())
    return await repeat.once(Marked, lambda: Marked(id=verdicts.mark_gold(service.store, body.asset, known), gold=known))
