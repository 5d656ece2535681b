"""Retouching pictures with a model that can make parts of values anew: pixels that are kept stay as they are, to the bit.

A picture of any size is fitted to that of the release, and its mask with it. Where the model learnt latents, each of their places is made
anew that stands for a pixel which is; the pixels that are kept are laid over what comes back.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from karat.values.codecs.image import ImageCodec
from karat.values.codecs.latent import as_seen, seen
from karat.values.given import Given
from karat.values.spaces import Space
from karat.words.errors import DataError, SpecError
from karat.work.generation import Kept, Previewed, Ready, make_values
from karat.work.requests import Retouch


@dataclass(frozen=True)
class Canvas:
    """Pictures (B, H, W, C) as a release sees them, which pixels (B, H, W) are made anew, and both as the model sees them."""

    pictures: Tensor
    new: Tensor
    kept: Kept

    @classmethod
    def of(cls, ready: Ready, asked: Retouch, read: Callable[[str], bytes]) -> "Canvas":
        """Prepare what a request asks for, with `read` giving files by their digests. Raises SpecError or DataError for what cannot be."""
        codec = seen(ready.made)
        if not isinstance(codec, ImageCodec):
            raise SpecError(f"This release makes {codec.kind}s, no pictures.", repair="Retouch with a release of pictures.")
        source = read(asked.picture)
        picture = codec.value(torch.from_numpy(codec.encode(source)[None]))
        new = torch.ones(picture.shape[:-1], dtype=torch.bool)
        if asked.mask is not None:
            new = torch.from_numpy(codec.clear(read(asked.mask))[None])
            if not new.any():
                raise DataError("The mask keeps everything.", repair="Make transparent what is to be made anew.")
        packed = torch.from_numpy(np.array(ready.made.encode(source))[None])
        where = new if codec is ready.made else _coarse(new, ready.model.space)
        canvas = cls(picture, new, Kept(ready.made.value(packed), where, asked.strength))
        return canvas.rows([0] * asked.count)

    def rows(self, places: Sequence[int]) -> "Canvas":
        """Select pictures."""
        index = torch.tensor(places)
        kept = replace(self.kept, values=self.kept.values[index], where=self.kept.where[index])
        return Canvas(self.pictures[index], self.new[index], kept)

    def joined(self, other: "Canvas") -> "Canvas":
        """Put others behind these; all are to lose equally much."""
        assert self.kept.strength == other.kept.strength, "values that are made together go the same way"
        values = torch.cat([self.kept.values, other.kept.values])
        kept = replace(self.kept, values=values, where=torch.cat([self.kept.where, other.kept.where]))
        return Canvas(torch.cat([self.pictures, other.pictures]), torch.cat([self.new, other.new]), kept)


def retouched(
    ready: Ready, rows: Given, seeds: Sequence[tuple[int, int]], sampling: Mapping[str, Any], canvas: Canvas
) -> Iterator[tuple[Previewed, Tensor]]:
    """Retouch one picture of a canvas for each seed, as `make_values` makes values; a group's last step gives pictures (B, H, W, C)."""
    done = 0
    for step, values in make_values(ready.model, rows, seeds, sampling, canvas.kept):
        if step.done == step.total:
            some = slice(done, done + len(values))
            values = torch.where(canvas.new[some][..., None], as_seen(ready.made, values), canvas.pictures[some])
            done += len(values)
        yield step, values


def as_pictures(ready: Ready) -> Ready:
    """Give a model with the codec of what a person sees, for values that are pictures already."""
    return replace(ready, made=seen(ready.made))


def _coarse(new: Tensor, space: Space) -> Tensor:
    """Give the places (B, *S) of latents that stand for a pixel which is made anew. Raises SpecError for latents that have no places."""
    if space.shape == () and bool(new.all()):
        return new.flatten(1).all(1)
    if len(space.shape) != 2:
        said = "The latents of this release stand for the whole picture, so no part of it can be kept."
        raise SpecError(said, repair="Vary it without a mask, or take a release of pixels, or of latents with places (in_place).")
    return F.adaptive_max_pool2d(new[:, None].float(), space.shape)[:, 0] > 0
