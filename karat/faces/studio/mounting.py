"""Mounting the studio on a server: its pages, the files that they show, and the secret that signs who has come in."""

import secrets
from collections.abc import Callable
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.responses import FileResponse, PlainTextResponse, Response
from nicegui import app, ui

from karat.app.assets import file_of
from karat.app.comparing import read_part, release_file
from karat.app.policy import check_release, given_out
from karat.app.serving.service import Service
from karat.app.thumbnails import thumbnail
from karat.app.watching import sheet
from karat.faces.studio import admin, create, data, gallery, releases, review, train, value
from karat.faces.studio.frame import home, page, sign_in
from karat.faces.studio.visit import visitor
from karat.words.errors import KaratError

PAGES = {
    "/create": create,
    "/gallery": gallery,
    "/review": review,
    "/data": data,
    "/train": train,
    "/releases": releases,
    "/value": value,
    "/admin": admin,
}
STYLE = Path(__file__).with_name("studio.css")
FOREVER = {"cache-control": "private, max-age=31536000, immutable", "x-content-type-options": "nosniff"}
SAFE = {
    "content-security-policy": "sandbox; default-src 'none'; img-src data:; style-src 'unsafe-inline'",
    "x-content-type-options": "nosniff",
}
ENDINGS = {"image/png": "png", "image/jpeg": "jpg", "text/plain": "txt"}
WEEKS_2 = 14 * 24 * 3600


def mount(server: FastAPI, service: Service, *, secure: bool = False) -> None:
    """Put the studio at / of a server, below whatever has a route of its own; `secure`: the cookie is for TLS alone."""
    folder = service.settings.store / "studio"
    folder.mkdir(parents=True, exist_ok=True)
    app.storage.path = folder.resolve()
    home(service)
    sign_in(service)
    for path, module in PAGES.items():
        page(service, path, module.build)
    _files(service)
    ui.run_with(
        server,
        title="Karat",
        favicon="◆",
        storage_secret=_secret(folder / "secret"),
        session_middleware_kwargs={"session_cookie": "karat", "same_site": "lax", "https_only": secure, "max_age": WEEKS_2},
        tailwind=False,
        show_welcome_message=False,
        reconnect_timeout=20.0,
    )


def _secret(place: Path) -> str:
    """Give the secret that signs sessions, made at the first start."""
    if not place.exists():
        place.touch(mode=0o600)
        place.write_text(secrets.token_urlsafe(32))
    return place.read_text()


def _name(id: str, media_type: str) -> str:
    return f"{id[:12]}.{ENDINGS.get(media_type, 'bin')}"


def _files(service: Service) -> None:
    """Register the files that pages show, for whoever has signed in."""

    def for_visitors(path: str, give: Callable[..., Response]) -> None:
        def route(request: Request) -> Response:
            caller = visitor(service)
            if caller is None:
                return PlainTextResponse("Sign in first.", 401)
            request.state.who = caller.owner
            try:
                return give(**request.path_params)
            except KaratError as error:
                return PlainTextResponse(str(error), 403 if error.code == "policy" else 404)

        app.get(path, include_in_schema=False)(route)

    store = service.store

    @app.get("/studio/studio.css", include_in_schema=False)
    def style() -> Response:
        return FileResponse(STYLE, media_type="text/css", headers={"cache-control": "no-cache"})

    def thumb(digest: str) -> Response:
        return Response(thumbnail(store, digest), media_type="image/png", headers=FOREVER)

    def asset_thumb(id: str) -> Response:
        return Response(thumbnail(store, store.get(id).made or ""), media_type="image/png", headers=FOREVER)

    def asset_file(id: str) -> Response:
        content, media_type = file_of(store, id)
        return Response(
            content, media_type=media_type, headers={**SAFE, "content-disposition": f'inline; filename="{_name(id, media_type)}"'}
        )

    def taken(id: str) -> Response:
        content, media_type = given_out(store, id)
        return Response(
            content, media_type=media_type, headers={**SAFE, "content-disposition": f'attachment; filename="{_name(id, media_type)}"'}
        )

    def drawn(folder: str, file: str) -> Response:
        return FileResponse(sheet(store, folder, file), headers=SAFE)

    def report(id: str) -> Response:
        return Response(read_part(store, id, "report.html"), media_type="text/html", headers=SAFE)

    def whole(id: str) -> Response:
        check_release(store, id)
        place, name = release_file(store, id)
        return FileResponse(place, filename=name, media_type="application/octet-stream")

    for_visitors("/studio/thumbs/{digest}", thumb)
    for_visitors("/studio/assets/{id}/thumb", asset_thumb)
    for_visitors("/studio/assets/{id}/file", asset_file)
    for_visitors("/studio/assets/{id}/download", taken)
    for_visitors("/studio/runs/{folder}/{file}", drawn)
    for_visitors("/studio/releases/{id}/report.html", report)
    for_visitors("/studio/releases/{id}/file", whole)
