"""Explaining a text: how likely each of its tokens was, which parts of the prompt moved it, and which training passages are most like it.

A part moved the answer by as many nats as the answer costs more, on average, when tokens drawn at random stand in the part's place. That is
what it says, for every family that says what a token costs. Leaving the part out would move all that stands before it as well, and small
models go by place; gradients times embeddings are cheaper, but a guess that fails where a model is sure (Sundararajan et al. 2017).
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

import torch

from karat.learning.models import Model
from karat.material.metrics.texts.features import TextFeatures
from karat.values.codecs.text import SPECIALS
from karat.values.passages import Passage
from karat.words.errors import SpecError
from karat.work.reading import Nats, TextLike, gone_on, nats_of

DRAWS = 6
"""Times that other tokens are drawn in the place of each part of the prompt."""
COMPARED = 20_000
"""Training passages among which the nearest are looked for."""
UNKNOWN = "\N{REPLACEMENT CHARACTER}"


@dataclass(frozen=True)
class Told:
    """A part of a text (whole characters, so one token or several) and its nats: what it cost, or by how many it moved the answer."""

    text: str
    nats: float


@dataclass(frozen=True)
class Near:
    """A training passage that is like the answer, and how much: 1 is the same, 0 nothing in common."""

    text: str
    likeness: float


@dataclass(frozen=True)
class Explanation:
    """Why a model said what it said."""

    prompt: Sequence[Told]
    answer: Sequence[Told]
    nearest: Sequence[Near] = ()

    def value(self) -> dict[str, Any]:
        """Give the same for programs."""
        return asdict(self)


def explain(
    model: Model, codec: TextLike, prompt: Passage, answer: str, *, training: Iterable[Passage] = (), wanted: int = 3
) -> Explanation:
    """Explain an answer to a prompt, or what follows the beginning of a text. Raises SpecError for families that cannot say nats."""
    nats = nats_of(model)
    if nats is None:
        raise SpecError(f"A {model.spec.family.kind} model does not say what a token costs.", repair="Explain an autoregressive model.")
    before, after = gone_on(codec, prompt, answer)
    if not after:
        raise SpecError("There is no answer to explain.", repair="Give one with --answer, or more tokens to write.")
    return Explanation(moved_by(nats, codec, before, after), strip(nats, codec, before, after), nearest(answer, training, wanted=wanted))


def strip(nats: Nats, codec: TextLike, before: Sequence[int], after: Sequence[int]) -> list[Told]:
    """Give what each part of a text cost after what stands before it."""
    cost_N = nats(torch.tensor([[*before, *after]]))[0, len(before) :].double()
    return [Told(text, float(cost_N[first:last].sum())) for text, first, last in parts(codec, after)]


def moved_by(nats: Nats, codec: TextLike, before: Sequence[int], after: Sequence[int]) -> list[Told]:
    """Give by how many nats the answer costs more with other tokens in the place of each part; below nothing: the part spoke against it.

    Marks, which have no text, are not tried.
    """
    found = [part for part in parts(codec, before) if part[0]]
    if not found:
        return []
    rows_RN = torch.tensor([*before, *after]).repeat(1 + DRAWS * len(found), 1)
    generator = torch.Generator().manual_seed(0)
    for place, (_, first, last) in enumerate(found):
        drawn = torch.randint(len(SPECIALS), codec.space.vocab or 1, (DRAWS, last - first), generator=generator)
        rows_RN[1 + DRAWS * place : 1 + DRAWS * (place + 1), first:last] = drawn
    cost_R = nats(rows_RN)[:, len(before) :].double().sum(1)
    more_P = cost_R[1:].reshape(len(found), DRAWS).mean(1) - cost_R[0]
    return [Told(text, float(more)) for (text, _, _), more in zip(found, more_P, strict=True)]


def parts(codec: TextLike, ids: Sequence[int]) -> list[tuple[str, int, int]]:
    """Cut ids into the smallest parts of whole characters: (text, first, last). A mark that has no text stands as an empty part."""
    found, first = [], 0
    for last in range(1, len(ids) + 1):
        text = codec.text(list(ids[first:last]))
        if UNKNOWN not in text or last - first >= 4 or last == len(ids):
            found.append((text, first, last))
            first = last
    return found


def nearest(text: str, training: Iterable[Passage], *, wanted: int = 3) -> list[Near]:
    """Find the training passages most like a text in runs of characters, among the first COMPARED ones."""
    passages = [passage.learnt() for passage in islice(training, COMPARED)]
    if len(passages) < 8:
        return []
    space = TextFeatures(passages)
    likeness_N = (space.features([text]) @ space.features(passages).T)[0]
    return [Near(passages[place], float(likeness_N[place])) for place in likeness_N.argsort(descending=True, stable=True)[:wanted].tolist()]
