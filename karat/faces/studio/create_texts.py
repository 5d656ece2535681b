"""Texts on the page Create: turns that are answered, or a beginning that is gone on from; shown as they are written."""

from typing import Any

from nicegui import ui

from karat.app.serving.service import result_of
from karat.faces.studio import parts
from karat.faces.studio.asking import Asking, slider
from karat.faces.studio.parts import block, tag


class Talking(Asking):
    """Texts: turns that are answered, or a beginning that is gone on from."""

    def show(self, known: dict[str, Any]) -> None:
        visit = self.visit
        self.turns: list[dict[str, str]] = []
        self.conditions(known.get("given", {}))
        if self.offer.answers:
            self.system = ui.textarea(visit("What it is told before"), value="").props("outlined dense autogrow").style("width:100%")
        self.seed_field(known)
        with ui.expansion(visit("More")).props("dense"), block("stack"):
            sampling = known.get("sampling", {})
            self.most = ui.number(visit("Tokens at most"), value=sampling.get("most"), min=1, precision=0).props("outlined dense clearable")
            self.heat = slider(visit("Temperature"), (0, 2, 0.05), sampling.get("temperature", 1.0))
        with self.canvas:
            self.talk = block("talk")
            words = visit("Say something") if self.offer.answers else visit("How the text begins")
            start = (known.get("prompt") or {}).get("text", "")
            self.words = ui.textarea(words, value=start).props("outlined autogrow").style("width:100%").classes("words")
            with block("line"):
                self.buttons(visit("Send") if self.offer.answers else visit("Write"), self.say)
                if self.offer.answers:
                    parts.bare(visit("Begin anew"), self._anew)

    def _anew(self) -> None:
        self.turns.clear()
        self.talk.clear()

    async def say(self) -> None:
        """Ask for a text and show it as it is written; one that is stopped stays as far as it came."""
        said = self.words.value
        asked = {"release": self.offer.id, "prompts": [self._prompt(said)], "request": self._request(), "tells": True}
        job = await self.asked("write", asked)
        with self.talk, block("turn") as turn:
            if self.offer.answers:
                tag("p", said, "mine")
            answer = tag("p", "" if self.offer.answers else said, "theirs")
        self.words.value = "" if self.offer.answers else said
        self.busy(True)
        text = ""
        try:
            async for event in self.visit.service.desk.events(job.id):
                if event["kind"] == "said":
                    text += event["text"]
                elif event["kind"] == "ended" and event["job"]["state"] != "cancelled":
                    text = result_of(event)["texts"][0]["text"]
                answer.text = text if self.offer.answers else said + text
        finally:
            self.busy(False)
            if not text:  # it failed, or was stopped before it began
                turn.delete()
                self.words.value = said
        if self.offer.answers and text:
            self.turns += [{"role": "user", "text": said}, {"role": "assistant", "text": text}]

    def _prompt(self, said: str) -> dict[str, Any]:
        if not self.offer.answers:
            return {"text": said}
        system = [{"role": "system", "text": self.system.value}] if self.system.value else []
        return {"turns": [*system, *self.turns, {"role": "user", "text": said}]}

    def _request(self) -> dict[str, Any]:
        sampling = {"temperature": float(self.heat.value), **({"most": int(self.most.value)} if self.most.value else {})}
        return {"seed": int(self.seed.value or 0), "first": len(self.turns) // 2, "given": self.given(), "sampling": sampling}
