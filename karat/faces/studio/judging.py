"""Judging: how a page puts a verdict on the chain."""

import time
from collections.abc import Sequence

from karat.app.verdicts import Verdict, judge
from karat.faces.studio.visit import Visit


async def decide(
    visit: Visit,
    assets: Sequence[str],
    judgement: str,
    *,
    tags: Sequence[str] = (),
    prefers: str | None = None,
    seconds: float | None = None,
    position: int | None = None,
) -> str:
    """Say what the visitor thinks of an asset, or which of two they prefer. Raises ScopeError for who may not review."""
    visit.caller.need("review")
    said = {
        "judgement": judgement,
        "by": visit.caller.name,
        "at": time.time(),
        "shown": ("asset", "settings") if position is None else ("asset",),
        "position": position,
        "seconds": None if seconds is None else round(seconds, 2),
        "tags": tuple(tags),
        "prefers": prefers,
    }
    visit.note(f"verdicts/{judgement}")
    return await visit.of(judge, list(assets), Verdict.from_values(said))
