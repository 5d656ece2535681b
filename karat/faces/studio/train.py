"""Train: choose data and a few dials, read the plan, then watch the curve and the samples; stop, go on, compare, release."""

from typing import Any

from nicegui import ui

from karat.app.chain import RunLine, runs
from karat.app.library import Shelf, library
from karat.app.serving.service import ENDED, Job
from karat.app.watching import Watched, watch
from karat.faces.studio import parts
from karat.faces.studio.parts import block, careful, heading, section, tag
from karat.faces.studio.underway import UnderWay
from karat.faces.studio.visit import Visit, address

SIZES = ("tiny", "small", "base", "large")
FAMILIES = {
    "": "Chosen for me",
    "diffusion": "Diffusion",
    "autoregressive": "Autoregressive",
    "masked": "Masked",
    "vae": "VAE",
    "gan": "GAN",
}
STATES = {"finished": "good", "training": "accent", "unfinished": ""}
CHARTS = {"training": "Training loss", "held-out": "Held-out loss", "quality": "Distance from real samples"}
FIGURES = {"condition-accuracy": "came out as asked", "copied": "suspiciously near a training sample"}
EVERY = 2.0


async def build(visit: Visit) -> None:
    """Show the way to a new run and all runs; one run, or several beside each other."""
    if "run" in visit.query:
        await _Watching(visit, visit.query["run"]).show()
    elif "compare" in visit.query:
        await _compare(visit, visit.query["compare"].split(","))
    else:
        await _start(visit)


async def _start(visit: Visit) -> None:
    heading(visit("Train"), visit("Choose what to learn from and how long. Everything else follows."))
    snapshots = await visit.of(library, "snapshot")
    with block("two"):
        with block("stack"):
            if snapshots:
                _Dials(visit, {each.id: each for each in snapshots}).show()
            else:
                parts.empty(visit("No snapshot yet"), visit("Models are trained on snapshots."), visit("Go to the data"), "/data")
        with section(visit("Runs")):
            await _runs(visit)


class _Dials:
    """The few dials, the plan that they lead to, and the start."""

    def __init__(self, visit: Visit, shelves: dict[str, Shelf]) -> None:
        self.visit, self.shelves = visit, shelves
        self.planned: str | None = None

    def show(self) -> None:
        visit, shelves = self.visit, self.shelves
        chosen = next((id for id in shelves if id.startswith(visit.query.get("on", "-"))), next(iter(shelves)))
        self.data = ui.select({id: each.name for id, each in shelves.items()}, value=chosen, label=visit("Data")).props("outlined dense")
        self.data.classes("w-full").style("width:100%").on_value_change(self._told)
        self.given = ui.select([], multiple=True, label=visit("What it is told")).props("outlined dense use-chips").style("width:100%")
        self._told()
        tag("span", visit("Size"), "soft small")
        self.size = ui.toggle({size: visit(size) for size in SIZES}, value="small").props(
            f'no-caps unelevated aria-label="{visit("Size")}"'
        )
        tag("span", visit("Budget"), "soft small")
        with block("line"):
            self.amount = ui.number(value=10, min=0.1).props(f'outlined dense aria-label="{visit("Budget")}"').style("width:110px")
            self.unit = ui.toggle({"minutes": visit("minutes"), "steps": visit("steps")}, value="minutes").props("no-caps unelevated")
        with ui.expansion(visit("More")).props("dense"), block("stack"):
            families = {name: visit(words) for name, words in FAMILIES.items()}
            self.family = ui.select(families, value="", label=visit("Family")).props("outlined dense").style("width:100%")
            self.seed = ui.number(visit("Seed"), value=0, precision=0).props("outlined dense").style("width:100%")
            self.changes = ui.textarea(visit("Settings, one name=value to a line")).props("outlined dense autogrow").style("width:100%")
        with block("line"):
            parts.plain(visit("Show the plan"), careful(self._plan))
        self.under = UnderWay(visit, ("plan", "run"), self._ended)
        self.box = block("stack")

    def _told(self) -> None:
        conditions = list(self.shelves[self.data.value].conditions)
        self.given.set_options(conditions, value=[name for name in conditions if name == "label"])
        self.given.set_visibility(bool(conditions))

    async def _plan(self) -> None:
        from karat.app.settings import settings

        changes = settings(line for line in (self.changes.value or "").splitlines() if line.strip())
        amount = int(self.amount.value) if self.unit.value == "steps" else float(self.amount.value)
        dials: dict[str, Any] = {"size": self.size.value, "seed": int(self.seed.value or 0), self.unit.value: amount, "changes": changes}
        dials |= {"family": self.family.value} if self.family.value else {}
        job = await self.visit.ask("plan", {"snapshot": self.data.value, "dials": dials, "given": self.given.value}, soon=True)
        self.planned = job.id
        await self.under.look()

    async def _ended(self, job: Job) -> None:
        if job.kind == "plan" and job.state == "done" and job.id == self.planned:
            self._draw(job.result["id"], job.result["summary"].splitlines())

    def _draw(self, folder: str, lines: list[str]) -> None:
        visit = self.visit
        self.box.clear()
        with self.box, block("card"):
            tag("h3", visit("The plan"))
            told = [line.partition(": ") for line in lines]
            parts.facts([(visit(name), value) for name, colon, value in told if colon and " " not in name])
            for line in (line for line, (name, colon, _) in zip(lines, told, strict=True) if not colon or " " in name):
                tag("p", line, "soft small")

            @careful
            async def start() -> None:
                await visit.ask("run", {"folder": folder})
                ui.navigate.to(address("/train", run=folder))

            parts.primary(visit("Start training"), start)


async def _runs(visit: Visit) -> None:
    found = await visit.of(runs)
    chosen: dict[str, bool] = {}
    if not found:
        tag("p", visit("No runs yet."), "soft")
        return
    for line in found[:40]:
        with block("line").style("flex-wrap:nowrap"):
            check = ui.checkbox(on_change=lambda change, line=line: chosen.update({line.folder: change.value}))
            check.props(f'dense aria-label="{visit("Compare")} {line.folder[:8]}"')
            with block("card line apart", "a").style("flex-direction:row;padding:13px 18px") as card:
                card._props["href"] = address("/train", run=line.folder)
                with block("stack tight grow"):
                    tag("h3", f"{visit(line.family)} {line.folder[:8]}")
                    tag("span", " · ".join([*line.given, visit("{n} steps", n=f"{line.step:,}"), parts.day(line.at)]), "soft small num")
                planned = line.state == "unfinished" and not line.step
                tag("span", visit("planned" if planned else line.state), f"pill {STATES[line.state]}")

    def compare() -> None:
        folders = [folder for folder, wanted in chosen.items() if wanted]
        ui.navigate.to(address("/train", compare=",".join(folders))) if len(folders) > 1 else parts.done(visit("Tick two runs or more."))

    if len(found) > 1:
        parts.bare(visit("Compare the ticked runs"), compare)


class _Watching:
    """One run as it goes: how far, its curves, what it draws, and what can be done with it."""

    def __init__(self, visit: Visit, folder: str) -> None:
        self.visit, self.folder = visit, folder
        self.charts: dict[str, ui.echart] = {}
        self.seen: Watched | None = None

    async def show(self) -> None:
        visit = self.visit
        seen = await visit.of(watch, self.folder)
        self.actions = heading(f"{visit(seen.line.family)} {self.folder[:8]}", ", ".join(seen.line.given))
        self.progress = ui.linear_progress(0, show_value=False).props(f'aria-label="{visit("Training")}"')
        self.state = tag("p", "", "soft num").props('role="status"')
        self.numbers = block("figures")
        with block("half"):
            self.curves = section(visit("Curves"))
            with section(visit("Samples")) as self.samples:
                self.slider = ui.slider(min=0, max=0, value=0, on_change=self._turn).props(f'snap aria-label="{visit("Step")}"')
                self.step = tag("span", "", "soft small num")
                self.drawn = block("stack")
        self.under = UnderWay(visit, ("evaluate", "release"), self._ended)
        await self._look()
        self.timer = ui.timer(EVERY, self._look)

    async def _look(self) -> None:
        seen = await self.visit.of(watch, self.folder)
        changed = self.seen is None or seen.line.state != self.seen.line.state
        before, self.seen = self.seen, seen
        self.progress.value = seen.done / seen.total if seen.total else float(seen.line.state == "finished")
        left = "" if not seen.seconds_left else self.visit("about {t} left", t=parts.seconds(self.visit, seen.seconds_left))
        of = f" / {seen.total:,}" if seen.total else ""
        words = [self._state(seen), self.visit("step {n}", n=f"{seen.done:,}{of}"), left]
        self.state.text = " · ".join(word for word in words if word)
        self._draw_curves(seen)
        self.samples.set_visibility(bool(seen.sheets))
        self.curves.set_visibility(bool(seen.curves))
        if before is None or seen.sheets != before.sheets:
            self.slider.props(f"max={max(0, len(seen.sheets) - 1)}")
            self.slider.value = len(seen.sheets) - 1 if seen.sheets else 0
            await self._turn()
        if changed:
            await self._draw_actions(seen)
        if seen.line.state == "finished":
            self.timer.deactivate() if hasattr(self, "timer") else None

    def _state(self, seen: Watched) -> str:
        """Say how a run stands; one that was planned waits until a worker begins it."""
        if seen.begun or seen.line.state != "unfinished":
            return self.visit(seen.line.state)
        return self.visit("waits for a worker") if self._jobs() else self.visit("planned")

    def _draw_curves(self, seen: Watched) -> None:
        by_chart: dict[str, list[Any]] = {}
        for curve in seen.curves:
            by_chart.setdefault(curve.chart, []).append((curve.name, curve.points))
        for chart, curves in by_chart.items():
            options = parts.line_chart(curves, self.visit("step"))
            if chart in self.charts:
                self.charts[chart].options.update(options)
                self.charts[chart].update()
                continue
            with self.curves:
                tag("h3", self.visit(CHARTS[chart]))
                self.charts[chart] = (
                    ui.echart(options, renderer="svg").classes("chart").props(f'role="img" aria-label="{self.visit(CHARTS[chart])}"')
                )

    async def _turn(self) -> None:
        if self.seen is None or not self.seen.sheets:
            return
        step, name = self.seen.sheets[min(int(self.slider.value), len(self.seen.sheets) - 1)]
        self.step.text = self.visit("step {n}", n=f"{step:,}")
        self.drawn.clear()
        with self.drawn:
            source = f"/studio/runs/{self.folder}/{name}"
            if name.endswith(".png"):
                parts.picture(source, self.visit("Samples at step {n}", n=step)).classes("sheet")
            else:
                block("page", "iframe").props(f'src="{source}" title="{self.visit("Samples")}"')

    async def _draw_actions(self, seen: Watched) -> None:
        visit = self.visit
        self.actions.clear()
        with self.actions:
            if seen.line.state == "training":
                parts.plain(visit("Stop"), careful(self._stop))
            elif seen.line.state == "unfinished":
                if not self._jobs():
                    parts.remover(visit, self.folder, "/train")
                    parts.primary(visit("Go on") if seen.begun else visit("Start training"), careful(self._go_on))
            elif seen.line.record is not None:
                parts.primary(visit("Measure and release"), careful(self._measure))
        self.numbers.clear()
        with self.numbers:
            figures = seen.line.figures
            for name, words in FIGURES.items():
                if name in figures:
                    parts.figure(f"{figures[name]:.1%}", visit(words))
            if seen.line.seconds:
                parts.figure(parts.seconds(visit, seen.line.seconds), visit("of training"))

    def _jobs(self) -> list[Job]:
        latest = self.visit.service.store.queue.latest(limit=200)
        return [job for job in latest if job.kind == "run" and job.spec.get("folder") == self.folder and job.state not in ENDED]

    async def _stop(self) -> None:
        for job in self._jobs():
            await self.visit.service.desk.cancel(job.id)
        parts.done(self.visit("It stops at its next step and keeps everything."))

    async def _go_on(self) -> None:
        if not self._jobs():
            await self.visit.ask("run", {"folder": self.folder})
        self.actions.clear()
        parts.done(self.visit("It goes on as soon as a worker is free."))

    async def _measure(self) -> None:
        if self.seen is not None and self.seen.line.record is not None:
            await self.visit.ask("evaluate", {"run": self.seen.line.record})
            await self.under.look()

    async def _ended(self, job: Job) -> None:
        if job.state == "done" and job.kind == "evaluate" and self.seen is not None:
            await self.visit.ask("release", {"run": self.seen.line.record, "title": ""})
        elif job.state == "done":
            ui.navigate.to(address("/releases", of=job.result["id"]))


async def _compare(visit: Visit, folders: list[str]) -> None:
    seen = [await visit.of(watch, folder) for folder in folders[:6]]
    heading(visit("Compare"), " · ".join(_called(visit, each.line) for each in seen))
    for chart, title in CHARTS.items():
        curves = [(f"{each.line.folder[:6]} {curve.name}", curve.points) for each in seen for curve in each.curves if curve.chart == chart]
        if curves:
            with section(visit(title)):
                ui.echart(parts.line_chart(curves, visit("step")), renderer="svg").classes("chart").props(
                    f'role="img" aria-label="{visit(title)}"'
                )
    with section(visit("Samples")), block("half"):
        for each in [each for each in seen if each.sheets and each.sheets[-1][1].endswith(".png")]:
            with block("stack tight"):
                tag("h3", _called(visit, each.line))
                parts.picture(f"/studio/runs/{each.line.folder}/{each.sheets[-1][1]}", each.line.folder).classes("sheet")


def _called(visit: Visit, line: RunLine) -> str:
    return f"{visit(line.family)} {line.folder[:6]}"
