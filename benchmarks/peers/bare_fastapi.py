"""A bare FastAPI server: a list, and a route that returns what it gets.

    python bare_fastapi.py --port PORT
"""

import argparse
from typing import Any

import uvicorn
from fastapi import FastAPI

app = FastAPI()
MODEL = {"id": "texts:live", "object": "model", "created": 0, "owned_by": "nobody", "title": "texts:live", "makes": "text", "writes": True}


@app.get("/health")
async def health() -> dict[str, str]:
    return {"status": "ready"}


@app.get("/v1/models")
async def models() -> dict[str, Any]:
    return {"object": "list", "data": [MODEL, {**MODEL, "id": "0" * 64}]}


@app.post("/predict")
async def predict(body: dict[str, Any]) -> dict[str, Any]:
    return body


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    uvicorn.run(app, port=parser.parse_args().port, log_level="warning")
