"""Releases for the benchmarks of serving: weights drawn by chance, since speed does not depend on what they say; made in a moment.

`texts` is a language model of 11 M parameters that never ends a text, `pictures` a flow that makes small pictures under a label.
"""

from pathlib import Path

import recording  # noqa: F401 - makes the other benchmarks importable
import torch
from text_generation import drawn

from karat.app.releasing import remember
from karat.learning.models import Model, ModelSpec
from karat.material.releases import SigningKey, write_release
from karat.store.store import Store
from karat.values.codecs.codec import codecs
from karat.values.tensors import tensor_bytes
from karat.work.generation import Ready
from karat.work.plans import FittedCodec, RunSpec, TrainingPlan

LABELS = ("circle", "square", "star")


def texts(*, width: int = 384, depth: int = 6) -> Ready:
    return drawn(width, depth)


def pictures(*, size: int = 16, width: int = 48) -> Ready:
    image = codecs["image"].fit({"size": [size, size], "mode": "RGB"}, [])
    label = codecs["label"].fit({"names": LABELS}, [])
    family = {"kind": "diffusion", "net": {"kind": "convnet", "width": width}}
    spec = ModelSpec.from_values({"space": image.space, "given": {"label": label.space}, "family": family})
    model, generator = Model(spec), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.01)
    return Ready(model.eval(), image, {"label": label})


def put(folder: Path, ready: Ready, name: str) -> str:
    """Put a release into the store in a folder under an alias, and give its record."""
    store = Store.open(folder)
    spec = RunSpec(
        snapshot="drawn by chance",
        made=FittedCodec(kind=ready.made.kind, state=ready.made.state()),
        given={name: FittedCodec(kind=codec.kind, state=codec.state()) for name, codec in ready.given.items()},
        model=ready.model.spec,
        plan=TrainingPlan(steps=1),
    )
    weights = tensor_bytes(ready.model.state_dict())
    file = folder / f"{name.replace(':', '-')}.karat"
    write_release(
        file, {"spec.json": spec.to_json().encode(), "model.safetensors": weights}, key=SigningKey.at(folder), facts={"title": name}
    )
    record = remember(store, file)
    store.alias(name, record)
    file.unlink()
    store.close()
    return record
