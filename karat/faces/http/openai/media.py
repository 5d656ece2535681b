"""Sound and video in OpenAI's shapes: no codec for either is here, so each endpoint says what is missing."""

from fastapi import APIRouter

from karat.faces.http.auth import Creator
from karat.faces.http.errors import MissingError

router = APIRouter(tags=["audio and video"])
SPEAK = "Releases here make pictures and texts: see GET /v1/models."


@router.post("/v1/audio/speech")
@router.post("/v1/audio/transcriptions")
@router.post("/v1/audio/translations")
async def audio(caller: Creator) -> None:
    """Say that no release here knows sound."""
    raise MissingError("No release here speaks or listens: Karat has no codec for sound.", repair=SPEAK)


@router.post("/v1/videos")
@router.get("/v1/videos")
async def videos(caller: Creator) -> None:
    """Say that no release here makes video."""
    raise MissingError("No release here makes video: Karat has no codec for it.", repair=SPEAK)


@router.get("/v1/videos/{video}")
@router.get("/v1/videos/{video}/content")
@router.delete("/v1/videos/{video}")
@router.post("/v1/videos/{video}/remix")
async def one_video(video: str, caller: Creator) -> None:
    """Say that there is no such video."""
    raise MissingError(f"There is no video {video[:60]!r}: Karat has no codec for it.", repair=SPEAK)
