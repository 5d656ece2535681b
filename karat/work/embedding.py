"""Embedding: a text as one unit vector, the mean of what the last layer of a language model makes of its tokens.

Each text is read alone, so that its vector does not depend on those beside it.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from karat.learning.families.autoregressive import Autoregressive
from karat.learning.families.pretrained import Pretrained
from karat.words.errors import SpecError
from karat.work.generation import Ready


def embedded(ready: Ready, ids: Sequence[int]) -> Tensor:
    """Give the vector (D,) of a text's ids. Raises SpecError for no ids, too many, wrong ones, and families that read no text."""
    space = ready.model.space
    if not space.is_ids or len(space.shape) != 1:
        raise SpecError("This release reads no texts.", repair="Embed with a release of texts.")
    if not 0 < len(ids) <= space.positions:
        raise SpecError(f"A text of {len(ids):,} tokens cannot be read; 1 to {space.positions:,} can.", repair="Cut it into parts.")
    if not all(0 <= id < (space.vocab or 0) for id in ids):
        raise SpecError("An id is none of this release's.", repair="Give the text itself.")
    with torch.inference_mode():
        return F.normalize(_states(ready, torch.tensor([list(ids)])).float().mean(1)[0], dim=0).cpu()


def _states(ready: Ready, ids_1N: Tensor) -> Tensor:
    """Give the last layer's states (1, N, D) of a row."""
    family = ready.model.family
    if isinstance(family, Autoregressive):
        device = family.net.enter.weight.device
        return family.net.states(ids_1N.to(device), ready.conditions({}).to(device))
    if isinstance(family, Pretrained):
        x = ids_1N.to(family.tokens.device)
        if family.options.answers:
            return family.encoded(x, torch.ones_like(x, dtype=torch.bool))["encoder_outputs"].last_hidden_state
        return family.net(input_ids=family.tokens[x], use_cache=False, output_hidden_states=True).hidden_states[-1]
    raise SpecError(
        "A model of this family reads no text into states.", repair="Embed with one of the family autoregressive or pretrained."
    )
