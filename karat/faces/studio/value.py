"""Value: what assets cost, each and each accepted one, and where the cost comes from."""

import time

from nicegui import ui

from karat.app.costs import Estimate, Prices, Value, declare, prices, value
from karat.faces.studio import parts
from karat.faces.studio.parts import COLOURS, block, careful, heading, section, tag
from karat.faces.studio.visit import Visit, address

STATES = ("accepted", "edited", "rejected", "disputed", "open")


async def build(visit: Visit) -> None:
    """Show the value of one release or of all."""
    named = await visit.of(lambda store: visit.service.catalog.all())
    releases = {"": visit("All releases"), **{each.offer.id: each.offer.title for each in named}}
    chosen = visit.query.get("release", "")
    with heading(visit("Value"), visit("What it took, down to the last second of a worker and of a reviewer.")):
        select = ui.select(releases, value=chosen if chosen in releases else "").props("outlined dense")
        select.props(f'aria-label="{visit("Release")}"')
        select.on_value_change(lambda change: ui.navigate.to(address("/value", release=change.value)))
    held = await visit.of(prices)
    if not held.device_hour and not held.reviewer_hour:
        with block("notice"):
            tag("p", visit("No prices were declared yet, so nothing costs anything. Say below what an hour costs."))
    found = await visit.of(value, chosen or None)
    _figures(visit, found)
    with block("half"):
        with section(visit("Where the cost comes from")):
            _parts(visit, found)
        with section(visit("What became of them")):
            counts = [(visit(name), f"{found.states[name]:,}") for name in STATES if name in found.states]
            parts.facts([*counts, (visit("Review"), visit("{n} min", n=f"{found.reviewer_minutes:,.1f}"))])
            parts.facts([(visit("All devices"), visit("{n} h", n=f"{found.device_hours:,.2f}"))])
    if visit.may("admin"):
        _prices(visit, held)


def _figures(visit: Visit, found: Value) -> None:
    with block("figures"):
        each, accepted = _estimate(found.per_asset, found.currency), _estimate(found.per_accepted, found.currency)
        parts.figure(accepted[0], " ".join([visit("per accepted asset"), accepted[1]]))
        parts.figure(each[0], " ".join([visit("per asset"), each[1]]))
        parts.figure(_money(found.cost, found.currency), visit("in all"))
        parts.figure(f"{found.assets:,}", visit("assets"))


def _money(amount: float, currency: str) -> str:
    shown = f"{amount:,.2f}" if amount >= 1 or amount == 0 else f"{amount:.3g}"
    return f"{shown} {currency}".strip()


def _estimate(found: Estimate | None, currency: str) -> tuple[str, str]:
    if found is None:
        return "–", ""
    high = "?" if found.high is None else _money(found.high, "")
    return _money(found.value, currency), f"({_money(found.low, '')} – {high})"


def _parts(visit: Visit, found: Value) -> None:
    shares = sorted(found.parts.items(), key=lambda each: -each[1])
    whole = sum(found.parts.values()) or 1.0
    with block("bar").props(f'role="img" aria-label="{visit("Where the cost comes from")}"'):
        for (_, amount), colour in zip(shares, COLOURS, strict=False):
            block("", "i").style(f"width:{100 * amount / whole:.2f}%;background:{colour}")
    with block("facts", "dl"):
        for (part, amount), colour in zip(shares, COLOURS, strict=False):
            tag("dt", visit(part)).style(f"border-left:10px solid {colour};padding-left:9px;line-height:1.25;margin:2px 0")
            tag("dd", _money(amount, found.currency), "num")
        if found.unallocated:
            tag("dt", visit("without assets yet"))
            tag("dd", _money(found.unallocated, found.currency), "num")


def _prices(visit: Visit, held: Prices) -> None:
    with section(visit("Prices"), visit("They hold from now on; what was before keeps the prices of its time.")), block("line"):
        device = ui.number(visit("An hour of a worker"), value=held.device_hour, min=0).props("outlined dense").classes("grow")
        reviewer = ui.number(visit("An hour of a reviewer"), value=held.reviewer_hour, min=0).props("outlined dense").classes("grow")
        currency = ui.input(visit("Currency"), value=held.currency).props("outlined dense maxlength=8").classes("grow")

        @careful
        async def say() -> None:
            told = {"device_hour": device.value or 0.0, "reviewer_hour": reviewer.value or 0.0, "currency": currency.value}
            visit.note("prices")
            await visit.of(declare, Prices.from_values({**told, "since": time.time()}))
            ui.navigate.reload()

        parts.plain(visit("Declare"), say)
