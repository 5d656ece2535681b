"""Following on: what a model writes after prompts, for measuring."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch

from karat.values.codecs.latent import as_seen, seen
from karat.values.given import Given
from karat.values.passages import Passage
from karat.words.errors import SpecError
from karat.work.generation import Ready, all_values
from karat.work.orders import Order, WritingOptions
from karat.work.reading import TextLike
from karat.work.writing import Writer


class Following:
    """Writes after prompts, token by token where the family does; another family makes whole texts from nothing."""

    def __init__(self, ready: Ready, given: Given, sampling: Mapping[str, Any], *, seed: int) -> None:
        self.ready, self.given, self.sampling, self.seed = ready, given, dict(sampling), seed
        self.writer: Writer | None = None
        if seen(ready.made) is ready.made:
            try:
                self.writer = Writer(ready.model, cast(Any, ready.made))
            except SpecError:
                self.writer = None

    @property
    def goes_on(self) -> bool:
        """Say whether the model goes on from prompts."""
        return self.writer is not None

    def __call__(self, prompts: Sequence[Passage], *, rows: Sequence[int], most: int, greedy: bool) -> list[str]:
        """Give what follows each prompt, at most `most` ids, under the conditions of the held-out samples `rows`."""
        seeds = [(self.seed, index) for index in range(len(prompts))]
        given = self.given.rows(torch.tensor(rows)) if self.given.values else Given()
        if self.writer is None:
            codec = cast(TextLike, seen(self.ready.made))
            values = as_seen(self.ready.made, all_values(self.ready.model, given, seeds, self.sampling))
            return [codec.text(ids[: ids.index(0)][:most] if 0 in ids else ids[:most]) for ids in values.tolist()]
        asked = {"temperature": 0.0, **self.sampling} if greedy else self.sampling
        options = WritingOptions.from_values({"most": most, "truncate": "front", **asked})
        single = [given.rows(torch.tensor([place])) if given.values else given for place in range(len(prompts))]
        orders = [Order(prompt, options, seed, own) for prompt, seed, own in zip(prompts, seeds, single, strict=True)]
        return [written.text for written in self.writer.written(orders)]
