"""Judging: how a page puts a verdict on the chain, and how an administrator says which verdict is right."""

import time
from collections.abc import Sequence

from nicegui import ui

from karat.app.verdicts import Gold, Verdict, gold_of, judge, mark_gold
from karat.faces.studio.parts import careful, done
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


async def gold_choice(visit: Visit, asset: str) -> None:
    """Let an administrator say which verdict on an asset is right, so that it becomes a gold item, or that it is none."""
    judgements = {"": visit("no gold item"), **{each: visit(each) for each in ("accept", "edit", "reject")}}
    choice = ui.select(judgements, value=await visit.of(gold_of, asset) or "", label=visit("Gold item: the right verdict"))

    @careful
    async def mark() -> None:
        visit.caller.need("admin")
        await visit.of(mark_gold, asset, Gold(expected=choice.value or None, by=visit.caller.name, at=time.time()))
        visit.note(f"gold/{asset[:12]}")
        done(visit("Kept. Reviewers are not told."))

    choice.props("outlined dense").style("width:100%").on_value_change(mark)
