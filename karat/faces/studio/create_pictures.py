"""Pictures on the page Create: several at once, seen while they appear; or several strengths of guidance beside each other."""

from typing import Any

from nicegui import ui

from karat.app.assets import Wanted, search
from karat.app.serving.service import result_of
from karat.faces.studio import parts
from karat.faces.studio.asking import Asking, slider
from karat.faces.studio.parts import block, tag
from karat.faces.studio.visit import address

SWEEP = (0.0, 1.0, 2.0, 3.0, 5.0)
"""Strengths of guidance that a sweep lays beside each other."""
MOST = 64
BEFORE = 24


class Drawing(Asking):
    """Pictures: several at once, seen while they appear."""

    def show(self, known: dict[str, Any]) -> None:
        visit = self.visit
        self.conditions(known.get("given", {}))
        self.seed_field(known)
        sampling = known.get("sampling", {})
        self.first = known.get("first", 0)
        self.count = slider(visit("How many"), (1, MOST, 1), known.get("count", 8))
        with block("stack") as guiding:
            words = visit("Guidance: how closely it keeps to what it is told")
            self.guidance = slider(words, (0, 6, 0.1), sampling.get("guidance", self.offer.guidance))
            self.sweep = ui.checkbox(visit("Lay several strengths of guidance beside each other")).props("dense")
        guiding.set_visibility(self.guided)
        with ui.expansion(visit("More")).props("dense") as more:
            self.steps = ui.number(visit("Steps"), value=sampling.get("steps"), min=1, max=500, precision=0).props(
                "outlined dense clearable"
            )
        more.set_visibility("steps" in self.offer.dials)
        with block("line"):
            self.buttons(visit("Create"), self.make)
        with self.canvas:
            self._before()

    def _before(self) -> None:
        """Show what was made with this release before, or say that it appears here."""
        made = search(self.visit.service.store, Wanted(release=self.offer.id), limit=BEFORE).data
        if not made:
            parts.empty(self.visit("Nothing here yet"), self.visit("What you create appears here."))
            return
        tag("span", self.visit("Made before"), "soft small")
        with parts.wall(side=120):
            for line in made:
                parts.tile(f"/studio/assets/{line.id}/thumb", self.visit("Asset"), address("/gallery", asset=line.id))

    def sampling(self, guidance: float) -> dict[str, Any]:
        steps = {} if not self.steps.value else {"steps": int(self.steps.value)}
        return {**steps, **({"guidance": guidance} if self.guided else {})}

    async def make(self) -> None:
        self.canvas.clear()
        self.busy(True)
        try:
            for guidance in SWEEP if self.sweep.value else (float(self.guidance.value),):
                if not await self._one(guidance):
                    break
        finally:
            self.busy(False)

    async def _one(self, guidance: float) -> bool:
        """Make one batch and show it as it comes; say whether it was not stopped."""
        request = {"count": int(self.count.value), "seed": int(self.seed.value or 0), "first": self.first, "given": self.given()}
        with self.canvas:
            if self.sweep.value:
                tag("h3", self.visit("Guidance {n}", n=f"{guidance:g}"))
            coming = Coming(self, side=64 if self.sweep.value else 132)
        return await coming.make({**request, "sampling": self.sampling(guidance)})


class Coming:
    """Pictures that are on their way: a bar, unfinished ones, then those that were made, which lead to the gallery."""

    def __init__(self, asking: Asking, *, side: int) -> None:
        self.asking, self.visit = asking, asking.visit
        self.bar = ui.linear_progress(0, show_value=False).props(f'aria-label="{self.visit("Progress")}"')
        self.place = parts.wall(side=side)
        self.made: list[str] = []

    async def make(self, request: dict[str, Any]) -> bool:
        """Ask for pictures and show them; say whether they were made, and not stopped."""
        job = await self.asking.asked("generate", {"release": self.asking.offer.id, "request": request, "previews": 3})
        async for event in self.visit.service.desk.events(job.id):
            if event["kind"] == "progress":
                figures = event["figures"]
                step = figures["step"] / figures["steps"] if figures.get("steps") else 0
                self.bar.value = round((event["done"] + step * (event["total"] - event["done"])) / max(1, event["total"]), 3)
            elif event["kind"] == "previewing":
                self.place.clear()
                with self.place:
                    parts.tile(f"data:image/png;base64,{event['picture']}", self.visit("Unfinished"))
            elif event["kind"] == "ended":
                self.bar.delete()
                if event["job"]["state"] == "cancelled":
                    self.place.clear()
                    return False
                self._show(result_of(event))
        return True

    def _show(self, result: dict[str, Any]) -> None:
        self.place.clear()
        with self.place:
            for made in result["assets"]:
                self.made.append(made["asset"])
                words = self.visit("Asset {n}", n=made["index"])
                tile = parts.tile(f"/studio/assets/{made['asset']}/thumb", words, address("/gallery", asset=made["asset"]))
                if made["copied"]:
                    tile.tooltip(self.visit("Suspiciously near a training sample"))
