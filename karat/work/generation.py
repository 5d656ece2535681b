"""Generation: from a model and a request to media, the same bytes for the same release, request and seed, whatever else is made beside it.

Samples are always computed in groups of one size, the last one filled up: the same arithmetic runs for one picture as for a thousand, and
within a group each sample depends on its own row and its own stream of noise alone.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from karat.learning.families.family import Start
from karat.learning.models import Model
from karat.values.codecs.codec import Codec
from karat.values.codecs.text import TextCodec
from karat.values.given import Given
from karat.values.spaces import Space
from karat.words.errors import SpecError
from karat.words.events import Event
from karat.work.codecs import Blobs, load_codec
from karat.work.plans import RunSpec
from karat.work.requests import Request as Request  # asked for here by whoever generates

GROUPS = (8, 32)
"""The smallest and the largest group."""
GROUP_POSITIONS = 2048
"""Between them, as many samples as have so many positions: small values share the cost of each operation, large ones need not."""


class Previewed(Event):
    """A step of generation: how far, of how many."""

    kind: Literal["previewed"] = "previewed"
    done: int
    total: int
    group: int
    groups: int


@dataclass(frozen=True)
class Ready:
    """A model with its codecs, ready to make media."""

    model: Model
    made: Codec
    given: Mapping[str, Codec]

    @classmethod
    def of(cls, spec: RunSpec, weights: Mapping[str, Tensor], blobs: Blobs) -> "Ready":
        """Put together what a run or a release holds. Raises ReleaseError when the weights do not fit the spec."""
        model = Model(spec.model.finished())
        model.load_weights(weights)
        return cls(model.eval(), load_codec(spec.made, blobs), {name: load_codec(codec, blobs) for name, codec in spec.given.items()})

    def conditions(self, given: Mapping[str, Any]) -> Given:
        """Give one row of conditions from sources by name, the rest left out. Raises SpecError for what the model does not know."""
        unknown = sorted(set(given) - set(self.given))
        if unknown:
            known = f"It knows: {', '.join(self.given)}." if self.given else "It was trained without conditions."
            raise SpecError(f"The model knows no condition {unknown[0]!r}.", repair=known)
        values, keep = {}, {}
        for name, codec in self.given.items():
            if name in given:
                if isinstance(codec, TextCodec) and not codec.fits(given[name]):
                    raise SpecError(f"The {name} is longer than the {codec.length} tokens that the model reads.", repair="Shorten it.")
                values[name] = codec.value(torch.from_numpy(np.array(codec.encode(given[name])))[None])
            else:
                values[name] = codec.space.random(1, torch.Generator().manual_seed(0)) * 0
            keep[name] = torch.tensor([name in given])
        return Given(values, keep)


@dataclass(frozen=True)
class Kept:
    """Values (B, *S[, C]) of which a part is kept: `where` (B, *S) they are made anew, and how much of what was there is lost in that."""

    values: Tensor
    where: Tensor
    strength: float


def make_values(
    model: Model, rows: Given, seeds: Sequence[Start], sampling: Mapping[str, Any], kept: Kept | None = None
) -> Iterator[tuple[Previewed, Tensor]]:
    """Make one value for each seed under its row of conditions, or a part of one (`kept`). Yields each step with its group's values so far.

    The last step of each group has `done == total`; stop between steps by closing the iterator.
    """
    options = model.sampling(**sampling)
    size = group_size(model.space)
    groups = -(-len(seeds) // size)
    for group in range(groups):
        places = [min(place, len(seeds) - 1) for place in range(group * size, (group + 1) * size)]
        wanted = min(size, len(seeds) - group * size)
        given = rows.rows(torch.tensor(places))
        some = [seeds[place] for place in places]
        if kept is None:
            steps = model.make(given, options, some)
        else:
            steps = model.fill(kept.values[places], kept.where[places], given, options, some, strength=kept.strength)
        for step in steps:
            told = Previewed(done=step.done, total=step.total, group=group, groups=groups)
            yield told, step.preview[:wanted].cpu()


def group_size(space: Space) -> int:
    """Give how many samples are computed together: it follows from the space alone, so that it is the same wherever a release runs."""
    smallest, largest = GROUPS
    return max(smallest, min(largest, GROUP_POSITIONS // space.positions))


def all_values(model: Model, rows: Given, seeds: Sequence[Start], sampling: Mapping[str, Any]) -> Tensor:
    """Give the finished values (B, *S[, C]) of `make_values`."""
    return torch.cat([values for step, values in make_values(model, rows, seeds, sampling) if step.done == step.total])


def repeated(row: Given, count: int) -> Given:
    """Give `count` equal rows of conditions."""
    return row.rows(torch.zeros(count, dtype=torch.long))
