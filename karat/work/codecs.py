"""Loading codecs from specs. Here, where models are known, a latent codec gets its autoencoder."""

from collections.abc import Callable
from typing import Any

from karat.learning.models import Model, ModelSpec
from karat.store.records import Record
from karat.values.codecs import image, label, numbers, pretrained_text, text  # noqa: F401 - the built-in codecs register themselves
from karat.values.codecs.codec import Codec, codecs
from karat.values.codecs.latent import Autoencoder, LatentCodec
from karat.values.tensors import TensorFile
from karat.words.errors import ReleaseError, SpecError
from karat.words.specs import Spec
from karat.work.plans import FittedCodec, RunSpec

Blobs = Callable[[str], bytes]
"""Gives the bytes of a digest: from the store, or from the parts of a release."""


class LatentState(Spec):
    """What makes a latent codec: the codec of what a person sees, the model that squeezes its values, and the digest of its weights."""

    inner: FittedCodec
    model: ModelSpec
    weights: str


def load_codec(fitted: FittedCodec, blobs: Blobs) -> Codec:
    """Build a codec. Raises ReleaseError when the weights that it needs are not there or do not fit."""
    if fitted.kind != LatentCodec.kind:
        return codecs[fitted.kind].load(fitted.state)
    state = LatentState.from_values(fitted.state)
    model = Model(state.model)
    payload = blobs(state.weights)
    model.load_weights(dict(TensorFile(lambda start, length: payload[start : start + length], len(payload))))
    model.eval().requires_grad_(False)
    if not isinstance(model.family, Autoencoder):
        raise ReleaseError(f"A {state.model.family.kind} model squeezes nothing into latents.", repair="Name a run that does.")
    codec: Any = LatentCodec(load_codec(state.inner, blobs), model.family, fitted.state)
    return codec


def through(run: Record) -> FittedCodec:
    """Give the latent codec that a finished autoencoder run makes possible. Raises SpecError for a run of another family."""
    spec = RunSpec.from_values(run.spec)
    if run.made is None or not isinstance(Model(spec.model).family, Autoencoder):
        raise SpecError(
            f"Run {run.id[:12]} is of the family {spec.model.family.kind}, which makes no latents.",
            repair="Go through a finished run of the family vae or, for texts, autoencoder.",
        )
    state = LatentState(inner=spec.made, model=spec.model, weights=run.made)
    return FittedCodec(kind=LatentCodec.kind, state=state.model_dump(mode="json"))


def weights_needed(spec: RunSpec) -> list[str]:
    """Give the digests of the weights that a run's codecs need beside its own."""
    found, codec = [], spec.made
    while codec.kind == LatentCodec.kind:
        state = LatentState.from_values(codec.state)
        found.append(state.weights)
        codec = state.inner
    return found
