"""Scores of likelihood: what the model pays for held-out texts, and what a model of byte runs pays for what the model wrote."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch

from karat.learning.models import Model
from karat.material.metrics.scores import Interval, Resampling, Score
from karat.material.metrics.texts.likelihood import Cost, learnt_bytes
from karat.material.metrics.texts.ngrams import NgramModel
from karat.material.metrics.texts.units import mixed
from karat.values.given import Given
from karat.values.passages import Passage
from karat.work.reading import Foretelling, TextLike, cost_of

LOOKED_AT = 300
"""Training texts on which the model is read as well, and held-out ones whose words are shuffled."""
CHANCES = 3000
"""Training texts from which the frequency of each id is counted."""


@dataclass(frozen=True)
class Reading:
    """What is read: training texts, the test split with a row of conditions for each of its texts, at most so many windows of each."""

    train: Iterable[Passage]
    test: Sequence[Passage]
    given: Given
    windows: int


def likelihood_scores(model: Model, codec: TextLike, reading: Reading, ngrams: NgramModel, resampling: Resampling) -> list[Score]:
    """Score bits per byte and perplexity on the test split; nothing for families that cannot say what a text costs."""
    train, test, given, windows = reading.train, reading.test, reading.given, reading.windows
    cost = cost_of(model, codec, test, given=given, most=windows)
    if cost is None or not len(cost.nats):
        return []
    some = list(islice(train, LOOKED_AT))
    mixed = [_mixed(passage) for passage in test[:LOOKED_AT]]
    bits: dict[str, float] = {"n-grams": _bits(ngrams, test[: cost.passages])}
    for name, passages in ({} if given.values else {"training": some, "shuffled words": mixed}).items():
        other = cost_of(model, codec, passages, most=windows)
        if other is not None and len(other.nats):
            bits[name] = other.bits_per_byte(resampling.only_value()).value
    exact = isinstance(model.family, Foretelling)
    bound = "" if exact else " An upper bound: the family does not know the exact value."
    context = f"at most {codec.length} ids at once, windows half as far apart"
    meaning = f"Bits that the model pays for each byte (UTF-8) of held-out text, {context}; 8 is no idea, less is better foretold.{bound}"
    found = [_score("bits-per-byte", "Bits per byte", meaning, cost.bits_per_byte(resampling), bits)]
    meaning = f"How many equally likely ids each id is as hard to foretell as. Compares within one vocabulary alone.{bound}"
    return [*found, _score("perplexity", "Perplexity", meaning, cost.perplexity(resampling), _unigram(codec, train, test[: cost.passages]))]


def judged_score(
    space: str, made: Sequence[str], floor: Sequence[str], baselines: Mapping[str, Sequence[str]], judge: NgramModel, resampling: Resampling
) -> Score:
    """Score how well made texts are foretold by a model of byte runs that was taught on the judge split alone."""
    meaning = (
        "Bits for each byte that a model of byte runs pays, taught on the judge split alone. Near real texts is good; far below them is "
        "monotony, which the entropy of words beside it gives away."
    )
    reached = _judged(judge, floor).bits_per_byte(resampling) if floor else None
    trivial = {name: _judged(judge, each).bits_per_byte(resampling.only_value()).value for name, each in baselines.items() if each}
    found = _judged(judge, made).bits_per_byte(resampling)
    return _score("judged-bits", "Bits per byte by a judge", meaning, found, trivial, space=space, floor=reached).changed(real_is_best=True)


def _judged(judge: NgramModel, texts: Sequence[str]) -> Cost:
    passages = [Passage(text=text) for text in texts]
    nats = torch.tensor([float(judge.nats(passage).sum()) for passage in passages], dtype=torch.float64)
    sizes = torch.tensor([learnt_bytes(passage) for passage in passages], dtype=torch.float64)
    return Cost(nats, sizes, sizes, len(passages))


def _bits(ngrams: NgramModel, passages: Sequence[Passage]) -> float:
    nats = sum(float(ngrams.nats(passage).sum()) for passage in passages)
    return nats / math.log(2) / max(1, sum(map(learnt_bytes, passages)))


def _unigram(codec: TextLike, train: Iterable[Passage], test: Sequence[Passage]) -> dict[str, float]:
    """Give the perplexity of ids that are drawn as often as they occur in training, whatever stands before them."""
    counted, asked = (
        np.concatenate([ids[learnt] for ids, learnt in map(codec.written, passages)]) for passages in (islice(train, CHANCES), test)
    )
    counts = np.bincount(counted, minlength=int(asked.max(initial=0)) + 1) + 1.0
    return {"frequency alone": float(np.exp(-np.log(counts[asked] / counts.sum()).mean()))}


def _score(
    name: str, title: str, meaning: str, found: Interval, trivial: dict[str, float], *, space: str = "test", floor: Interval | None = None
) -> Score:
    facts: dict[str, Any] = {"title": title, "meaning": meaning, "higher_is_better": False, "floor": floor, "baselines": trivial}
    return Score(name=f"{name}/{space}", space=space, **facts, **found.model_dump())


def _mixed(passage: Passage) -> Passage:
    """Put the words that are to be learnt into another order."""
    turns = tuple(turn.changed(text=mixed(turn.text)) if turn.role == "assistant" else turn for turn in passage.turns)
    return Passage(turns=turns) if turns else Passage(text=mixed(passage.text))
