"""Tiny spaces, conditions, models and data, enumerated from the registries: what holds for one codec or family is asked of all of them."""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from bases import reading
from PIL import Image
from torch import Tensor, nn

from karat.learning.families.family import FamilyOptions, families
from karat.learning.models import Model, ModelSpec
from karat.learning.nets.convnet import ConvnetSpec
from karat.learning.nets.transformer import TransformerSpec
from karat.values.codecs import image, label, numbers, pretrained_text, text  # noqa: F401 - the built-in codecs register themselves
from karat.values.codecs.codec import Codec, codecs
from karat.values.given import Given
from karat.values.spaces import Space

Net = TypeVar("Net", bound=nn.Module)

TEXTS = ["a red fox", "a blue whale", "狐狸", "蓝色的鲸鱼"]


def png(side: int, shade: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (side, side), (shade, 255 - shade, shade // 2)).save(file, "PNG")
    return file.getvalue()


EXAMPLES: dict[str, tuple[dict[str, Any], list[Any]]] = {
    "image": ({"size": 4}, [png(4, 10), png(4, 200), png(6, 90)]),
    "text": ({"length": 6, "vocab": 260}, TEXTS),
    "pretrained-text": ({**reading(), "length": 24}, TEXTS),
    "label": ({}, ["fox", "whale", "heron"]),
    "numbers": ({}, [{"weight": 1.0, "height": 3.0}, {"weight": 2.5, "height": -4.0}, {"weight": 9.0, "height": 0.5}]),
}
"""Options and sources of each codec that learns from files alone."""


def codec_of(kind: str) -> Codec:
    options, sources = EXAMPLES[kind]
    return codecs[kind].fit(options, sources)


SPACES: dict[str, Space] = {
    "text": codec_of("text").space,
    "image": codec_of("image").space,
    "audio": Space(axes=("time",), shape=(12,), channels=2),
    "video": Space(axes=("time", "height", "width"), shape=(2, 4, 4), channels=1),
    "table": Space(axes=("column",), shape=(6,), channels=1),
}
"""One space of the shape of each modality."""

CONDITIONS: dict[str, dict[str, Space]] = {
    "none": {},
    "label": {"label": codec_of("label").space},
    "numbers": {"numbers": codec_of("numbers").space},
    "text": {"text": SPACES["text"]},
    "image": {"image": SPACES["image"]},
    "audio": {"audio": SPACES["audio"]},
    "label+text": {"label": codec_of("label").space, "text": SPACES["text"]},
}

TRANSFORMER = TransformerSpec(width=16, depth=1)
CONVNET = ConvnetSpec(width=8, levels=(1, 2))


def options_of(kind: type[FamilyOptions], net: TransformerSpec | ConvnetSpec = TRANSFORMER) -> dict[str, Any]:
    """Give a family's options with every net in them made tiny; nets of other families inside it are transformers."""
    options: dict[str, Any] = {}
    for name, field in kind.model_fields.items():
        if isinstance(field.default, TransformerSpec | ConvnetSpec):
            options[name] = TRANSFORMER if field.annotation is TransformerSpec else net
        elif isinstance(field.default, FamilyOptions):
            options[name] = {"kind": field.default.kind, **options_of(type(field.default))}
    return options


def forms() -> dict[str, dict[str, Any]]:
    """Give every registered family as tiny options: with each kind of net that it takes, and quantised where it can be."""
    found = {}
    for kind, family in families.items():
        for net in (TRANSFORMER, CONVNET):
            options = {"kind": kind, **options_of(family.Options, net)}
            if net not in options.values():
                continue
            found[f"{kind}/{net.kind}"] = options
            if "levels" in family.Options.model_fields:
                found[f"{kind}-quantised/{net.kind}"] = {**options, "levels": (4, 3)}
    return found


def suits(form: str, space: Space) -> bool:
    """Say whether a form can learn a space; convnets stand for grids of numbers."""
    return "convnet" not in form or (not space.is_ids and len(space.shape) >= 2)


def model_of(form: str, space: Space, given: dict[str, Space] | None = None, **changes: Any) -> Model:
    return Model(ModelSpec.from_values({"space": space, "given": given or {}, "family": {**forms()[form], **changes}}))


def quick(model: Model) -> dict[str, Any]:
    """Give sampling options that take few steps, where steps can be chosen."""
    return {"steps": 2} if "steps" in model.family.Sampling.model_fields else {}


def awaken(model: Net, seed: int = 0) -> Net:
    """Move every weight a little, so that layers that start at nothing do something."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return model.eval()


def given_of(spaces: dict[str, Space], count: int, seed: int = 0) -> Given:
    generator = torch.Generator().manual_seed(seed)
    return Given.of(**{name: space.random(count, generator) for name, space in spaces.items()})


@dataclass(frozen=True)
class Toy:
    """Training data that can be learnt: a few fixed values with a little noise, and what is given at random."""

    space: Space
    given: dict[str, Space]
    kinds: int = 3

    def __len__(self) -> int:
        return self.kinds

    def batch(self, step: int, size: int, generator: torch.Generator) -> tuple[Tensor, Given]:
        return self._some(size, generator)

    def held_out(self) -> Iterator[tuple[Tensor, Given]]:
        yield self._some(4, torch.Generator().manual_seed(99))

    def _some(self, size: int, generator: torch.Generator) -> tuple[Tensor, Given]:
        values = self.space.random(self.kinds, torch.Generator().manual_seed(7)) * (1 if self.space.is_ids else 0.8)
        chosen = values[torch.randint(self.kinds, (size,), generator=generator)]
        if not self.space.is_ids:
            chosen = chosen + 0.05 * (torch.rand(chosen.shape, generator=generator) * 2 - 1)
        return chosen, Given.of(**{name: space.random(size, generator) for name, space in self.given.items()})
