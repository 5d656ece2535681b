"""Exploring on the page Create: dials for the directions in which a release's pictures differ, and walks from one seed to another."""

from typing import Any

from nicegui import ui

from karat.app.films import film, strip
from karat.app.policy import given_out
from karat.app.serving.service import result_of
from karat.faces.studio import parts
from karat.faces.studio.asking import Asking, slider
from karat.faces.studio.create_pictures import Coming
from karat.faces.studio.parts import block, careful, tag

DIALS = 6
REACH = 3.0
"""Standard deviations to which a dial goes, either way."""
WALK = 8
LONGEST = 24


class Exploring(Asking):
    """One picture that follows the dials, and a walk below it."""

    def show(self, known: dict[str, Any]) -> None:
        visit = self.visit
        self.asked_for = 0
        self.conditions(known.get("given", {}))
        self.seed_field(known)
        self.seed.on_value_change(careful(self.look))
        for field in self.fields.values():
            field.on_value_change(careful(self.look))
        tag("p", visit("Directions in which its pictures differ, the greatest first"), "soft small")
        moves = known.get("moves", ())
        self.dials = []
        for place in range(DIALS):
            start = moves[place] if place < len(moves) else 0
            dial = slider(visit("Direction {n}", n=place + 1), (-REACH, REACH, 0.25), start)
            dial.on("change", careful(self.look))
            self.dials.append(dial)
        with block("line"):
            self.buttons(visit("Keep this picture"), self.keep)
            parts.bare(visit("Back to the middle"), careful(self._back))
        with self.canvas:
            self._board()
        ui.timer(0.1, careful(self.look), once=True)

    def _board(self) -> None:
        visit = self.visit
        with block("board"):
            with block("big") as self.frame:
                self.words = tag("p", "", "soft small").props('role="status"')
            with block("stack"):
                tag("h2", visit("Walk"))
                tag("p", visit("From the picture of this seed to that of another"), "soft small")
                other = ui.number(visit("To the seed"), value=1, precision=0).props("outlined dense").style("width:100%")
                count = slider(visit("How many"), (3, LONGEST, 1), WALK)

                async def walk() -> None:
                    await self.walk(int(other.value or 0), int(count.value))

                parts.plain(visit("Walk"), careful(walk))
        self.way = block("stack")

    async def _back(self) -> None:
        for dial in self.dials:
            dial.value = 0
        await self.look()

    def _request(self) -> dict[str, Any]:
        moves = [float(dial.value) for dial in self.dials]
        while moves and not moves[-1]:
            moves.pop()
        return {"seed": int(self.seed.value or 0), "given": self.given(), **({"moves": moves} if moves else {})}

    async def look(self) -> None:
        """Show the picture where the dials are; what was asked for before is not waited for."""
        self.asked_for += 1
        mine = self.asked_for
        await self.stop()
        request = self._request()
        self.words.text = self.visit("Looking …")
        job = await self.asked("generate", {"release": self.offer.id, "request": request, "keeps": False})
        async for event in self.visit.service.desk.events(job.id):
            if event["kind"] == "ended" and mine == self.asked_for:
                self.words.text = ""
                shown = result_of(event)["pictures"][0]["file"]
                self.frame.clear()
                with self.frame:
                    parts.picture(f"data:image/png;base64,{shown}", self.visit("The picture where the dials are"))
                    self.words = tag("p", "", "soft small").props('role="status"')

    async def keep(self) -> None:
        """Make the picture an asset."""
        self.way.clear()
        with self.way:
            tag("span", self.visit("Kept"), "soft small")
            coming = Coming(self, side=132)
        self.busy(True)
        try:
            await coming.make(self._request())
        finally:
            self.busy(False)

    async def walk(self, other: int, count: int) -> None:
        """Show a walk as a strip, to be taken along as a film or a strip."""
        self.way.clear()
        with self.way:
            coming = Coming(self, side=60)
        seed = int(self.seed.value or 0)
        self.busy(True)
        try:
            made = await coming.make({"seed": seed, "to": other, "steps": count, "count": count, "given": self.given()})
        finally:
            self.busy(False)
        if not made:
            return
        name = f"walk-{seed}-{other}"
        with self.way, block("line"):
            parts.plain(self.visit("Download as a GIF"), careful(lambda: self._take(film, coming.made, f"{name}.gif")))
            parts.plain(self.visit("Download as a strip"), careful(lambda: self._take(strip, coming.made, f"{name}.png")))

    async def _take(self, draw: Any, assets: list[str], name: str) -> None:
        """Let the visitor take what is drawn of some assets away, if the house lets each of them go."""
        content = await self.visit.of(lambda store: draw([given_out(store, asset)[0] for asset in assets]))
        ui.download.content(content, name)
