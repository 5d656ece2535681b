"""Create: ask a release for pictures and watch them appear, edit one, or converse with a release that answers."""

from typing import Any

from nicegui import ui

from karat.app.assets import asset as asset_line
from karat.app.serving.catalog import Offer
from karat.faces.studio import parts
from karat.faces.studio.asking import Asking
from karat.faces.studio.create_pictures import Drawing
from karat.faces.studio.create_texts import Talking
from karat.faces.studio.exploring import Exploring
from karat.faces.studio.painting import Painting
from karat.faces.studio.parts import block, heading
from karat.faces.studio.visit import Visit


async def build(visit: Visit) -> None:
    """Show what can be asked for on the left, and what came of it on the right."""
    named = await visit.of(lambda store: visit.service.catalog.all())
    offers: dict[str, Offer] = {}
    names: dict[str, str] = {}
    for each in named:
        offers.setdefault(each.offer.id, each.offer)
        names.setdefault(each.offer.id, f"{each.offer.title} · {each.name}" if each.name != each.offer.id else each.offer.title)
    heading(visit("Create"), visit("The same seed and settings give the same files again."))
    if not offers:
        parts.empty(visit("No release yet"), visit("Train a model, then measure and release it."), visit("Train"), "/train")
        return
    start = await _start(visit)
    first = start.get("release") or visit.query.get("with") or next(iter(offers))
    if "picture" in start.get("request", {}) and not (first in offers and offers[first].varies):
        first = next((offer.id for offer in offers.values() if offer.varies), first)
    with block("two"):
        with block("stack"):
            release = ui.select(names, value=first if first in offers else next(iter(offers)), label=visit("Release"))
            release.props("outlined dense").style("width:100%")
            ways = block("line")
            form = block("stack")
        canvas = block("stack").props('aria-live="polite"')

    def draw(way: str) -> None:
        form.clear()
        canvas.clear()
        offer = offers[release.value]
        with form:
            _ways(visit, offer)[way](visit, offer, canvas).show(start.get("request", {}))

    def offered(way: str = "") -> None:
        """Lay out what the chosen release can do."""
        ways.clear()
        known = _ways(visit, offers[release.value])
        way = way if way in known else next(iter(known))
        if len(known) > 1:
            with ways:
                ui.toggle({name: name for name in known}, value=way, on_change=lambda event: draw(event.value)).props(
                    f'no-caps unelevated aria-label="{visit("What to do")}"'
                )
        draw(way)

    release.on_value_change(lambda: offered())
    request = start.get("request", {})
    offered(visit("Edit a picture") if "picture" in request else visit("Explore") if "moves" in request else "")


def _ways(visit: Visit, offer: Offer) -> dict[str, type[Asking]]:
    """Give what can be done with a release, by what it is called."""
    if offer.writes:
        return {visit("Write"): Talking}
    ways: dict[str, type[Asking]] = {visit("New"): Drawing}
    if offer.varies:
        ways[visit("Edit a picture")] = Painting
    if offer.explores:
        ways[visit("Explore")] = Exploring
    return ways


async def _start(visit: Visit) -> dict[str, Any]:
    """Give the settings of the asset whose settings are to be used, or that is to be edited, if the page was asked for with one."""
    if "edit" in visit.query:
        line = await visit.of(asset_line, visit.query["edit"])
        record = await visit.of(lambda store: store.get(line.id))
        return {"release": line.release, "request": {"given": line.request.get("given", {}), "picture": record.made}}
    if "like" not in visit.query:
        return {}
    line = await visit.of(asset_line, visit.query["like"])
    return {"release": line.release, "request": line.request}
