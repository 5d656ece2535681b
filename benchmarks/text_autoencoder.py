"""How many held-out texts come back exactly from the latents of an autoencoder: the gate before other families learn texts through it.

Three sets of short texts; variants of one text (skin tones, after the colon) stay on one side of the split. Beside the family autoencoder
stands the family vae on the same ids, as it is.

    python benchmarks/text_autoencoder.py [--steps 400] [--sets en,zh,quotes] [--families autoencoder,vae]
"""

import argparse
import hashlib
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parent))

from datasets import EMOJI, machine
from results import record

from karat.learning.models import Model, ModelSpec
from karat.values.codecs.text import TextCodec
from karat.values.given import Given
from karat.words.events import Scored
from karat.work.latents import exact_share
from karat.work.recipes.recipes import Dials, cook
from karat.work.training import chosen_weights, train

RESULTS = Path(__file__).parent / "results" / "text_autoencoder.json"
CUT = 32
"""Tokens to which the quotes are cut."""


class Texts:
    """Short texts as rows of ids, every tenth group of them held out."""

    def __init__(self, name: str) -> None:
        texts = list(dict.fromkeys(read(name)))
        self.codec = TextCodec.fit({"length": CUT} if name == "quotes" else {}, [text for text in texts if not held(text)])
        self.train, self.rest = (self._rows([text for text in texts if held(text) == kept]) for kept in (False, True))

    def _rows(self, texts: list[str]) -> Tensor:
        return torch.stack([self.codec.value(torch.from_numpy(self.codec.encode(text))) for text in texts])

    def __len__(self) -> int:
        return len(self.train)

    def batch(self, step: int, size: int, generator: torch.Generator) -> tuple[Tensor, Given]:
        return self.train[torch.randint(len(self.train), (size,), generator=generator)], Given()

    def held_out(self) -> Iterator[tuple[Tensor, Given]]:
        for rows in self.rest.split(256):
            yield rows, Given()


def read(name: str) -> Iterator[str]:
    place, column = {
        "en": (EMOJI / "metadata.jsonl", "text"),
        "zh": (EMOJI / "metadata.jsonl", "text_zh"),
        "quotes": (EMOJI.parent / "text" / "quotes.jsonl", "text"),
    }[name]
    for line in place.read_text(encoding="utf-8").splitlines():
        if text := json.loads(line).get(column):
            yield text


def held(text: str) -> bool:
    root = text.partition(":")[0].partition("：")[0]
    return hashlib.sha256(root.encode()).digest()[0] < 26


def measure(name: str, family: str, steps: int, changes: dict[str, Any]) -> dict[str, Any]:
    texts = Texts(name)
    options, plan, _ = cook(texts.codec.space, {}, Dials(family=family, steps=steps, changes={"plan.judged": 0, **changes}))
    model = Model(ModelSpec(space=texts.codec.space, family=options))
    spent = -time.process_time()
    with TemporaryDirectory() as folder:
        for event in train(model, texts, plan, Path(folder)):
            if isinstance(event, Scored):
                print(event.step, {key: round(value, 4) for key, value in event.figures.items()}, flush=True)
        weights, _ = chosen_weights(Path(folder))
    spent += time.process_time()
    model.load_weights(weights)
    latents = model.family.latents  # type: ignore[attr-defined]
    made = model.made(Given(), model.sampling(), [(1, index) for index in range(12)])
    row = {
        "texts": name,
        "family": family,
        "exact": exact_share(model, texts.held_out()),
        "exact in training": exact_share(model, [(texts.train[:1000], Given())]),
        "held out": len(texts.rest),
        "tokens": texts.codec.length,
        "latents": [*latents.shape, latents.channels],
        "parameters": model.parameter_count(),
        "steps": steps,
        "CPU minutes": spent / 60,
        "made": [texts.codec.decode(value) for value in made],
    }
    print(json.dumps(row, ensure_ascii=False, indent=1), flush=True)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--sets", default="en,zh,quotes")
    parser.add_argument("--families", default="autoencoder,vae")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="try a change, without recording it")
    words = parser.parse_args()
    changes = {name: json.loads(value) for name, _, value in (word.partition("=") for word in words.set)}
    for name in words.sets.split(","):
        for family in words.families.split(","):
            row = measure(name, family, words.steps, changes)
            if not changes:
                record(RESULTS, {**row, **machine()}, key=("texts", "family", "steps"))


if __name__ == "__main__":
    main()
