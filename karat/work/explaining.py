"""Explaining a text: how likely each of its tokens was, which parts of the prompt moved it, and which training passages are most like it.

A part moved the answer by as many nats as the answer costs more, on average, when tokens drawn at random stand in the part's place. That is
what it says, for every family that says what a token costs. Leaving the part out would move all that stands before it as well, and small
models go by place; gradients times embeddings are cheaper, but a guess that fails where a model is sure (Sundararajan et al. 2017).
"""

from collections.abc import Iterable, Sequence
from itertools import islice

import torch

from karat.learning.models import Model
from karat.material.metrics.texts.features import FEWEST, TextFeatures
from karat.material.text_pages import Near, Part, Strip
from karat.values.codecs.text import SPECIALS
from karat.values.passages import Passage
from karat.words.errors import SpecError
from karat.work.reading import Nats, TextLike, gone_on, nats_of

DRAWS = 6
"""Times that other tokens are drawn in the place of each part of the prompt."""
COMPARED = 20_000
"""Training passages among which the nearest are looked for."""
UNKNOWN = "\N{REPLACEMENT CHARACTER}"


def explain(model: Model, codec: TextLike, prompt: Passage, answer: str, *, near: Sequence[Near] = (), title: str = "") -> Strip:
    """Explain an answer to a prompt, or what follows the beginning of a text. Raises SpecError for families that cannot say nats."""
    nats = nats_of(model)
    if nats is None:
        raise SpecError(f"A {model.spec.family.kind} model does not say what a token costs.", repair="Explain an autoregressive model.")
    before, after = gone_on(codec, prompt, answer)
    if not after:
        raise SpecError("There is no answer to explain.", repair="Give one with --answer.")
    return Strip(answer=strip(nats, codec, before, after), prompt=moved_by(nats, codec, before, after), nearest=near, title=title)


def strip(nats: Nats, codec: TextLike, before: Sequence[int], after: Sequence[int]) -> list[Part]:
    """Give what each part of a text cost after what stands before it."""
    cost_N = nats(torch.tensor([[*before, *after]]))[0, len(before) :].double()
    return [Part(text, float(cost_N[first:last].sum())) for text, first, last in parts(codec, after)]


def moved_by(nats: Nats, codec: TextLike, before: Sequence[int], after: Sequence[int]) -> list[Part]:
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
    return [Part(text, float(more)) for (text, _, _), more in zip(found, more_P, strict=True)]


def parts(codec: TextLike, ids: Sequence[int]) -> list[tuple[str, int, int]]:
    """Cut ids into the smallest parts of whole characters: (text, first, last). A mark that has no text stands as an empty part."""
    found, first = [], 0
    for last in range(1, len(ids) + 1):
        text = codec.text(list(ids[first:last]))
        if UNKNOWN not in text or last - first >= 4 or last == len(ids):
            found.append((text, first, last))
            first = last
    return found


def nearest(texts: Sequence[str], training: Iterable[Passage], *, wanted: int = 3) -> list[list[Near]]:
    """Find for each text the training passages most like it in runs of characters, among the first COMPARED ones."""
    passages = [passage.learnt() for passage in islice(training, COMPARED)]
    if len(passages) < FEWEST:
        return [[] for _ in texts]
    space = TextFeatures(passages)
    likeness_NM = space.features(texts) @ space.features(passages).T
    best_NK = likeness_NM.argsort(dim=1, descending=True, stable=True)[:, :wanted].tolist()
    return [[Near(passages[place], float(row[place])) for place in best] for row, best in zip(likeness_NM, best_NK, strict=True)]
