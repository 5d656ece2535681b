"""Made-up sentences that a model learns in seconds, and releases of such models."""

import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from karat.learning.models import Model, ModelSpec
from karat.material.releases import SigningKey, write_release
from karat.values.codecs.text import TextCodec
from karat.values.given import Given
from karat.values.tensors import tensor_bytes
from karat.work.plans import FittedCodec, RunSpec
from karat.work.recipes.recipes import Dials, cook
from karat.work.training import chosen_weights, train

WORDS = {
    "who": ["fox", "whale", "heron", "otter", "badger", "lynx", "tortoise", "sparrow", "beetle", "salmon"],
    "how": ["red", "blue", "quiet", "hungry", "clever", "sleepy", "golden", "ancient"],
    "does": ["sleeps", "sings", "swims", "runs", "waits", "dreams", "hides"],
    "where": ["here", "there", "above", "below", "nearby", "inside"],
}


def sentences(count: int) -> list[str]:
    chance = random.Random(0)
    return [" ".join(["the", *(chance.choice(WORDS[kind]) for kind in ("how", "who", "does", "where"))]) for _ in range(count)]


class Sentences:
    """Texts as rows of ids, made-up sentences if none are given; the last `held` are held out."""

    def __init__(self, texts: Sequence[str] = (), *, vocab: int = 400, held: int = 100) -> None:
        texts = texts or list(dict.fromkeys(sentences(700)))
        self.codec = TextCodec.fit({"units": "bpe", "vocab": vocab}, texts[:-held])
        rows = torch.stack([self.codec.value(torch.from_numpy(self.codec.encode(text))) for text in texts])
        self.rows, self.rest, self.texts = rows[:-held], rows[-held:], texts[-held:]

    def __len__(self) -> int:
        return len(self.rows)

    def batch(self, step: int, size: int, generator: torch.Generator) -> tuple[Tensor, Given]:
        return self.rows[torch.randint(len(self.rows), (size,), generator=generator)], Given()

    def held_out(self) -> Iterator[tuple[Tensor, Given]]:
        yield self.rest, Given()


def written(family: str, folder: Path, data: Sentences, *, steps: int, **changes: object) -> tuple[RunSpec, dict[str, Tensor]]:
    """Train on sentences and give the whole spec with the weights."""
    dials = Dials(family=family, size="tiny", steps=steps, changes={"plan.checks": 1, "plan.judged": 0, **changes})
    options, plan, _ = cook(data.codec.space, {}, dials)
    model = Model(ModelSpec(space=data.codec.space, family=options))
    for _ in train(model, data, plan, folder):
        pass
    made = FittedCodec(kind="text", state=data.codec.state())
    return RunSpec(snapshot="0" * 64, made=made, model=model.spec, plan=plan), chosen_weights(folder)[0]


def released(folder: Path, spec: RunSpec, weights: dict[str, Tensor]) -> Path:
    parts = {"model.safetensors": tensor_bytes(weights), "spec.json": spec.to_json().encode()}
    path = folder / "texts.karat"
    write_release(path, parts, key=SigningKey.at(folder), facts={"title": "Texts"})
    return path
