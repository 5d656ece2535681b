"""Augmentation of pictures: random changes of a batch (B, height, width, C) that leave it in [-1, 1].

Every operation is twice differentiable in the picture (gathers and blends; neither `grid_sample` nor clamps), so that a GAN can augment
what its critic sees and still be trained through it, gradient penalties included (after Zhao et al. 2020, arXiv 2006.10738). Colour and
noise blend towards something inside [-1, 1], which keeps the range without cutting gradients off.

A model that learns from augmented pictures makes augmented pictures: outside a GAN's loss, ask only for what is true of the data.
"""

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Annotated, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from karat.words.errors import SpecError
from karat.words.registry import Registry
from karat.words.specs import Spec

Level = Annotated[int, Field(ge=0, le=255)]
Share = Annotated[float, Field(ge=0, le=1)]


class AugmentSpec(Spec):
    """Which operations, how strongly, on what share of the pictures: `{"flip": 0.5, "shift": 0.1}` mirrors half, shifts up to a tenth."""

    ops: dict[str, float] = {}
    chance: Share = Field(1.0, description="the share of pictures that each operation touches")
    padding: Literal["edge", "background"] = "edge"
    background: tuple[Level, Level, Level] = (255, 255, 255)
    allow_label_changes: bool = Field(False, description="a label or caption may stop being true of its picture")

    @model_validator(mode="after")
    def _known_and_in_range(self) -> Self:
        for name, strength in self.ops.items():
            most = augmentations[name].most
            if not 0 <= strength <= most:
                raise ValueError(f"the strength of {name} lies between 0 and {most:g} ({augmentations[name].meaning}), got {strength:g}")
        return self

    def label_changes(self) -> list[str]:
        """Name the operations that can make a label or caption untrue at their strength."""
        return [name for name, strength in sorted(self.ops.items()) if augmentations[name].changes_label(strength)]

    def check(self, conditions: Collection[str]) -> None:
        """Refuse operations that can make a label or caption untrue where the model learns from one."""
        if conditions and not self.allow_label_changes and (changes := self.label_changes()):
            raise SpecError(
                f"Augmentation by {', '.join(changes)} can make the condition {', '.join(sorted(conditions))} untrue of the picture.",
                repair="Leave it out or weaken it, or set allow_label_changes: true if they stay true (a mirrored apple is an apple).",
            )


@dataclass(frozen=True)
class Surroundings:
    """What an operation may look at besides the picture: the chance source and what lies outside the picture's edge."""

    generator: torch.Generator
    outside: Tensor | None
    """The colour (C) outside the picture; None repeats the edge."""

    def uniform(self, like: Tensor, low: float, high: float, *shape: int) -> Tensor:
        """Draw (B, *shape) numbers, on the generator's device, for the device and type of the pictures."""
        drawn = torch.rand((len(like), *shape), generator=self.generator, device=self.generator.device)
        return (drawn * (high - low) + low).to(like)


@dataclass(frozen=True)
class Augmentation:
    """One random operation: `apply(pictures, strength, surroundings)` gives pictures of the same shape."""

    meaning: str
    """What its strength says."""
    most: float
    true_up_to: float
    """Up to this strength a label or caption stays true of the picture."""
    apply: Callable[[Tensor, float, Surroundings], Tensor]

    def changes_label(self, strength: float) -> bool:
        return strength > self.true_up_to


augmentations: Registry[Augmentation] = Registry("augmentation")


def augment(values: Tensor, spec: AugmentSpec, generator: torch.Generator) -> Tensor:
    """Change each picture of a batch (B, height, width, C) by chance. The same generator state gives the same result."""
    if not any(spec.ops.values()):
        return values
    assert values.ndim == 4, f"expected pictures (B, height, width, C), got {tuple(values.shape)}"
    assert values.is_floating_point(), "pictures are numbers in [-1, 1] here"
    outside = None if spec.padding == "edge" else _colour(spec.background, values)
    around = Surroundings(generator, outside)
    for name, strength in sorted(spec.ops.items()):
        if strength == 0:
            continue
        touched = around.uniform(values, 0, 1) < spec.chance
        values = torch.where(touched.reshape(-1, 1, 1, 1), augmentations[name].apply(values, strength, around), values)
    return values


def _mirror(values: Tensor, strength: float, around: Surroundings) -> Tensor:
    mirrored = around.uniform(values, 0, 1) < strength
    return torch.where(mirrored.reshape(-1, 1, 1, 1), values.flip(2), values)


def _shift(values: Tensor, strength: float, around: Surroundings) -> Tensor:
    """Move by whole pixels, so that nothing is blurred."""
    y, x = _places(values)
    down = (around.uniform(values, -strength, strength, 1, 1) * values.shape[1]).round()
    right = (around.uniform(values, -strength, strength, 1, 1) * values.shape[2]).round()
    return _picked(values, y - down, x - right, around.outside)


def _rotate(values: Tensor, strength: float, around: Surroundings) -> Tensor:
    """Turn about the middle; between pixels, the four neighbours are mixed."""
    angle = around.uniform(values, -strength, strength, 1, 1) * (math.pi / 180)
    middle_y, middle_x = (values.shape[1] - 1) / 2, (values.shape[2] - 1) / 2
    y, x = _places(values)
    y, x = y - middle_y, x - middle_x
    from_y = angle.cos() * y - angle.sin() * x + middle_y
    from_x = angle.sin() * y + angle.cos() * x + middle_x
    top, left = from_y.floor(), from_x.floor()
    below, beside = (from_y - top).unsqueeze(-1), (from_x - left).unsqueeze(-1)
    upper = (1 - beside) * _picked(values, top, left, around.outside) + beside * _picked(values, top, left + 1, around.outside)
    lower = (1 - beside) * _picked(values, top + 1, left, around.outside) + beside * _picked(values, top + 1, left + 1, around.outside)
    return (1 - below) * upper + below * lower


def _recolour(values: Tensor, strength: float, around: Surroundings) -> Tensor:
    """Blend with white or black, then with the picture's mean, then with its own grey."""
    colours, alpha = _parted(values)
    light = around.uniform(values, -strength, strength, 1, 1, 1)
    colours = torch.lerp(colours, light.sign().expand_as(colours), light.abs())
    flat = around.uniform(values, 0, strength, 1, 1, 1)
    colours = torch.lerp(colours, colours.mean(dim=(1, 2, 3), keepdim=True).expand_as(colours), flat)
    if colours.shape[-1] == 3:
        pale = around.uniform(values, 0, strength, 1, 1, 1)
        colours = torch.lerp(colours, colours.mean(dim=3, keepdim=True).expand_as(colours), pale)
    return torch.cat((colours, alpha), dim=3)


def _cut_out(values: Tensor, strength: float, around: Surroundings) -> Tensor:
    """Lay a box over the picture: middle grey, or the background when that is the padding."""
    y, x = _places(values)
    height, width = max(1, round(values.shape[1] * strength)), max(1, round(values.shape[2] * strength))
    top = (around.uniform(values, 0, 1, 1, 1) * (values.shape[1] - height + 1)).floor()
    left = (around.uniform(values, 0, 1, 1, 1) * (values.shape[2] - width + 1)).floor()
    inside = (y >= top) & (y < top + height) & (x >= left) & (x < left + width)
    cover = torch.zeros_like(values[0, 0, 0]) if around.outside is None else around.outside
    return torch.where(inside.unsqueeze(-1), cover, values)


def _add_noise(values: Tensor, strength: float, around: Surroundings) -> Tensor:
    colours, alpha = _parted(values)
    share = around.uniform(values, 0, strength, 1, 1, 1)
    noise = around.uniform(values, -1, 1, *colours.shape[1:])
    return torch.cat((torch.lerp(colours, noise, share), alpha), dim=3)


def _places(values: Tensor) -> tuple[Tensor, Tensor]:
    """Give each pixel's row (1, H, 1) and column (1, 1, W)."""
    height, width = values.shape[1:3]
    rows = torch.arange(height, device=values.device, dtype=values.dtype)
    columns = torch.arange(width, device=values.device, dtype=values.dtype)
    return rows.reshape(1, -1, 1), columns.reshape(1, 1, -1)


def _picked(values: Tensor, y: Tensor, x: Tensor, outside: Tensor | None) -> Tensor:
    """Give the pixels at whole rows and columns that broadcast to (B, H, W); beyond the edge, `outside` or the edge's own pixel."""
    batch, height, width, channels = values.shape
    y, x = torch.broadcast_tensors(y, x)
    index = y.clamp(0, height - 1).long() * width + x.clamp(0, width - 1).long()
    index = index.reshape(batch, height * width, 1).expand(-1, -1, channels)
    picked = values.reshape(batch, height * width, channels).gather(1, index).reshape(values.shape)
    if outside is None:
        return picked
    inside = (y >= 0) & (y <= height - 1) & (x >= 0) & (x <= width - 1)
    return torch.where(inside.unsqueeze(-1), picked, outside)


def _parted(values: Tensor) -> tuple[Tensor, Tensor]:
    """Part colours from alpha (which may have no channel)."""
    colours = values.shape[-1] - (values.shape[-1] in (2, 4))
    return values[..., :colours], values[..., colours:]


def _colour(background: tuple[int, int, int], values: Tensor) -> Tensor:
    """Give the background as one pixel (C) of the values: its grey for one channel, transparent where there is alpha."""
    levels = torch.tensor(background, device=values.device, dtype=values.dtype) / 127.5 - 1
    channels = values.shape[-1]
    if channels in (1, 2):
        levels = (levels * levels.new_tensor([0.299, 0.587, 0.114])).sum(0, keepdim=True)
    return torch.cat((levels, -torch.ones_like(levels[:1]))) if channels in (2, 4) else levels


augmentations.add("colour")(
    Augmentation("the greatest share of white or black, of flatness and of grey blended in", 0.9, 0.0, _recolour),
)
augmentations.add("cutout")(Augmentation("the sides of the box as shares of the picture's", 0.75, 1.0, _cut_out))
augmentations.add("flip")(Augmentation("the share of pictures that are mirrored", 1.0, 0.0, _mirror))
augmentations.add("noise")(Augmentation("the greatest share of noise blended in", 0.9, 1.0, _add_noise))
augmentations.add("rotate")(Augmentation("the greatest angle in degrees", 180.0, 5.0, _rotate))
augmentations.add("shift")(Augmentation("the greatest move as a share of the side", 0.5, 1.0, _shift))
