"""A plain FastAPI server around transformers.generate: each request in a thread of its own, or with --alone one after the other.

python transformers_server.py --port PORT --model FOLDER [--threads 1] [--alone]
"""

import argparse
from contextlib import nullcontext
from threading import Lock
from typing import Any

import torch
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
from transformers import AutoModelForCausalLM, AutoTokenizer


class Wanted(BaseModel):
    """A beginning, and how many tokens to go on for."""

    prompt: str
    max_tokens: int


def main() -> None:
    """Load the model and serve."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--alone", action="store_true")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    tokenizer: Any = AutoTokenizer.from_pretrained(asked.model)
    model: Any = AutoModelForCausalLM.from_pretrained(asked.model).eval()
    turn = Lock() if asked.alone else nullcontext()
    app = FastAPI()

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ready"}

    @app.post("/generate")
    def generate(wanted: Wanted) -> dict[str, Any]:
        inputs = tokenizer(wanted.prompt, return_tensors="pt", return_token_type_ids=False)
        with turn, torch.inference_mode():
            made = model.generate(**inputs, max_new_tokens=wanted.max_tokens, do_sample=False)
        ids = made[0, inputs["input_ids"].shape[1] :]
        return {"text": tokenizer.decode(ids), "tokens": len(ids)}

    uvicorn.run(app, port=asked.port, log_level="warning")


if __name__ == "__main__":
    main()
