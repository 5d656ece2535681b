"""Latents of a trained autoencoder: how much comes back exactly, and what can be done between two of them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from karat.learning.models import Model
from karat.store.records import Record
from karat.values.codecs.codec import Codec
from karat.values.codecs.latent import Autoencoder, LatentCodec
from karat.values.given import Given
from karat.words.errors import SpecError
from karat.words.events import Warned
from karat.work.generation import Ready

GATE = 0.95
"""The share of held-out texts that must come back exactly before other families learn texts through an autoencoder."""


def autoencoder_of(model: Model) -> Autoencoder:
    """Give a model's family as an autoencoder. Raises SpecError when it is none."""
    if not isinstance(model.family, Autoencoder):
        raise SpecError(f"A model of the family {model.spec.family.kind} has no latents.", repair="Take one of the family autoencoder.")
    return model.family


def exact_share(model: Model, batches: Iterable[tuple[Tensor, Given]]) -> float:
    """Give the share of values that come back exactly from their latents."""
    autoencoder, same, count = autoencoder_of(model.eval()), 0, 0
    with torch.inference_mode():
        for x, _ in batches:
            x = x.to(model.device)
            same += int((autoencoder.from_latents(autoencoder.to_latents(x)) == x).flatten(1).all(1).sum())
            count += len(x)
    return same / max(1, count)


def reconstruction(model: Model, weights: Mapping[str, Tensor], held_out: Iterator[tuple[Tensor, Given]]) -> dict[str, float]:
    """Give the share of held-out rows of ids that come back exactly under some weights; nothing for a model that squeezes no ids."""
    if not (model.space.is_ids and isinstance(model.family, Autoencoder)):
        return {}
    model.load_weights(weights)
    return {"reconstructed": exact_share(model, held_out)}


def doubts(autoencoders: Iterable[Record]) -> Iterator[Warned]:
    """Warn of autoencoder runs that did not pass the gate: what is learnt through them cannot be better than they are."""
    for run in autoencoders:
        share = run.facts["figures"].get("reconstructed")
        if share is not None and share < GATE:
            said = f"Only {share:.0%} of held-out texts come back exactly from the latents of run {run.id[:12]}; {GATE:.0%} is the gate."
            yield Warned(message=f"{said} Train it longer, or on more texts, before going through it.")


def coding(ready: Ready) -> tuple[Autoencoder, Codec]:
    """Give the autoencoder of a model's latents, and the codec of what a person sees. Raises SpecError when there is none of numbers."""
    made = ready.made
    autoencoder, codec = (made.autoencoder, made.inner) if isinstance(made, LatentCodec) else (autoencoder_of(ready.model), made)
    if autoencoder.latents.is_ids:
        raise SpecError("The latents of this release are ids, between which nothing lies.", repair="Take an autoencoder without `levels`.")
    return autoencoder, codec


def latents_of(ready: Ready, sources: Sequence[Any]) -> Tensor:
    """Give the latents (B, *S, C) of some sources."""
    autoencoder, codec = coding(ready)
    packed = torch.stack([torch.from_numpy(np.array(codec.encode(source))) for source in sources])
    with torch.inference_mode():
        return autoencoder.to_latents(codec.value(packed))


def media_of(ready: Ready, latents: Tensor) -> list[Any]:
    """Give what latents (B, *S, C) stand for."""
    autoencoder, codec = coding(ready)
    with torch.inference_mode():
        return [codec.decode(value) for value in autoencoder.from_latents(latents.clamp(-1, 1))]


def between(first: Tensor, second: Tensor, steps: int) -> Tensor:
    """Give `steps` latents on the way from one (*S, C) to another, both included; lengths change as evenly as directions do."""
    share = torch.linspace(0, 1, steps).view(-1, *(1,) * first.ndim)
    straight = torch.lerp(first[None], second[None], share)
    lengths = torch.lerp(first.norm(dim=-1, keepdim=True)[None], second.norm(dim=-1, keepdim=True)[None], share)
    return straight * (lengths / straight.norm(dim=-1, keepdim=True).clamp(min=1e-6))


def steered(latents: Tensor, toward: Tensor, away: Tensor, strength: float) -> Tensor:
    """Move latents (B, *S, C) along the difference between the means of two groups of others."""
    return (latents + strength * (toward.mean(0) - away.mean(0))).clamp(-1, 1)
