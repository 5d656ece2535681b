"""Editing a picture on the page Create: what is painted is made anew, the rest stays; with nothing painted, the whole is varied."""

import base64
from typing import Any

from nicegui import events, ui
from nicegui.element import Element

from karat.app.brought import VARIED, facts_of, keep_pictures
from karat.faces.studio import parts
from karat.faces.studio.asking import Asking, slider
from karat.faces.studio.create_pictures import MOST, Coming
from karat.faces.studio.parts import block, careful, tag

BRUSH = 12
"""Width of the brush to begin with, in hundredths of the longer side."""
CENTRE = 0.5
"""Share of each side that the box in the middle takes."""
WHOLE, PART = VARIED, 1.0
"""How much is lost unless somebody says so: of a picture as a whole, and of a part."""


class Easel(Element, component="painting.js"):
    """A picture on which a mask is painted."""

    def __init__(self, digest: str, size: tuple[int, int], label: str) -> None:
        super().__init__()
        self._props["source"], self._props["label"] = parts.thumb(digest), label
        self._props["width"], self._props["height"] = size
        self._props["brush"] = BRUSH

    async def mask(self) -> bytes | None:
        """Give the mask as a PNG of the picture's size; None when nothing is painted."""
        drawn = str(await self.run_method("mask", timeout=20) or "")
        return base64.b64decode(drawn.partition(",")[2]) if drawn else None


class Painting(Asking):
    """A picture that is brought or was made here, a mask over it, and what comes of both."""

    def show(self, known: dict[str, Any]) -> None:
        visit = self.visit
        self.picture: str | None = None
        self.easel: Easel | None = None
        self.conditions(known.get("given", {}))
        self.seed_field(known)
        self.count = slider(visit("How many"), (1, MOST, 1), min(4, known.get("count", 4)))
        self.strength = slider(visit("How much of it is lost"), (0.05, 1, 0.05), known.get("strength", WHOLE))
        with ui.expansion(visit("More")).props("dense"):
            self.guidance = slider(visit("Guidance"), (0, 6, 0.1), known.get("sampling", {}).get("guidance", self.offer.guidance))
            self.steps = ui.number(visit("Steps"), min=1, max=500, precision=0).props("outlined dense clearable")
        with block("line"):
            self.buttons(visit("Make anew"), self.make)
        with self.canvas:
            self.board = block("stack")
            self.results = block("stack")
        self._board(known.get("picture"))
        mask, easel = known.get("mask"), self.easel
        if mask is not None and easel is not None:
            ui.timer(0.5, lambda: easel.run_method("lay", parts.thumb(mask)), once=True)

    def _board(self, picture: str | None) -> None:
        """Show a picture to paint on, or ask for one."""
        visit, self.picture = self.visit, picture
        self.go.set_enabled(picture is not None)
        self.board.clear()
        with self.board:
            if picture is None:
                self._bring(visit("Drop a picture here"), self._brought)
                tag("p", visit("Or open one in the gallery and choose to edit it."), "soft small")
                return
            size = facts_of(visit.service.store, picture)
            with block("board"):
                self.easel = Easel(picture, (size.width, size.height), visit("The picture; paint what is to be made anew"))
                self.easel.on("painted", lambda event: self._painted(bool(event.args)))
                with block("stack"):
                    self._tools()

    def _tools(self) -> None:
        visit, easel = self.visit, self.easel
        assert easel is not None, "tools are for a picture"
        if not self.offer.paints:
            tag("p", visit("This release can only vary a picture as a whole."), "soft small")
        else:
            tag("p", visit("Paint what is to be made anew. With nothing painted, the whole is varied."), "soft small")
            brush = slider(visit("Brush"), (2, 50, 1), BRUSH)
            brush.on_value_change(lambda event: easel.props(f":brush={event.value}"))
            with block("line"):
                parts.plain(visit("Undo"), lambda: easel.run_method("undo"))
                parts.plain(visit("Clear"), lambda: easel.run_method("clear"))
            with block("line"):
                parts.plain(visit("Whole picture"), lambda: easel.run_method("box", 1))
                parts.plain(visit("Box in the middle"), lambda: easel.run_method("box", CENTRE))
            mask = self._bring(visit("Upload a mask"), self._masked)
            mask.tooltip(visit("A PNG of the same size, transparent where it is made anew"))
        parts.bare(visit("Another picture"), lambda: self._board(None))

    def _bring(self, title: str, take: Any) -> ui.upload:
        drop = ui.upload(auto_upload=True, label=title, on_upload=careful(take)).classes("drop")
        drop.props(f'flat accept="image/*" aria-label="{title}" max-file-size={self.visit.service.settings.most_bytes}')
        drop.on("rejected", lambda: ui.notify(self.visit("A file is too large, or of no kind that can be read."), type="negative"))
        return drop

    async def _brought(self, event: events.UploadEventArguments) -> None:
        kept = await self.visit.of(keep_pictures, await event.file.read())
        self._board(kept["picture"])

    async def _masked(self, event: events.UploadEventArguments) -> None:
        mask = await event.file.read()
        await self.visit.of(self._kept, mask)
        if self.easel is not None:
            self.easel.run_method("lay", f"data:image/png;base64,{base64.b64encode(mask).decode()}")

    def _painted(self, painted: bool) -> None:
        if self.strength.value in (WHOLE, PART):
            self.strength.value = PART if painted else WHOLE

    def _kept(self, store: Any, mask: bytes | None) -> dict[str, str]:
        """Put the mask beside the picture, and give what a request says of both."""
        return keep_pictures(store, store.read(self.picture), mask)

    async def make(self) -> None:
        if self.easel is None:
            return
        kept = await self.visit.of(self._kept, await self.easel.mask())
        sampling: dict[str, Any] = {"steps": int(self.steps.value)} if self.steps.value else {}
        if self.guided:
            sampling["guidance"] = float(self.guidance.value)
        own = {"count": int(self.count.value), "seed": int(self.seed.value or 0), "given": self.given(), "sampling": sampling}
        self.results.clear()
        with self.results, block("beside"):
            with block("stack tight"):
                tag("span", self.visit("The picture"), "soft small")
                parts.tile(parts.thumb(kept["picture"]), self.visit("The picture"))
            with block("stack tight"):
                tag("span", self.visit("What came of it"), "soft small")
                coming = Coming(self, side=132)
        self.busy(True)
        try:
            await coming.make({**own, **kept, "strength": float(self.strength.value)})
        finally:
            self.busy(False)
