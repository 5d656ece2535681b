"""Telling events as they come: a progress bar on a terminal, plain lines elsewhere, JSON lines for programs.

The first Ctrl-C asks the work to stop where nothing is lost; the second ends it at once.
"""

import json
import math
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from types import FrameType
from typing import Any, Protocol

import typer

from karat.app.steps import Explained, Step, Wrote
from karat.words.errors import Cancelled
from karat.words.events import Event, Finding, Finished, Progress, Saved, Scored, Started, Warned

EVERY_SECONDS = 5.0
"""How often a plain line says how far the work is."""
FIGURES = 4
"""How many figures stand beside a progress bar."""
EXAMPLES = 3
"""How many findings of one check are shown."""
QUIET = ("held-out loss at", "rate")
"""Figures that only programs and charts want."""


class Teller(Protocol):
    """Tells events. `close` ends whatever is being drawn."""

    def tell(self, event: Event) -> None: ...

    def close(self) -> None: ...


def teller(*, as_json: bool) -> Teller:
    """Give the teller that suits where stdout goes."""
    if as_json:
        return JsonLines()
    return Bars() if sys.stdout.isatty() else PlainLines()


def follow(events: Iterator[Event], told_by: Teller) -> Finished:
    """Do some work and tell its events; give the last one. Raises Cancelled where Ctrl-C ended it at once."""
    last: Event | None = None
    try:
        for event in events:
            told_by.tell(event)
            last = event
    except KeyboardInterrupt:
        close = getattr(events, "close", None)
        if close:
            close()
        raise Cancelled("Stopped; nothing is half-written.", repair="Give the same command again.") from None
    finally:
        told_by.close()
    assert isinstance(last, Finished), "work ends with Finished"
    return last


@contextmanager
def stopping() -> Iterator[Callable[[], bool]]:
    """Give a function that says whether Ctrl-C was pressed; the second press is a KeyboardInterrupt."""
    pressed = False

    def press(number: int, frame: FrameType | None) -> None:
        nonlocal pressed
        if pressed:
            raise KeyboardInterrupt
        pressed = True
        print("\nStopping at the next step … Ctrl-C again ends at once.", file=sys.stderr)

    before = signal.signal(signal.SIGINT, press)
    try:
        yield lambda: pressed
    finally:
        signal.signal(signal.SIGINT, before)


class JsonLines:
    """Each event as one line of JSON."""

    def tell(self, event: Event) -> None:
        typer.echo(json.dumps(event.model_dump(mode="json"), ensure_ascii=False))

    def close(self) -> None:
        pass


class PlainLines:
    """Lines for people and logs: what began and ended, and from time to time how far it is."""

    def __init__(self) -> None:
        self.what, self.unit = "", ""
        self.said_at = 0.0
        self.findings = Findings()

    def tell(self, event: Event) -> None:
        if isinstance(event, Started):
            self.what, self.unit, self.said_at = event.what, event.unit, time.monotonic()
            typer.echo(_began(event))
        elif isinstance(event, Progress):
            if time.monotonic() - self.said_at >= EVERY_SECONDS:
                self.said_at = time.monotonic()
                typer.echo(f"{self.what}: {progress_line(event, self.unit)}")
        else:
            for line in lines_of(event, self.findings):
                typer.echo(line)

    def close(self) -> None:
        pass


class Bars:
    """A progress bar for the work at hand, and lines above it for what is done."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, SpinnerColumn, TextColumn
        from rich.progress import Progress as Bar
        from rich.table import Column

        self.console = Console(highlight=False)
        what = TextColumn("{task.description}", table_column=Column(no_wrap=True, min_width=8))
        columns = (SpinnerColumn(), what, BarColumn(bar_width=12), TextColumn("{task.fields[told]}"))
        self.bar = Bar(*columns, console=self.console, transient=True)
        self.stack = ExitStack()
        self.task: Any = None
        self.unit = ""
        self.findings = Findings()

    def tell(self, event: Event) -> None:
        if isinstance(event, Started):
            self._begin(event)
        elif isinstance(event, Progress) and self.task is not None:
            self.bar.update(self.task, completed=event.done, total=event.total, told=progress_line(event, self.unit))
        else:
            style = "yellow" if isinstance(event, Warned) else "bold" if isinstance(event, Finished) else None
            for line in lines_of(event, self.findings):
                self.console.print(line, style=style, markup=False)

    def close(self) -> None:
        self.stack.close()
        self.task = None

    def _begin(self, event: Started) -> None:
        if self.task is None:
            self.stack.enter_context(self.bar)
        else:
            self.bar.remove_task(self.task)
        self.unit = event.unit
        self.task = self.bar.add_task(event.what, total=event.total, told="")


class Spoken:
    """Says texts: the only one as it is written, if it `streams`, several each when it is whole. What else happens another teller tells."""

    def __init__(self, beside: Teller, *, streams: bool) -> None:
        self.beside, self.streams = beside, streams
        self.texts: dict[int, str] = {}

    def tell(self, event: Event) -> None:
        if not isinstance(event, Wrote):
            if not (self.streams and isinstance(event, Started) and event.what == "writing"):  # no bar is drawn into a text
                self.beside.tell(event)
        elif self.streams:
            typer.echo(event.text, nl=event.finish is not None)
        else:
            self.texts[event.index] = self.texts.get(event.index, "") + event.text
            if event.finish is not None:
                typer.echo(self.texts.pop(event.index))

    def close(self) -> None:
        self.beside.close()


class Findings:
    """Counts findings, so that each check is told by a few examples and a sum."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.repairs: dict[str, str] = {}

    def lines(self, finding: Finding) -> list[str]:
        count = self.counts[finding.check] = self.counts.get(finding.check, 0) + 1
        self.repairs[finding.check] = finding.repair
        return [f"  {finding.check}: {finding.sample}: {finding.message}"] if count <= EXAMPLES else []

    def summary(self) -> list[str]:
        lines = [f"  {count:,} x {check}: {self.repairs[check]}" for check, count in sorted(self.counts.items(), key=lambda each: -each[1])]
        self.counts.clear()
        return lines


def lines_of(event: Event, findings: Findings) -> list[str]:
    """Say an event in lines; events that only matter to programs give none."""
    if isinstance(event, Finding):
        return findings.lines(event)
    if isinstance(event, Warned):
        return [f"Note: {event.message}"]
    if isinstance(event, Scored):
        return [f"  step {event.step:,}: {figures_line(event.figures, most=8)}"]
    if isinstance(event, Saved):
        return [] if event.what == "checkpoint" else [f"  {event.what}: {event.path}"]
    if isinstance(event, Step):
        return [*findings.summary(), "", f"{event.number}/{event.total} {event.title}: {event.meaning}", f"  $ {event.command}"]
    if isinstance(event, Explained):
        return [*findings.summary(), f"  {event.name}: {event.value} - {event.meaning}" if event.name else f"  {event.value}"]
    if isinstance(event, Finished):
        return [*findings.summary(), event.summary] if event.summary else findings.summary()
    return []


def progress_line(event: Progress, unit: str) -> str:
    """Say how far the work is: `120 of 800 steps, loss 0.312, 40 s left`."""
    done = f"{event.done:,} of {event.total:,}" if event.total else f"{event.done:,}"
    parts = [f"{done} {unit}".strip()]
    if event.figures:
        parts.append(figures_line(event.figures, most=FIGURES))
    if event.seconds_left is not None:
        parts.append(f"{duration(event.seconds_left)} left")
    return ", ".join(parts)


def figures_line(figures: Mapping[str, float], *, most: int) -> str:
    shown = [(name, value) for name, value in figures.items() if not name.startswith(QUIET)]
    return ", ".join(f"{name.replace('_', ' ')} {short(value)}" for name, value in shown[:most])


def short(value: float) -> str:
    """Give a number in few digits: 0.312, 12.3, 1,234."""
    return f"{value:,.0f}" if math.isfinite(value) and (abs(value) >= 100 or value == int(value)) else f"{value:.3g}"


def duration(seconds: float) -> str:
    """Give a time as people say it: 40 s, 2 min 10 s, 1 h 5 min."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def _began(event: Started) -> str:
    total = f": {event.total:,} {event.unit}".rstrip() if event.total else ""
    return f"{event.what[:1].upper()}{event.what[1:]}{total}"
