"""Create: ask a release for pictures and watch them appear, or converse with one that answers."""

import secrets
from typing import Any

from nicegui import ui

from karat.app.assets import Wanted, search
from karat.app.assets import asset as asset_line
from karat.app.serving.catalog import Offer
from karat.app.serving.service import result_of
from karat.faces.studio import parts
from karat.faces.studio.parts import block, careful, heading, tag
from karat.faces.studio.visit import Visit, address
from karat.words.errors import KaratError

SWEEP = (0.0, 1.0, 2.0, 3.0, 5.0)
"""Strengths of guidance that a sweep lays beside each other."""
MOST = 64
BEFORE = 24


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
    with block("two"):
        with block("stack"):
            release = ui.select(names, value=first if first in offers else next(iter(offers)), label=visit("Release"))
            release.props("outlined dense").style("width:100%")
            form = block("stack")
        canvas = block("stack").props('aria-live="polite"')

    def draw() -> None:
        form.clear()
        canvas.clear()
        offer = offers[release.value]
        with form:
            (_Talking if offer.writes else _Drawing)(visit, offer, canvas).show(start.get("request", {}))

    release.on_value_change(draw)
    draw()


async def _start(visit: Visit) -> dict[str, Any]:
    """Give the settings of the asset whose settings are to be used, if the page was asked for with one."""
    if "like" not in visit.query:
        return {}
    line = await visit.of(asset_line, visit.query["like"])
    return {"release": line.release, "request": line.request}


class _Asking:
    """What is asked of a release that makes pictures and of one that writes alike: conditions and a seed."""

    def __init__(self, visit: Visit, offer: Offer, canvas: ui.element) -> None:
        self.visit, self.offer, self.canvas = visit, offer, canvas
        self.fields: dict[str, Any] = {}
        self.job: str | None = None

    def conditions(self, known: dict[str, Any]) -> None:
        """Put a field for everything that the release can be told."""
        for name, kind in self.offer.given.items():
            value = known.get(name)
            if name in self.offer.names:
                options = {"": self.visit("anything"), **{each: each for each in self.offer.names[name]}}
                start = value if value in options else ""
                field: Any = ui.select(options, value=start, label=self.visit(name), with_input=len(options) > 12)
            elif kind == "numbers":
                field = ui.input(self.visit("{name}, as in weight=1.5", name=name), value=_numbers(value))
            else:
                field = ui.textarea(self.visit("What it should show"), value=str(value or "")).props("autogrow")
            self.fields[name] = field.props("outlined dense").style("width:100%")

    def seed_field(self, known: dict[str, Any]) -> None:
        with block("line").style("flex-wrap:nowrap"):
            self.seed = ui.number(self.visit("Seed"), value=known.get("seed", 0), precision=0).props("outlined dense").classes("grow seed")
            dice = ui.button(icon="casino", on_click=lambda: self.seed.set_value(secrets.randbelow(1_000_000)), color=None)
            dice.props(f'flat round aria-label="{self.visit("Another seed")}"').classes("bare")

    def given(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, field in self.fields.items():
            if self.offer.given[name] == "numbers" and field.value:
                pairs = (pair.partition("=") for pair in field.value.replace(",", " ").split())
                found[name] = {key: float(value) for key, sign, value in pairs if sign and _is_number(value)}
            elif field.value:
                found[name] = field.value
        return found

    async def stop(self) -> None:
        if self.job is not None:
            await self.visit.service.desk.cancel(self.job)


class _Drawing(_Asking):
    """Pictures: several at once, seen while they appear."""

    def show(self, known: dict[str, Any]) -> None:
        visit = self.visit
        self.conditions(known.get("given", {}))
        self.seed_field(known)
        sampling = known.get("sampling", {})
        self.first = known.get("first", 0)
        self.count = _slider(visit("How many"), (1, MOST, 1), known.get("count", 8))
        words = visit("Guidance: how closely it keeps to what it is told")
        self.guidance = _slider(words, (0, 6, 0.1), sampling.get("guidance", 1.0))
        self.sweep = ui.checkbox(visit("Lay several strengths of guidance beside each other")).props("dense")
        self.sweep.set_visibility(bool(self.offer.given))
        with ui.expansion(visit("More")).props("dense"):
            self.steps = ui.number(visit("Steps"), value=sampling.get("steps"), min=1, max=500, precision=0).props(
                "outlined dense clearable"
            )
        with block("line"):
            self.go = parts.primary(visit("Create"), careful(self.make))
            self.halt = parts.plain(visit("Stop"), careful(self.stop))
            self.halt.set_visibility(False)
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
        return {**steps, **({"guidance": guidance} if self.offer.given and guidance != 1.0 else {})}

    async def make(self) -> None:
        self.canvas.clear()
        self.go.disable()
        self.halt.set_visibility(True)
        try:
            for guidance in SWEEP if self.sweep.value else (float(self.guidance.value),):
                await self._one(guidance)
        finally:
            self.go.enable()
            self.halt.set_visibility(False)

    async def _one(self, guidance: float) -> None:
        """Make one batch and show it as it comes."""
        visit = self.visit
        request = {"count": int(self.count.value), "seed": int(self.seed.value or 0), "first": self.first, "given": self.given()}
        asked = {"release": self.offer.id, "request": {**request, "sampling": self.sampling(guidance)}, "previews": 3}
        job = await visit.ask("generate", asked, soon=True)
        self.job = job.id
        with self.canvas:
            if self.sweep.value:
                tag("h3", visit("Guidance {n}", n=f"{guidance:g}"))
            bar = ui.linear_progress(0, show_value=False).props(f'aria-label="{visit("Progress")}"')
            place = parts.wall(side=64 if self.sweep.value else 132)
        async for event in visit.service.desk.events(job.id):
            if event["kind"] == "progress":
                figures = event["figures"]
                step = figures["step"] / figures["steps"] if figures.get("steps") else 0
                bar.value = round((event["done"] + step * (event["total"] - event["done"])) / max(1, event["total"]), 3)
            elif event["kind"] == "previewing":
                place.clear()
                with place:
                    parts.tile(f"data:image/png;base64,{event['picture']}", visit("Unfinished"))
            elif event["kind"] == "ended":
                bar.delete()
                self._show(place, result_of(event))

    def _show(self, place: ui.element, result: dict[str, Any]) -> None:
        place.clear()
        with place:
            for made in result["assets"]:
                words = self.visit("Asset {n}", n=made["index"])
                tile = parts.tile(f"/studio/assets/{made['asset']}/thumb", words, address("/gallery", asset=made["asset"]))
                if made["copied"]:
                    tile.tooltip(self.visit("Suspiciously near a training sample"))


class _Talking(_Asking):
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
            self.heat = _slider(visit("Temperature"), (0, 2, 0.05), sampling.get("temperature", 1.0))
        with self.canvas:
            self.talk = block("talk")
            words = visit("Say something") if self.offer.answers else visit("How the text begins")
            start = (known.get("prompt") or {}).get("text", "")
            self.words = ui.textarea(words, value=start).props("outlined autogrow").style("width:100%").classes("words")
            with block("line"):
                self.go = parts.primary(visit("Send") if self.offer.answers else visit("Write"), careful(self.say))
                parts.plain(visit("Stop"), careful(self.stop))
                if self.offer.answers:
                    parts.bare(visit("Begin anew"), self._anew)

    def _anew(self) -> None:
        self.turns.clear()
        self.talk.clear()

    async def say(self) -> None:
        said = self.words.value
        sampling = {"temperature": float(self.heat.value), **({"most": int(self.most.value)} if self.most.value else {})}
        request = {"seed": int(self.seed.value or 0), "first": len(self.turns) // 2, "given": self.given(), "sampling": sampling}
        if self.offer.answers:
            system = [{"role": "system", "text": self.system.value}] if self.system.value else []
            prompt: dict[str, Any] = {"turns": [*system, *self.turns, {"role": "user", "text": said}]}
        else:
            prompt = {"text": said}
        job = await self.visit.ask("write", {"release": self.offer.id, "prompts": [prompt], "request": request}, soon=True)
        self.job = job.id
        with self.talk:
            if self.offer.answers:
                tag("p", said, "mine")
            answer = tag("p", "" if self.offer.answers else said, "theirs")
        try:
            async for event in self.visit.service.desk.events(job.id):
                if event["kind"] == "said":
                    answer.text += event["text"]
                elif event["kind"] == "ended":
                    text = result_of(event)["texts"][0]["text"]
        except KaratError:
            answer.delete()
            raise
        answer.text = text if self.offer.answers else said + text
        if self.offer.answers:
            self.turns += [{"role": "user", "text": said}, {"role": "assistant", "text": text}]
            self.words.value = ""


def _slider(words: str, reach: tuple[float, float, float], value: float) -> ui.slider:
    """Put a slider under its name and its value; `reach` is the least, the most and the step."""
    least, most, step = reach
    with block("line apart").style("margin-bottom:-14px"):
        tag("span", words, "soft small")
        shown = ui.label().classes("small num")
    slider = ui.slider(min=least, max=most, step=step, value=value).props(f'aria-label="{words}"')
    shown.bind_text_from(slider, "value", lambda now: f"{now:g}")
    return slider


def _numbers(value: Any) -> str:
    return " ".join(f"{name}={number:g}" for name, number in value.items()) if isinstance(value, dict) else ""


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
