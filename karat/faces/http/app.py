"""The application: every endpoint on one service, opened and closed with it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import JSONResponse

import karat
from karat.app.serving.service import Service, ServiceSettings
from karat.faces.http import errors, metrics
from karat.faces.http.api import accounts, assets, house, jobs, records, uploads, verdicts
from karat.faces.http.openai import chat, completions, edits, embeddings, images, media, models
from karat.faces.http.passing import Passing

health = APIRouter(prefix="/health", tags=["health"])
OPENAI = (models.router, images.router, edits.router, chat.router, completions.router, embeddings.router, media.router)
OWN = (records.router, jobs.router, uploads.router, assets.router, verdicts.router, house.router, accounts.router)
REFUSED = (400, 401, 403, 404, 409, 413, 422, 429, 500, 503)
REFUSALS: dict[int | str, dict[str, Any]] = {status: {"model": errors.ErrorAnswer} for status in REFUSED}


@health.get("/live")
async def live() -> dict[str, str]:
    """Say that the server runs."""
    return {"status": "live"}


@health.get("/ready", response_model=None)
async def ready(request: Request) -> dict[str, str] | JSONResponse:
    """Say whether the server takes requests: its store answers, and it is not ending."""
    service: Service = request.app.state.service
    if service.ready:
        await asyncio.to_thread(service.store.queue.waiting)
        return {"status": "ready"}
    return JSONResponse({"status": "not ready"}, 503, headers={"retry-after": "1"})


class Application(FastAPI):
    """A FastAPI whose outermost layer is `Passing`, so that what it refuses is noted as well."""

    def build_middleware_stack(self) -> Any:
        return Passing(super().build_middleware_stack(), self)


def create_app(settings: ServiceSettings) -> FastAPI:
    """Give the application of a server. Its service is `app.state.service`."""

    @asynccontextmanager
    async def open_service(app: FastAPI) -> AsyncIterator[None]:
        service: Service = app.state.service
        await service.start()
        try:
            yield
        finally:
            await service.close()

    app = Application(title="Karat", version=karat.__version__, lifespan=open_service, docs_url=None, redoc_url=None, responses=REFUSALS)
    app.state.service, app.state.metrics = Service(settings), metrics.Metrics()
    app.state.service.desk.ended_by = app.state.metrics.ended
    for router in (health, metrics.router, *OPENAI, *OWN):
        app.include_router(router)
    errors.register(app)
    return app
