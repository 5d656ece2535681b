"""Engines: programs that write with the weights of a language model. Which one to use is measured, not believed.

An engine may keep numbers as Karat does; then it must write the same ids, greedily, after every prompt of the probe. Or it may round
them; then a text may cost at most 1 % more bits than before. Among those that pass and can draw as Karat does, the fastest is chosen.
"""

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from math import log
from typing import Protocol

import numpy as np

from karat.learning.models import Model
from karat.values.codecs.text import TextCodec
from karat.values.given import Given
from karat.words.specs import Spec
from karat.work.export.language import Precision

WITHIN = 0.01
"""How much more bits per byte an engine that rounds may need."""
ROUNDS = 3
"""How often the engines' speeds are taken, one after the other; the median counts."""
AT_ONCE = (1, 16)
"""Batches at which speed is measured; the first decides."""
WRITTEN = 4
"""Texts that a measurement of speed writes, at least."""
LONG_ENOUGH = 0.1
"""Seconds that it takes, at least."""


class Engine(Protocol):
    """Writes on after prompts with the likeliest id, and says what texts cost. Ids are those of the codec, without the start."""

    name: str
    precision: Precision
    draws: bool
    """Whether it can also draw ids, each text from a seed of its own, under every option of writing."""

    def write(self, prompts: Sequence[Sequence[int]], most: int) -> list[list[int]]:
        """Go on after each prompt by at most `most` ids, up to an end, which is left out."""
        ...

    def nats(self, rows: Sequence[Sequence[int]]) -> list[np.ndarray]:
        """Give what each id of each row costs after those before it."""
        ...


@dataclass(frozen=True)
class Probe:
    """What engines are compared on: rows of ids that are scored, how many bytes they stand for, and prompts to go on from."""

    rows: list[list[int]]
    size: int
    prompts: list[list[int]]
    most: int

    @classmethod
    def of(cls, rows: Sequence[Sequence[int]], codec: TextCodec) -> "Probe":
        """Make a probe of texts: the first quarter of each is a prompt."""
        kept = [list(row) for row in rows]
        size = sum(len(codec.text(row).encode()) for row in kept)
        return cls(kept, max(1, size), [row[: len(row) // 4] for row in kept], codec.length - codec.length // 4)

    @classmethod
    def drawn(cls, model: Model, codec: TextCodec, *, texts: int = 20, seed: int = 0) -> "Probe":
        """Make a probe of what the model itself writes: the bits that another engine needs more are then its divergence from the model."""
        drawn = model.made(Given(), model.sampling(), [(seed, index) for index in range(texts)]).tolist()
        apart = codec.options.packing != "stream"
        return cls.of([row[: row.index(0) + 1] if apart and 0 in row else row for row in drawn], codec)


class EngineFigures(Spec):
    """What was measured of one engine."""

    engine: str
    precision: Precision
    tokens_per_second: dict[int, float]
    """By how many texts were written at once."""
    bits_per_byte: float
    same: float
    """Share of the prompts after which it writes the same ids as the first engine."""
    passes: bool
    draws: bool = True
    """Whether it can write under every option, not with the likeliest id alone."""


def measure(engines: Sequence[Engine], probe: Probe) -> list[EngineFigures]:
    """Measure engines against the first of them, which keeps all numbers."""
    bits = [bits_per_byte(engine, probe) for engine in engines]
    written = [engine.write(probe.prompts, probe.most) for engine in engines]
    speeds = _speeds(engines, probe)
    found = []
    for engine, own_bits, own_written, speed in zip(engines, bits, written, speeds, strict=True):
        same = statistics.fmean(one == other for one, other in zip(own_written, written[0], strict=True))
        passes = same == 1 if engine.precision == "float32" else abs(own_bits / bits[0] - 1) <= WITHIN
        figures = {"tokens_per_second": speed, "bits_per_byte": own_bits, "same": same, "passes": passes, "draws": engine.draws}
        found.append(EngineFigures.from_values({"engine": engine.name, "precision": engine.precision, **figures}))
    return found


def fastest(figures: Sequence[EngineFigures]) -> EngineFigures:
    """Give the fastest one of those that pass and draw; the first always does."""
    return max((each for each in figures if each.passes and each.draws), key=lambda each: each.tokens_per_second[AT_ONCE[0]])


def bits_per_byte(engine: Engine, probe: Probe) -> float:
    """Give what a byte of the probe's rows costs, each row from its start."""
    return float(sum(nats.sum() for nats in engine.nats(probe.rows))) / log(2) / probe.size


def _speeds(engines: Sequence[Engine], probe: Probe) -> list[dict[int, float]]:
    """Take the speeds in turns, so that what else the machine does falls on all alike."""
    taken: list[dict[int, list[float]]] = [{batch: [] for batch in AT_ONCE} for _ in engines]
    for _ in range(ROUNDS):
        for engine, own in zip(engines, taken, strict=True):
            for batch in AT_ONCE:
                own[batch].append(tokens_per_second(engine, probe, batch))
    return [{batch: statistics.median(speeds) for batch, speeds in own.items()} for own in taken]


def tokens_per_second(engine: Engine, probe: Probe, batch: int) -> float:
    """Give how many ids an engine writes in a second, `batch` texts at once."""
    prompts = [probe.prompts[place % len(probe.prompts)] for place in range(max(batch, WRITTEN))]
    count, began = 0, time.perf_counter()
    while not count or time.perf_counter() - began < LONG_ENOUGH:
        for start in range(0, len(prompts), batch):
            count += sum(len(ids) + 1 for ids in engine.write(prompts[start : start + batch], probe.most))
    return count / (time.perf_counter() - began)


def until_end(ids: Sequence[int], ends: Sequence[int]) -> list[int]:
    """Give the ids before the first that ends them."""
    return list(ids[: next((place for place, id in enumerate(ids) if id in ends), len(ids))])
