"""Overlap with references: BLEU (Papineni et al. 2002) and chrF (Popović 2015) by sacreBLEU, ROUGE (Lin 2004), exact match.

BLEU, chrF and ROUGE lie between 0 and 100. Answers are drawn again together with their references, and scores of a whole set (BLEU,
chrF) are computed anew from each draw's counts.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from karat.material.metrics.scores import Interval, Metric, Resampling, Side, interval, metrics
from karat.material.metrics.texts.units import grams, is_wide, words
from karat.words.errors import SpecError


def by_sacrebleu(name: str, references: Sequence[str] = ()) -> Any:
    """Give sacreBLEU's `bleu` or `chrf`; BLEU cuts Chinese references into characters. Raises SpecError where it is not installed."""
    try:
        from sacrebleu.metrics.bleu import BLEU
        from sacrebleu.metrics.chrf import CHRF
    except ImportError:
        raise SpecError("Measuring texts needs sacreBLEU.", repair="Install it: pip install 'karat[text]'.") from None
    return CHRF() if name == "chrf" else BLEU(tokenize="zh" if is_wide(references) else "13a", force=True)


def signatures(references: Sequence[str]) -> dict[str, str]:
    """Give sacreBLEU's own description of how it computes BLEU and chrF for these references."""
    found = {name: by_sacrebleu(name, references) for name in ("bleu", "chrf")}
    for metric in found.values():
        metric.corpus_score([references[0]], [[references[0]]])  # only then is the number of references known
    return {name: str(metric.get_signature()) for name, metric in found.items()}


def corpus_score(made: Side, real: Side, resampling: Resampling, *, name: str) -> Interval:
    """Measure BLEU or chrF of a set from sacreBLEU's counts of each text, so that a draw costs no more than their sum."""
    metric = by_sacrebleu(name, made.references)
    counts_NK = torch.tensor(metric._extract_corpus_statistics(list(made.texts), [list(made.references)]), dtype=torch.float64)
    sums_RK = torch.cat([counts_NK.sum(0)[None], resampling.weights(len(made.texts), "made") @ counts_NK])
    value, *draws = (metric._compute_score_from_stats([int(count) for count in sums.tolist()]).score for sums in sums_RK)
    return interval(value, torch.tensor(draws), (len(made.texts), len(made.references)), (0.0, 100.0))


def rouge(made: Side, real: Side, resampling: Resampling, *, form: str) -> Interval:
    """Measure the mean F of ROUGE: shared runs of 1 or 2 words, or for L the longest common subsequence."""
    pairs = zip(made.texts, made.references, strict=True)
    return _mean([100 * rouge_f(words(text), words(reference), form=form) for text, reference in pairs], resampling, 100.0)


def exact(made: Side, real: Side, resampling: Resampling) -> Interval:
    """Measure the share of answers that are their reference, but for space around."""
    pairs = zip(made.texts, made.references, strict=True)
    return _mean([float(text.strip() == reference.strip()) for text, reference in pairs], resampling, 1.0)


def rouge_f(text: Sequence[str], reference: Sequence[str], *, form: str) -> float:
    """Give ROUGE's F of one text: `form` is 1, 2 or L."""
    if form == "L":
        shared, made, wanted = common_length(text, reference), len(text), len(reference)
    else:
        counts = [Counter(grams(each, int(form))) for each in (text, reference)]
        shared, made, wanted = (counts[0] & counts[1]).total(), counts[0].total(), counts[1].total()
    return 2 * shared / (made + wanted) if shared else 0.0


def common_length(a: Sequence[str], b: Sequence[str]) -> int:
    """Give the length of the longest common subsequence, a row of the table in one whole number (Crochemore et al. 2001)."""
    where: dict[str, int] = {}
    for place, unit in enumerate(a):
        where[unit] = where.get(unit, 0) | 1 << place
    full = (1 << len(a)) - 1
    row = full
    for unit in b:
        met = row & where.get(unit, 0)
        row = ((row + met) | (row - met)) & full
    return len(a) - row.bit_count()


def _mean(each: Sequence[float], resampling: Resampling, most: float) -> Interval:
    values_N: Tensor = torch.tensor(each, dtype=torch.float64)
    draws = resampling.weights(len(each), "made") @ values_N / len(each)
    return interval(float(values_N.mean()), draws, (len(each), len(each)), (0.0, most))


def _add(name: str, title: str, measure: Callable[[Side, Side, Resampling], Interval], meaning: str) -> None:
    metrics.add(name)(Metric(title, meaning, higher_is_better=True, measure=measure, needs=("references",)))


_add(
    "chrf",
    "chrF",
    partial(corpus_score, name="chrf"),
    "Runs of characters that answers share with their references, of 100; steadier than BLEU where references are few.",
)
_add(
    "bleu",
    "BLEU",
    partial(corpus_score, name="bleu"),
    "Runs of one to four words that answers share with their references, of 100; too short answers pay for it.",
)
_add("rouge-1", "ROUGE-1", partial(rouge, form="1"), "Words that an answer shares with its reference, of 100.")
_add("rouge-2", "ROUGE-2", partial(rouge, form="2"), "Pairs of words that an answer shares with its reference, of 100.")
_add("rouge-l", "ROUGE-L", partial(rouge, form="L"), "Words that an answer and its reference have in the same order, of 100.")
_add("exact", "Exact", exact, "Share of the answers that are their reference to the letter.")
