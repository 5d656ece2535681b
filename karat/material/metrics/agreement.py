"""What several people's judgements say together: how far they agree, and which of several things they prefer.

Agreement is Krippendorff's alpha (K. Krippendorff, Computing Krippendorff's Alpha-Reliability, 2011,
https://repository.upenn.edu/asc_papers/43): 1 is perfect, 0 is what chance gives. Preference is the model of Bradley and Terry (Biometrika
39, 1952) with ties as Davidson has them (JASA 65, 1970): a tie is the likelier, the nearer two strengths are.
"""

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from karat.words.errors import DataError
from karat.words.specs import Spec

Level = Literal["nominal", "ordinal"]
Outcome = Literal["first", "second", "tie"]
STEPS, CLOSE = 100, 1e-10
PRIOR = 3.0
"""Standard deviation of log strengths before anybody was asked: wide, yet it keeps who always won from being infinitely strong."""


class Agreement(Spec):
    """Krippendorff's alpha with its 95 % bootstrap interval; `units` were judged by two or more."""

    alpha: float
    low: float
    high: float
    units: int
    judgements: int


class Standing(Spec):
    """The log strength of one thing beside the mean of all, with its 95 % interval, and how often it was compared."""

    name: str
    strength: float
    low: float
    high: float
    compared: int


def agreement(
    units: Sequence[Sequence[Hashable]], *, scale: Sequence[Hashable], level: Level, seed: int, resamples: int = 500
) -> Agreement:
    """Say how far the judges of some units agree. A unit is the values that it was given; those with fewer than two say nothing.

    Values stand on `scale`, in order where the level is ordinal. Raises DataError where no unit has two judgements.
    """
    tables_UVV = _coincidences(units, scale)
    if not len(tables_UVV):
        raise DataError("Nothing has been judged by two people yet.", repair="Let a second person review the same assets.")
    generator = np.random.default_rng(seed)
    counts_RU = generator.multinomial(len(tables_UVV), np.full(len(tables_UVV), 1 / len(tables_UVV)), size=resamples)
    drawn = [_alpha(np.tensordot(row, tables_UVV, axes=1), level) for row in counts_RU]
    low, high = np.quantile(drawn, (0.025, 0.975))
    pairable = sum(len(unit) for unit in units if len(unit) > 1)
    alpha = _alpha(tables_UVV.sum(0), level)
    return Agreement(alpha=alpha, low=min(low, alpha), high=max(high, alpha), units=len(tables_UVV), judgements=pairable)


def _coincidences(units: Sequence[Sequence[Hashable]], scale: Sequence[Hashable]) -> NDArray[np.float64]:
    """Give for each unit with two or more values how often each pair of values stands in it, weighted by its number of values less one."""
    place = {value: number for number, value in enumerate(scale)}
    tables = []
    for unit in units:
        if len(unit) > 1:
            counts_V = np.zeros(len(scale))
            for value in unit:
                counts_V[place[value]] += 1
            tables.append((np.outer(counts_V, counts_V) - np.diag(counts_V)) / (len(unit) - 1))
    return np.array(tables)


def _alpha(table_VV: NDArray[np.float64], level: Level) -> float:
    """Give one less the observed disagreement over that by chance; 1 where only one value was ever given."""
    totals_V = table_VV.sum(0)
    distance_VV = _distances(totals_V, level)
    expected = float((np.outer(totals_V, totals_V) * distance_VV).sum()) / max(1e-12, totals_V.sum() - 1)
    return 1.0 if expected == 0 else 1 - float((table_VV * distance_VV).sum()) / expected


def _distances(totals_V: NDArray[np.float64], level: Level) -> NDArray[np.float64]:
    if level == "nominal":
        return 1 - np.eye(len(totals_V))
    middles_V = np.cumsum(totals_V) - totals_V / 2
    return np.square(middles_V[:, None] - middles_V[None, :])


def standings(outcomes: Mapping[tuple[str, str, Outcome], int], *, prior: float = PRIOR) -> list[Standing]:
    """Give the strengths of things that were compared in pairs, the strongest first: (first, second, who won) to how often.

    Found by Newton's method; intervals from the curvature at the end. `prior` may be infinite. Raises DataError where nothing was compared.
    """
    names = sorted({name for first, second, _ in outcomes for name in (first, second)})
    if len(names) < 2:
        raise DataError("No two things have been compared yet.", repair="Review some blind pairs.")
    place = {name: number for number, name in enumerate(names)}
    rows = np.array([(place[a], place[b], ("first", "second", "tie").index(how), count) for (a, b, how), count in outcomes.items()])
    ties = bool((rows[:, 2] == 2).any())
    values = np.zeros(len(names) + ties)
    for _ in range(STEPS):
        slope, curve = _derivatives(values, rows, len(names), prior)
        step = np.linalg.solve(curve, slope)
        values += step * min(1.0, 2.0 / max(1e-12, float(np.abs(step).max())))
        if np.abs(step).max() < CLOSE:
            break
    _, curve = _derivatives(values, rows, len(names), prior)
    centred = np.eye(len(names)) - 1 / len(names)
    spread = centred @ np.linalg.inv(curve)[: len(names), : len(names)] @ centred.T
    strengths, errors = centred @ values[: len(names)], 1.96 * np.sqrt(np.diag(spread).clip(min=0))
    compared = Counter[int]()
    for first, second, _, count in rows.tolist():
        compared.update({first: count, second: count})
    found = [
        Standing(name=name, strength=s, low=s - e, high=s + e, compared=compared[number])
        for number, (name, s, e) in enumerate(zip(names, strengths.tolist(), errors.tolist(), strict=True))
    ]
    return sorted(found, key=lambda standing: -standing.strength)


def _derivatives(
    values: NDArray[np.float64], rows: NDArray[np.int64], count: int, prior: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Give slope and negative curvature of the log likelihood, in log strengths and, where there are ties, last in the log of their chance.

    Each outcome is a choice among wins of the first, wins of the second and ties, whose scores are linear in the values.
    """
    size = len(values)
    slope, curve = -values / prior**2, np.eye(size) / prior**2
    slope[count:], curve[count:, count:] = 0.0, np.eye(size - count) * 1e-12
    if np.isinf(prior):
        curve[:count, :count] += 1 / count  # strengths are known up to a constant; this one keeps their mean at nothing
        slope[:count] -= values[:count].mean()
    for first, second, how, times in rows.tolist():
        choices = np.zeros((2 + size - count, size))
        choices[0, first] = choices[1, second] = 1.0
        choices[2:, [first, second]], choices[2:, count:] = 0.5, 1.0
        scores = choices @ values
        chances = np.exp(scores - scores.max())
        chances /= chances.sum()
        mean = chances @ choices
        slope += times * (choices[how] - mean)
        curve += times * (choices.T @ (choices * chances[:, None]) - np.outer(mean, mean))
    return slope, curve
