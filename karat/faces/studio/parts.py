"""The parts of which pages are made: headings, tiles, facts, figures, charts, and what is said when something is wrong."""

import time
from collections.abc import Callable, Coroutine, Iterable, Sequence
from functools import wraps
from typing import Any

from nicegui import ui
from nicegui.element import Element
from nicegui.elements.mixins.text_element import TextElement

from karat.app.removing import remove
from karat.faces.studio.visit import Visit, is_chinese, this_visit
from karat.faces.studio.words import wrong
from karat.words.errors import KaratError

COLOURS = ("#b08d3c", "#3f6f8f", "#7a8f4e", "#a3564a", "#6d5a8a", "#4f8a83")
PHOTO = 256
"""Pixels from which a picture is shown smooth; smaller ones keep their pixels."""


def tag(name: str, text: str, classes: str = "") -> TextElement:
    """Put an element with a text; whatever stands in it, it stays a text."""
    return TextElement(tag=name, text=text).classes(classes)


def block(classes: str, name: str = "div") -> Element:
    return ui.element(name).classes(classes)


def heading(title: str, about: str = "") -> Element:
    """Put the heading of a page, and give the place beside it."""
    with block("head", "header") as head:
        with block("stack tight").style("width:auto"):
            tag("h1", title)
            if about:
                tag("p", about)
        place = block("line")
    head.props(f'aria-label="{title}"' if '"' not in title else "")
    return place


def section(title: str, about: str = "", *, classes: str = "stack") -> Element:
    """Put a part of a page under a heading of its own, and give the place for what is in it."""
    place = block(classes, "section")
    with place:
        tag("h2", title)
        if about:
            tag("p", about, "soft small")
    return place


def primary(text: str, act: Callable[..., Any]) -> ui.button:
    return ui.button(text, on_click=act, color=None).props("unelevated no-caps").classes("primary")


def plain(text: str, act: Callable[..., Any]) -> ui.button:
    return ui.button(text, on_click=act, color=None).props("unelevated no-caps").classes("plain")


def bare(text: str, act: Callable[..., Any]) -> ui.button:
    return ui.button(text, on_click=act, color=None).props("flat no-caps").classes("bare")


def remover(visit: Visit, ref: str, target: str) -> None:
    """Put a button that removes a run or a source once the visitor has said that they mean it, and leads elsewhere."""
    with ui.dialog() as dialog, ui.card():
        tag("p", visit("Remove it for good, with all its files?"))
        with block("line"):
            bare(visit("Keep it"), dialog.close)

            async def gone() -> None:
                dialog.close()
                visit.caller.need("train")
                await visit.of(remove, ref)
                visit.note(f"removed/{ref[:16]}")
                ui.navigate.to(target)

            plain(visit("Remove it"), careful(gone))
    bare(visit("Remove"), dialog.open)


def link(text: str, target: str, classes: str = "") -> TextElement:
    return tag("a", text, classes).props(f'href="{target}"')


def picture(source: str, words: str, *, side: int | None = None) -> Element:
    """Put a picture with the words that stand for it."""
    image = block("photo" if side and side >= PHOTO else "", "img").props('loading="lazy"')
    image._props["src"], image._props["alt"] = source, words
    return image


def thumb(digest: str) -> str:
    """Give the address of a blob's thumbnail."""
    return f"/studio/thumbs/{digest}"


def wall(*, side: int = 132) -> Element:
    return block("wall").style(f"--tile:{side}px")


def tile(source: str, words: str, target: str | None = None, *, mark: str = "") -> Element:
    """Put a picture that leads somewhere."""
    with block("tile", "a" if target else "div") as place:
        if target:
            place._props["href"] = target
            place._props["aria-label"] = words
        picture(source, words)
        if mark:
            block(f"mark {mark}", "span")
    return place


def text_tile(text: str, words: str, target: str, *, mark: str = "") -> Element:
    """Put the beginning of a text that leads somewhere."""
    with block("tile", "a") as place:
        place._props["href"], place._props["aria-label"] = target, words
        tag("div", text[:300], "text")
        if mark:
            block(f"mark {mark}", "span")
    return place


def facts(rows: Iterable[tuple[str, str]]) -> None:
    with block("facts", "dl"):
        for name, value in rows:
            if value:
                tag("dt", name)
                tag("dd", value, "num")


def figure(value: str, name: str) -> None:
    with block("figure"):
        tag("b", value)
        tag("span", name)


def rows(heads: Sequence[str], lines: Iterable[Sequence[str]]) -> None:
    """Put a table of texts."""
    with block("scroll"), block("rows", "table"):
        with block("", "thead"), block("", "tr"):
            for head in heads:
                tag("th", head).props('scope="col"')
        with block("", "tbody"):
            for line in lines:
                with block("", "tr"):
                    for cell in line:
                        tag("td", cell, "num")


def empty(title: str, about: str, action: str = "", target: str = "") -> None:
    """Say what will be here, and where it comes from."""
    with block("empty"):
        tag("h2", title)
        tag("p", about)
        if action:
            link(action, target, "q-btn plain").style("display:inline-flex;align-items:center;margin-top:8px")


def failed(error: KaratError) -> None:
    """Say what went wrong and what to do about it."""
    ui.notify(
        " ".join(wrong(error, chinese=is_chinese())), type="negative", position="bottom", timeout=9000, multi_line=True, close_button="×"
    )


def done(text: str) -> None:
    ui.notify(text, position="bottom", color="dark", timeout=2500)


def careful(act: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., Coroutine[Any, Any, None]]:
    """Let an action say its errors on the page it was started from; nothing is done for who may not be there any more."""

    @wraps(act)
    async def acting(*args: Any, **options: Any) -> None:
        try:
            this_visit().check()
            await act(*args, **options)
        except KaratError as error:
            failed(error)

    return acting


def line_chart(curves: Sequence[tuple[str, Sequence[tuple[float, float]]]], across: str) -> dict[str, Any]:
    """Give a chart of curves for ECharts: thin lines, few marks, a scale of logarithms where losses span one."""
    values = [value for _, points in curves for _, value in points]
    log = bool(values) and min(values) > 0 and max(values) > 20 * min(values)
    grey = "#8b877e"
    return {
        "animation": False,
        "color": list(COLOURS),
        "grid": {"left": 8, "right": 16, "top": 34 if len(curves) > 1 else 14, "bottom": 24, "containLabel": True},
        "legend": {"show": len(curves) > 1, "top": 0, "left": 0, "icon": "roundRect", "itemHeight": 3, "textStyle": {"color": grey}},
        "tooltip": {"trigger": "axis"},
        "xAxis": {
            "type": "value",
            "name": across,
            "nameTextStyle": {"color": grey},
            "splitLine": {"show": False},
            "axisLabel": {"color": grey, "showMaxLabel": False},
            "min": "dataMin",
            "max": "dataMax",
        },
        "yAxis": {
            "type": "log" if log else "value",
            "scale": True,
            "axisLabel": {"color": grey},
            "splitLine": {"lineStyle": {"color": grey, "opacity": 0.18}},
        },
        "series": [
            {
                "name": name,
                "type": "line",
                "showSymbol": len(points) < 3,
                "data": [list(point) for point in points],
                "lineStyle": {"width": 1.6},
            }
            for name, points in curves
        ],
    }


def day(at: float) -> str:
    """Say on which day something was, in the server's time."""
    return time.strftime("%Y-%m-%d", time.localtime(at))


def seconds(visit: Visit, left: float) -> str:
    """Say a length of time, roughly."""
    if left < 90:
        return visit("{n} s", n=round(left))
    return visit("{n} min", n=round(left / 60)) if left < 5400 else visit("{n} h", n=round(left / 3600, 1))
