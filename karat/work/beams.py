"""Beam search: the likeliest texts that can be found by following a few at once (Graves 2012, arXiv 1211.3711).

A text's score is the sum of its log-probabilities divided by a power of its length (Wu et al. 2016, arXiv 1609.08144, without their
offset). The search ends when no open beam can become better than the best finished texts.
"""

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from karat.learning.families.choosing import adjusted
from karat.learning.nets.decoding import Decoder

if TYPE_CHECKING:
    from karat.work.orders import WritingOptions


class Beam(NamedTuple):
    """A text on the way: its ids, what each of them cost, and their sum."""

    ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    total: float

    def score(self, length_penalty: float) -> float:
        return self.total / len(self.ids) ** length_penalty


def beams_of(
    decoder: Decoder, first_V: Tensor, ends: Collection[int], most: int, options: "WritingOptions", barred: Sequence[int]
) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """Give the ids and log-probabilities of the best text of at most so many ids; an end, where it has one, is its last id.

    `first_V` are the logits after the prompt, which the decoder's first row has read. `barred` ids are never written.
    """
    count, power = options.beams, options.length_penalty
    allowed = torch.ones(1, decoder.vocab, dtype=torch.bool)
    allowed[0, list(barred)] = False
    beams, done = [Beam((), (), 0.0)], list[Beam]()
    logits_BV = first_V[None]
    for length in range(1, most + 1):
        logs_BV = adjusted(logits_BV.cpu(), options, seen_BV=None, allowed_BV=allowed).log_softmax(-1).double()
        totals = (torch.tensor([beam.total for beam in beams], dtype=torch.float64)[:, None] + logs_BV).flatten()
        # Among twice as many candidates, no more than half end: there are always enough to go on with.
        values, places = totals.topk(min((1 + len(ends)) * count, totals.numel()))
        going: list[tuple[int, Beam]] = []
        for value, place in zip(values.tolist(), places.tolist(), strict=True):
            source, id = divmod(place, decoder.vocab)
            if value == -torch.inf or len(going) == count:
                break
            beam = beams[source]
            grown = Beam((*beam.ids, id), (*beam.logprobs, float(logs_BV[source, id])), value)
            if id in ends or length == most:
                done.append(grown)
            else:
                going.append((source, grown))
        done = sorted(done, key=lambda beam: -beam.score(power))[:count]
        if not going or (len(done) == count and done[-1].score(power) >= _hope(going[0][1], most, power)):
            break
        decoder.arrange([source for source, _ in going])
        beams = [beam for _, beam in going]
        logits_BV = decoder.step([beam.ids[-1] for beam in beams])
    return done[0].ids, done[0].logprobs


def _hope(beam: Beam, most: int, power: float) -> float:
    """Give the best score that an open beam may reach: its sum grows no more, its length may."""
    return beam.total / max(len(beam.ids) ** power, most**power)
