"""Writing with a pretrained model, one id a step: the decoder that the writing engine steps.

Each row has a cache of its own and is computed alone, so that its numbers never depend on the rows beside it.
"""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from karat.learning.families.pretrained import Pretrained
from karat.values.given import Given

ROWS = 16
"""The most rows of one step."""


class PretrainedDecoder:
    """Rows of ids through a pretrained model. It reads a prompt into a row, then steps all rows from the first on by an id each."""

    def __init__(self, family: Pretrained) -> None:
        assert family.space.vocab is not None
        self.family, self.vocab, self.longest, self.rows = family, family.space.vocab, family.space.positions, ROWS
        self._caches: list[Any] = [None] * ROWS
        self._asked: list[dict[str, Any]] = [{} for _ in range(ROWS)]

    def begin(self, row: int, ids: Sequence[int], given: Given) -> Tensor:
        """Read a prompt into a row, in place of what it held, and give the logits (V,) of the id that follows.

        Of a prompt for an encoder, that is what stands up to its 0; the model's answer begins behind it.
        """
        family = self.family
        with torch.inference_mode():
            self._caches[row], self._asked[row] = None, {}
            x = torch.tensor([list(ids)], dtype=torch.long, device=family.tokens.device)
            if family.options.answers:
                parted = list(ids).index(0) + 1
                asked, x = x[:, :parted], x[:, parted:]
                self._asked[row] = family.encoded(asked, torch.ones_like(asked, dtype=torch.bool))
            start = x.new_full((1, 1), family.options.start)
            return self._read(row, torch.cat([start, family.tokens[x]], 1))

    def step(self, ids: Sequence[int]) -> Tensor:
        """Give each of the first rows its next id, and give the logits (B, V) of those that follow."""
        with torch.inference_mode():
            return torch.stack([self._read(row, self.family.tokens[id].view(1, 1)) for row, id in enumerate(ids)])

    def arrange(self, sources: Sequence[int]) -> None:
        """Let row i be what row `sources[i]` was."""
        caches, asked = list(self._caches), list(self._asked)
        taken: set[int] = set()
        for row, source in enumerate(sources):
            self._caches[row] = copy.deepcopy(caches[source]) if source in taken else caches[source]
            self._asked[row] = asked[source]
            taken.add(source)

    def _read(self, row: int, tokens_1N: Tensor) -> Tensor:
        read = {"decoder_input_ids" if self.family.options.answers else "input_ids": tokens_1N}
        out = self.family.net(**self._asked[row], **read, past_key_values=self._caches[row], use_cache=True)
        self._caches[row] = out.past_key_values
        return self.family.by_id(out.logits[:, -1].float())[0]
