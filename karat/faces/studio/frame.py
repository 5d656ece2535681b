"""The frame of every page: the way to the others, who is there, the language and the light."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import quote

from fastapi.responses import RedirectResponse
from nicegui import app, ui

import karat
from karat.app.serving.service import Service
from karat.faces.studio.parts import block, empty, link, tag
from karat.faces.studio.visit import Visit, is_chinese, visitor
from karat.faces.studio.words import said, wrong
from karat.words.errors import KaratError

WAYS: tuple[tuple[str, str, str], ...] = (
    ("/create", "Create", "generate"),
    ("/gallery", "Gallery", "generate"),
    ("/review", "Review", "review"),
    ("", "", "train"),
    ("/data", "Data", "train"),
    ("/train", "Train", "train"),
    ("/releases", "Releases", "generate"),
    ("", "", "generate"),
    ("/value", "Value", "review"),
    ("/admin", "Admin", "admin"),
)
"""Every page with the scope that it takes; an empty one is a gap."""
SLOWEST = 30.0
LOOK = 1.0
"""Seconds between two looks at whether a visitor may still be there; what they do is checked each time in any case."""
PAUSE = 1.0
"""Seconds that a wrong password costs."""


def page(service: Service, path: str, build: Callable[[Visit], Awaitable[None]]) -> None:
    """Register a page that only people who may see it see."""
    title, scope = next((title, scope) for way, title, scope in WAYS if way == path)

    async def show() -> RedirectResponse | None:
        caller = visitor(service)
        request = ui.context.client.request
        if caller is None:
            return RedirectResponse(f"/sign-in?next={quote(str(request.url.path) + '?' + str(request.url.query))}")
        request.state.who = caller.owner
        visit = request.state.visit = Visit(service, caller, dict(request.query_params))
        ui.timer(LOOK, lambda: _leave_when_over(visit))
        with framed(visit, path, visit(title)):
            try:
                caller.need(scope)  # type: ignore[arg-type]
                await build(visit)
            except KaratError as error:
                empty(*wrong(error, chinese=is_chinese()))
        return None

    ui.page(path, title=f"{title} · Karat", response_timeout=SLOWEST)(show)


async def _leave_when_over(visit: Visit) -> None:
    """End a page whose visitor may not be there any more, or may do other things than when it was built."""
    try:
        visit.check()
    except KaratError:
        client = ui.context.client
        client.run_javascript("location.reload()")
        await asyncio.sleep(LOOK)  # until it is sent
        with suppress(KeyError):
            client.delete()


def dressed() -> ui.dark_mode:
    """Give a page its style, its language and its light."""
    ui.add_head_html(f'<link rel="stylesheet" href="/studio/studio.css?{karat.__version__}">')
    ui.query("html").props(f'lang="{"zh-CN" if is_chinese() else "en"}"')
    light = app.storage.user.get("light")
    return ui.dark_mode(None if light is None else light == "dark")


@contextmanager
def framed(visit: Visit, path: str, title: str) -> Iterator[None]:
    """Put a page into its frame."""
    dark = dressed()
    ui.page_title(f"{title} · Karat")
    link(visit("Skip to the content"), "#content", "skip")
    with block("frame"):
        with block("rail", "nav").props(f'aria-label="{visit("Pages")}"'):
            with link("", "/", "brand").props('aria-label="Karat"'):
                tag("span", "Karat")
            for way, name, scope in WAYS:
                if not visit.may(scope):
                    continue
                if not way:
                    block("gap")
                    continue
                stop = link(visit(name), way, "stop")
                if way == path:
                    stop.props('aria-current="page"')
            block("rest")
            tag("div", visit(visit.caller.name), "who")
            _tools(visit, dark)
        with block("main", "main").props('id="content" tabindex="-1"'):
            yield


def _tools(visit: Visit, dark: ui.dark_mode) -> None:
    def turn() -> None:
        dark.value = not dark.value
        app.storage.user["light"] = "dark" if dark.value else "light"

    def speak() -> None:
        app.storage.user["language"] = "en" if is_chinese() else "zh"
        ui.navigate.reload()

    def leave() -> None:
        app.storage.user.pop("person", None)
        ui.navigate.to("/sign-in")

    with block("tools"):
        _tool("dark_mode", visit("Dark or light"), turn)
        ui.button("EN" if is_chinese() else "中文", on_click=speak, color=None).props("flat dense no-caps").classes("bare").props(
            f'aria-label="{visit("Language")}"'
        )
        if not visit.service.settings.open:
            _tool("logout", visit("Sign out"), leave)


def _tool(icon: str, words: str, act: Callable[[], Any]) -> None:
    ui.button(icon=icon, on_click=act, color=None).props(f'flat dense round size=sm aria-label="{words}"').classes("bare").tooltip(words)


def home(service: Service) -> None:
    """Send who comes to the front door to the pictures, or to where the first ones come from."""

    @ui.page("/")
    async def front() -> RedirectResponse:
        if visitor(service) is None:
            return RedirectResponse("/sign-in")
        return RedirectResponse("/gallery" if service.store.find("asset", limit=1) else "/data")


def sign_in(service: Service) -> None:
    """Register the door. Where nobody has a password yet, whoever holds an administrator's key makes the first person."""

    @ui.page("/sign-in", title="Karat")
    async def door(next: str = "/") -> None:
        dressed()
        first = not service.people.all()

        def say(text: str) -> str:
            return said(text, chinese=is_chinese())

        with block("door", "main"), block("card", "form").props('onsubmit="return false"'):
            tag("h1", "Karat", "brand")
            if first:
                tag("p", say("Nobody has a password yet. Make the first administrator with the key that the server showed."), "soft small")
                key = ui.input(say("Key"), password=True).props("outlined dense autocomplete=off").classes("key")
            name = ui.input(say("Name")).props("outlined dense autocomplete=username autofocus")
            password = ui.input(say("Password"), password=True).props(
                f"outlined dense autocomplete={'new-password' if first else 'current-password'}"
            )
            refusal = tag("p", "", "small").style("color:var(--bad)").props('role="alert"')

            async def enter() -> None:
                try:
                    if first:
                        service.caller(key.value).need("admin")
                        service.people.add(name.value, password.value, "admin")
                    caller = await asyncio.to_thread(service.people.sign_in, name.value.strip(), password.value)
                except KaratError as error:
                    await asyncio.sleep(PAUSE)
                    refusal.text = " ".join(wrong(error, chinese=is_chinese()))
                    return
                app.storage.user.update(person=caller.name, since=service.people.now())
                ui.navigate.to(next if next.startswith("/") and not next.startswith("//") else "/")

            password.on("keydown.enter", enter)
            ui.button(say("Make and sign in") if first else say("Sign in"), on_click=enter, color=None).props("unelevated no-caps").classes(
                "primary"
            )
