"""Choosing a net: by its spec, or by the space when the spec leaves it open."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field
from torch import nn

from karat.learning.nets.convnet import ConvnetMapper, ConvnetReader, ConvnetSpec, ConvnetWriter, Plan
from karat.learning.nets.reading import Patches, patch_for
from karat.learning.nets.transformer import TransformerMapper, TransformerReader, TransformerSpec, TransformerWriter
from karat.values.spaces import Space
from karat.words.errors import SpecError

NetSpec = Annotated[ConvnetSpec | TransformerSpec, Field(discriminator="kind")]


def mapper(space: Space, channels: int, given: Mapping[str, Space], spec: NetSpec) -> nn.Module:
    """Give a net (x_BSC, t_B, given) → (B, *S, channels)."""
    if isinstance(spec, TransformerSpec):
        return TransformerMapper(space, channels, given, spec)
    return ConvnetMapper(_grid(space), channels, given, spec)


def reader(space: Space, latent: Space, given: Mapping[str, Space], spec: NetSpec) -> nn.Module:
    """Give a net (x_BSC, given) → (B, *latent)."""
    if isinstance(spec, TransformerSpec):
        return TransformerReader(space, latent, given, spec)
    return ConvnetReader(_grid(space), latent, given, spec)


def writer(latent: Space, space: Space, given: Mapping[str, Space], spec: NetSpec) -> nn.Module:
    """Give a net (z, given) → (B, *S, C)."""
    if isinstance(spec, TransformerSpec):
        return TransformerWriter(latent, space, given, spec)
    return ConvnetWriter(latent, _grid(space), given, spec)


def coarse_shape(space: Space, spec: NetSpec, *, longest: int = 16) -> tuple[int, ...]:
    """Give the shape of the coarsest grid on which a net can place a latent."""
    if isinstance(spec, ConvnetSpec):
        return Plan(_grid(space), {}, spec).grids[-1]
    return Patches(space, patch_for(space, longest)).space.shape


def suits_convnet(space: Space) -> bool:
    """Say whether a convnet is the better default: a grid of numbers, no axis longer than 64 or shorter than 4."""
    return not space.is_ids and 2 <= len(space.shape) <= 3 and min(space.shape[-2:]) >= 4 and max(space.shape) <= 64


def _grid(space: Space) -> Space:
    if not 1 <= len(space.shape) <= 3:
        raise SpecError(
            f"A convnet needs one to three axes, and {space.axes or 'a space without axes'} has {len(space.shape)}.",
            repair="Choose kind: transformer.",
        )
    return space
