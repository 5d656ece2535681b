"""Models: a space, a family and what is given, joined.

A `ModelSpec` is the whole of what is needed to build the net again; the weights are a flat dictionary of tensors.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

import torch
from pydantic import BeforeValidator, SerializeAsAny
from torch import Tensor, nn

from karat.learning.families import (  # noqa: F401 - the built-in families register themselves
    autoencoder,
    autoregressive,
    diffusion,
    gan,
    masked,
    pretrained,
    vae,
)
from karat.learning.families.family import Family, FamilyOptions, Filling, GoingOn, Noise, SamplingOptions, Start, Step, families
from karat.values.given import Given
from karat.values.spaces import Space
from karat.words.errors import ReleaseError, SpecError
from karat.words.specs import Spec


def _family_options(values: Any) -> Any:
    """Read family options by the class that the family named in `kind` declares."""
    if not isinstance(values, Mapping):
        return values
    if "kind" not in values:
        raise SpecError("The model names no family.", repair=f"Add `kind`: one of {', '.join(families)}.")
    return families[values["kind"]].Options.from_values(dict(values))


class ModelSpec(Spec):
    """What a model makes (`space`), under what (`given`), and how it learnt to (`family`)."""

    space: Space
    given: dict[str, Space] = {}
    family: Annotated[SerializeAsAny[FamilyOptions], BeforeValidator(_family_options)]

    def finished(self) -> "ModelSpec":
        """Give the spec that the weights of a finished run fit, where training adds to a model what is not left in the end."""
        return self.changed(family=self.family.finished())


class Model(nn.Module):
    """A model: everything with weights. Built with the same generator, it starts from the same weights."""

    def __init__(self, spec: ModelSpec, *, seed: int = 0) -> None:
        super().__init__()
        self.spec = spec
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.family: Family = families[spec.family.kind](spec.space, spec.given, spec.family)

    @property
    def space(self) -> Space:
        return self.spec.space

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    def sampling(self, **options: Any) -> SamplingOptions:
        """Give the family's sampling options with some changed. Raises SpecError for one that it does not have."""
        return self.family.Sampling.from_values(options)

    def parameter_count(self) -> int:
        return sum(parameter.numel() for parameter in self.parameters())

    def make(self, given: Given, options: SamplingOptions, seeds: Sequence[Start]) -> Iterator[Step]:
        """Make one value for each (seed, index), or whatever else a sample starts from; the last step's preview is the result.

        Stop between steps by closing the iterator.
        """
        yield from self._taken(self.family.sample(given.to(self.device), options, Noise(seeds, self.device)))

    def fill(
        self,
        x: Tensor,
        where: Tensor,
        given: Given,
        options: SamplingOptions,
        seeds: Sequence[Start],
        *,
        strength: float = 1.0,
    ) -> Iterator[Step]:
        """Make parts of values anew, where `where` (B, *S) is True, as `make` makes whole ones. Raises SpecError if the family cannot."""
        if not isinstance(self.family, Filling):
            able = ", ".join(kind for kind, family in families.items() if hasattr(family, "fill"))
            raise SpecError(
                f"A model of the family {self.family.kind} cannot fill gaps.", repair=f"Edit with one of a family that can: {able}."
            )
        noise = Noise(seeds, self.device)
        yield from self._taken(self.family.fill(x.to(self.device), where.to(self.device), given.to(self.device), options, noise, strength))

    def _taken(self, steps: Iterator[Step]) -> Iterator[Step]:
        self.eval()
        while True:
            with torch.inference_mode():
                step = next(steps, None)
            if step is None:
                return
            yield step

    def made(self, given: Given, options: SamplingOptions, seeds: Sequence[tuple[int, int]]) -> Tensor:
        """Give the values (B, *S[, C]) that `make` ends with."""
        *_, last = self.make(given, options, seeds)
        return last.preview.cpu()

    def filled(self, x: Tensor, where: Tensor, given: Given, options: SamplingOptions, seeds: Sequence[tuple[int, int]]) -> Tensor:
        """Give the values (B, *S[, C]) that `fill` ends with."""
        *_, last = self.fill(x, where, given, options, seeds)
        return last.preview.cpu()

    def start_from(self, tensors: Mapping[str, Tensor]) -> None:
        """Take up the weights of a base before the first step. Raises SpecError for a family that always starts from nothing."""
        if not isinstance(self.family, GoingOn):
            raise SpecError(f"The family {self.family.kind} starts from nothing.", repair="Leave out --base, or the family.")
        self.family.start_from(tensors)

    def finished(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Give the weights of what a run ends as, which fit `spec.finished()`, from those that were chosen."""
        if not isinstance(self.family, GoingOn):
            return dict(weights)
        own = self.family.finished({name.removeprefix("family."): tensor for name, tensor in weights.items()})
        return {f"family.{name}": tensor for name, tensor in own.items()}

    def load_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Take weights as `state_dict` gave them. Raises ReleaseError when a name or a shape does not fit."""
        own = self.state_dict()
        missing, extra = sorted(own.keys() - weights.keys()), sorted(weights.keys() - own.keys())
        wrong = [name for name in own.keys() & weights.keys() if own[name].shape != weights[name].shape]
        if missing or extra or wrong:
            what = f"missing {missing[:3]}" if missing else f"unknown {extra[:3]}" if extra else f"wrong shape for {sorted(wrong)[:3]}"
            raise ReleaseError(f"The weights do not fit the spec: {what}.", repair="Take the weights and the spec from the same release.")
        self.load_state_dict(dict(weights))
