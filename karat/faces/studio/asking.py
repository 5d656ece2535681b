"""What is asked of any release on the page Create: conditions, a seed, dials."""

import secrets
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from typing import Any

from nicegui import ui

from karat.app.serving.catalog import Offer
from karat.app.serving.service import Job
from karat.faces.studio import parts
from karat.faces.studio.parts import block, careful, tag
from karat.faces.studio.visit import Visit


class Asking(ABC):
    """What is asked of a release that makes pictures and of one that writes alike: conditions and a seed."""

    def __init__(self, visit: Visit, offer: Offer, canvas: ui.element) -> None:
        self.visit, self.offer, self.canvas = visit, offer, canvas
        self.fields: dict[str, Any] = {}
        self.jobs: list[str] = []

    @property
    def guided(self) -> bool:
        """Whether there is something that the release can be kept closer to."""
        return bool(self.offer.given) and "guidance" in self.offer.dials

    @abstractmethod
    def show(self, known: dict[str, Any]) -> None:
        """Lay out the form and the canvas, with the settings that are known."""

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

    def buttons(self, words: str, act: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Put the button that begins, and the one that stops what was begun."""
        self.go = parts.primary(words, careful(act))
        self.halt = parts.plain(self.visit("Stop"), careful(self.stop))
        self.halt.set_visibility(False)

    def busy(self, on: bool) -> None:
        self.go.set_enabled(not on)
        self.halt.set_visibility(on)

    async def asked(self, kind: str, values: dict[str, Any]) -> Job:
        """Submit a job that somebody waits for, and remember it for `stop`."""
        job = await self.visit.ask(kind, values, soon=True)
        self.jobs.append(job.id)
        return job

    async def stop(self) -> None:
        """Stop what was asked here and goes on."""
        jobs, self.jobs = self.jobs, []
        for job in jobs:
            await self.visit.service.desk.cancel(job)


def slider(words: str, reach: tuple[float, float, float], value: float) -> ui.slider:
    """Put a slider under its name and its value; `reach` is the least, the most and the step."""
    least, most, step = reach
    with block("line apart").style("margin-bottom:-14px"):
        tag("span", words, "soft small")
        shown = ui.label().classes("small num")
    dial = ui.slider(min=least, max=most, step=step, value=value).props(f'aria-label="{words}"')
    shown.bind_text_from(dial, "value", lambda now: f"{now:g}")
    return dial


def _numbers(value: Any) -> str:
    return " ".join(f"{name}={number:g}" for name, number in value.items()) if isinstance(value, dict) else ""


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
