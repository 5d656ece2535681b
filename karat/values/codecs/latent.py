"""Latents: the values of another codec, squeezed by a trained autoencoder, so that any family can learn a smaller space.

The autoencoder is handed in, since this floor knows no models. What is made in latents is shown, measured and written as what it
stands for.
"""

from typing import Any, ClassVar, Protocol, cast, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from karat.values.codecs.codec import Codec
from karat.values.spaces import Space


@runtime_checkable
class Autoencoder(Protocol):
    """A map between the values of a space and latents: numbers in [-1, 1], or ids where the latents are quantised."""

    latents: Space

    def to_latents(self, values: Tensor) -> Tensor: ...

    def from_latents(self, latents: Tensor) -> Tensor: ...


class LatentCodec:
    """Media ↔ latents, through the codec `inner` and an autoencoder of its values."""

    kind: ClassVar[str] = "latent"

    def __init__(self, inner: Codec, autoencoder: Autoencoder, state: dict[str, Any]) -> None:
        self.inner, self.autoencoder, self._state = inner, autoencoder, state
        self.space = autoencoder.latents
        self.extension, self.media_type = inner.extension, inner.media_type

    def encode(self, source: Any) -> np.ndarray:
        """Give the latents of one file: float16 numbers, or int32 ids."""
        packed = torch.from_numpy(np.array(self.inner.encode(source)))[None]
        with torch.no_grad():
            latents = self.autoencoder.to_latents(self.inner.value(packed))[0]
        return latents.numpy().astype(np.int32 if self.space.is_ids else np.float16)

    def value(self, packed: Tensor) -> Tensor:
        return packed.long() if self.space.is_ids else packed.float()

    def outer(self, latents: Tensor) -> Tensor:
        """Give the values of the inner codec for a batch of latents."""
        with torch.no_grad():
            return self.autoencoder.from_latents(latents)

    def decode(self, value: Tensor) -> Any:
        return self.inner.decode(self.outer(value[None])[0])

    def write(self, media: Any) -> bytes:
        return self.inner.write(media)

    def state(self) -> dict[str, Any]:
        return self._state


def seen(codec: Codec) -> Codec:
    """Give the codec of what a person sees: the inner one of latents, else the codec itself."""
    return codec.inner if isinstance(codec, LatentCodec) else codec


def as_seen(codec: Codec, values: Tensor) -> Tensor:
    """Give values as the codec `seen(codec)` knows them."""
    return cast(LatentCodec, codec).outer(values) if isinstance(codec, LatentCodec) else values
