"""The one shape of errors, as OpenAI's clients read it: {"error": {"message", "type", "param", "code"}}."""

import math
import sys
import traceback
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from karat.app.failures import in_words
from karat.app.serving.service import FullError
from karat.words.errors import KaratError, SpecError

STATUS: dict[str, tuple[int, str]] = {
    "key": (401, "authentication_error"),
    "scope": (403, "permission_error"),
    "policy": (403, "permission_error"),
    "not-found": (404, "not_found_error"),
    "model-not-found": (404, "not_found_error"),
    "busy": (409, "conflict_error"),
    "in-use": (409, "conflict_error"),
    "rate": (429, "rate_limit_error"),
    "too-many": (429, "rate_limit_error"),
    "budget": (429, "insufficient_quota"),
    "full": (503, "server_error"),
    "cancelled": (409, "conflict_error"),
    "spec": (400, "invalid_request_error"),
    "alias": (400, "invalid_request_error"),
    "data": (400, "invalid_request_error"),
    "store": (503, "server_error"),
    "machine": (503, "server_error"),
    "missing": (400, "invalid_request_error"),
    "training": (400, "invalid_request_error"),
    "release": (400, "invalid_request_error"),
}
"""The status and OpenAI's type of each code; what is not here is our fault."""
CODES = {"key": "invalid_api_key", "model-not-found": "model_not_found", "rate": "rate_limit_exceeded", "budget": "insufficient_quota"}
"""Codes that OpenAI's clients know by another name."""
TYPES = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}


class ErrorBody(BaseModel):
    """What went wrong and how to repair it."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None


class ErrorAnswer(BaseModel):
    """An error."""

    error: ErrorBody


class MissingError(KaratError):
    """A part of OpenAI's API that nothing here can do."""

    code = "missing"


def body_of(error: KaratError) -> dict[str, Any]:
    """Give an error as it stands in answers and in streams."""
    _, kind = STATUS.get(error.code, (500, "server_error"))
    return {"error": {"message": _sayable(str(error)), "type": kind, "param": None, "code": CODES.get(error.code, error.code)}}


def answer_of(error: KaratError) -> JSONResponse:
    """Give the response that an error is."""
    status, _ = STATUS.get(error.code, (500, "server_error"))
    headers = {}
    if isinstance(error, FullError):
        headers["retry-after"] = str(math.ceil(error.retry_after))
    if status == 401:
        headers["www-authenticate"] = "Bearer"
    if error.code in ("budget", "missing", "cancelled", "busy"):
        headers["x-should-retry"] = "false"
    return JSONResponse(body_of(error), status, headers=headers)


def register(app: FastAPI) -> None:
    """Let every failure leave in the one shape."""

    @app.exception_handler(KaratError)
    async def known(request: Request, error: KaratError) -> JSONResponse:
        return answer_of(error)

    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> JSONResponse:
        plain = {"Not Found": f"There is nothing at {request.url.path}.", "Method Not Allowed": f"{request.method} cannot be asked here."}
        message = plain.get(str(error.detail), str(error.detail))
        kind = TYPES.get(error.status_code, "invalid_request_error" if error.status_code < 500 else "server_error")
        return _plain(error.status_code, message, kind, code=None, headers=dict(error.headers or {}))

    @app.exception_handler(RequestValidationError)
    async def misshapen(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        place = [str(part) for part in first["loc"] if part not in ("body", "query", "path")]
        message = f"{'.'.join(place) or 'The body'}: {first['msg']}. Correct it."
        return _plain(422, message, "invalid_request_error", code=first["type"], param=".".join(place) or None)

    @app.exception_handler(UnicodeError)
    async def unsayable(request: Request, error: UnicodeError) -> JSONResponse:
        return _plain(400, "A text holds half characters (lone surrogates). Send it as UTF-8.", "invalid_request_error", code="data")

    @app.exception_handler(Exception)
    async def failed(request: Request, error: Exception) -> JSONResponse:
        if isinstance(error, OSError | MemoryError):
            return answer_of(in_words(error))
        traceback.print_exception(error, file=sys.stderr)
        return _plain(500, "The server met a fault of its own. It is in its log under the request's id.", "server_error", code="internal")


def _plain(
    status: int, message: str, kind: str, *, code: str | None, param: str | None = None, headers: dict[str, str] | None = None
) -> JSONResponse:
    told = {"message": _sayable(message), "type": kind, "param": param and _sayable(param), "code": code}
    return JSONResponse({"error": told}, status, headers=headers)


def _sayable(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


def wrong(problem: str, repair: str) -> SpecError:
    """Give the error of a request that contradicts itself."""
    return SpecError(problem, repair=repair)
