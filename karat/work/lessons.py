"""Lessons: what a run learns from verdicts, made ready before its first step.

Of pairs and thumbs, the start's log-probabilities are computed once and kept with the encoded rows. Of a reward, the start answers prompts
several times, the best answers are kept (best-of-n distillation, as in RAFT: Dong et al. 2023, arXiv 2304.06767), and the rows that they
fill are mixed with those that the start learnt from.
"""

import io
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from karat.learning.families.family import stream_seed
from karat.learning.families.preferences import Contrast, DpoOptions, KtoOptions, Prospect, RftOptions, log_chances
from karat.learning.models import Model
from karat.material.data.batches import EncodedSplit, Split, encode_split, made_once, packing_of
from karat.material.data.packing import Piece, fitted
from karat.material.data.rows import RowWriter
from karat.material.data.samples import source_of
from karat.material.data.snapshots import Snapshot
from karat.material.data.texts.verdicts import Form, JudgedSplit, encode_verdicts
from karat.store.placing import write_whole
from karat.store.store import Store
from karat.values.passages import Passage, Turn
from karat.words.errors import DataError, SpecError
from karat.words.events import Event, Progress, Started
from karat.words.specs import digest_of
from karat.work.codecs import load_codec
from karat.work.orders import Order, WritingOptions, whole
from karat.work.plans import RunSpec
from karat.work.reading import Foretelling
from karat.work.rewards import best_of, open_reward
from karat.work.starts import Start
from karat.work.training import Objective
from karat.work.writing import Writer


@dataclass(frozen=True)
class Lesson:
    """What is gone through in place of the encoded splits, and what is minimised in place of the family's own losses."""

    train: Split
    validation: Split
    objective: Objective | None = None


def lesson_of(store: Store, snapshot: Snapshot, spec: RunSpec, model: Model) -> Generator[Event, None, Lesson]:
    """Make the lesson of a run ready, from a model that has the weights of its start. What was made once is found again.

    Raises SpecError for a model that verdicts cannot be about, DataError for a snapshot without them.
    """
    made: Any = load_codec(spec.made, store.read)
    family = model.family
    if not isinstance(family, Foretelling) or spec.given or packing_of(made) == "stream" or not hasattr(made, "prompt"):
        raise SpecError(
            f"Verdicts are about answers; this {spec.model.family.kind} model of {spec.made.kind}s answers nothing.",
            repair="Start from a run that learnt conversations token by token.",
        )
    if isinstance(spec.learn, RftOptions):
        found = yield from _Sifting(store, snapshot, spec, model, made).lesson(spec.learn)
        return found
    form: Form = "pairs" if isinstance(spec.learn, DpoOptions) else "thumbs"
    parts = []
    for split in ("train", "validation"):
        folder = encode_verdicts(store, snapshot, split, made, form)
        reference = yield from _reference(folder, digest_of([spec.start, spec.base])[:16], model, family)
        parts.append(JudgedSplit(folder, reference))
    objective = Prospect(family, spec.learn) if isinstance(spec.learn, KtoOptions) else Contrast(family, spec.learn or DpoOptions())
    return Lesson(parts[0], parts[1], objective)


def _reference(folder: Path, key: str, model: Model, family: Foretelling) -> Generator[Event, None, Tensor]:
    """Give the log-probabilities (M, 2) that the start gives to both answers of each row."""
    path = folder / f"reference-{key}.npy"
    if not path.exists():
        rows = JudgedSplit(folder)
        yield Started(what="reference", total=len(rows), unit="verdicts")
        found: list[Tensor] = []
        model.eval()
        for x, given in rows.batches():
            with torch.no_grad():
                given = given.to(model.device)
                assert given.weight is not None, "answers are marked by their weight"
                found.append(log_chances(family, x.to(model.device), given.weight).cpu())
            yield Progress(done=sum(map(len, found)), total=len(rows))
        file = io.BytesIO()
        np.save(file, torch.cat(found).numpy())
        write_whole(path, file.getvalue())
    return torch.from_numpy(np.load(path))


@dataclass(frozen=True)
class _Sifting:
    """Answers prompts several times, keeps the best ones, and mixes them with what was learnt before."""

    store: Store
    snapshot: Snapshot
    spec: RunSpec
    model: Model
    made: Any

    def lesson(self, options: RftOptions) -> Generator[Event, None, Lesson]:
        if packing_of(self.made) != "whole":
            raise SpecError("Only a model whose rows hold several conversations learns from its best answers.", repair="Take dpo or kto.")
        spec, parts = self.spec, []
        for split, original in (("train", options.original), ("validation", 0.0)):
            asked = [spec.start, spec.base, spec.plan.seed, spec.made.model_dump(mode="json"), options.digest()]
            folder = self.store.folder / "encoded" / f"{self.snapshot.id[:16]}-{split}-sifted-{digest_of(asked)[:16]}"
            if not folder.exists():
                kept = yield from self._kept(split, options)
                rows = [*fitted(map(self.made.written, kept), self.made.length)]
                rows += self._original(round(len(rows) * original / (1 - original)))
                made_once(folder, lambda place, rows=rows: _write(rows, place))  # type: ignore[misc]
            parts.append(EncodedSplit(folder, self.made, {}))
        return Lesson(parts[0], parts[1])

    def _kept(self, split: str, options: RftOptions) -> Generator[Event, None, list[Passage]]:
        """Answer the prompts of a split and give the conversations with the best answers."""
        asked = list(self._prompts(split))[: options.prompts]
        reward = open_reward(self.store, options.reward or "")
        writing = WritingOptions(truncate="front")
        seed = stream_seed(self.spec.plan.seed, 1 << 43)
        orders = [Order(each, writing, (seed, place)) for place, each in enumerate(each for each in asked for _ in range(options.tries))]
        yield Started(what=f"answering the {split} prompts", total=len(orders), unit="answers")
        tokens: list[list[Any]] = [[] for _ in orders]
        done = 0
        for token in Writer(self.model, self.made).write(orders):
            tokens[token.order].append(token)
            if token.finish:
                done += 1
                yield Progress(done=done, total=len(orders))
        kept = []
        for place, opening in enumerate(asked):
            tried = [whole(each) for each in tokens[place * options.tries : (place + 1) * options.tries]]
            if (best := best_of(reward, opening, tried)) is not None:
                kept.append(Passage(turns=(*opening.turns, Turn(role="assistant", text=best.text))))
        if not kept:
            raise DataError(f"None of {len(orders)} answers came to an end.", repair="Start from a model that has learnt to end them.")
        return kept

    def _prompts(self, split: str) -> Iterator[Passage]:
        """Give what is to be answered in a split, each once."""
        known = set()
        for sample in self.snapshot.samples(split):
            if sample.in_turns and isinstance(passage := source_of(self.store, sample), Passage):
                opening = passage.opening()
                if opening.turns and opening.to_bytes() not in known:
                    known.add(opening.to_bytes())
                    yield opening

    def _original(self, count: int) -> list[Piece]:
        """Give so many rows, drawn by chance, of the data that the start learnt from before any verdicts."""
        if count == 0:
            return []
        spec = self.spec
        while spec.learn is not None:
            if spec.start is None:
                raise SpecError("What the base learnt from is not at hand.", repair="Leave it out: --set learn.original=0.")
            spec = Start.open(self.store, spec.start).spec
        part = encode_split(self.store, Snapshot.open(self.store, spec.snapshot), "train", self.made, {})
        generator = torch.Generator().manual_seed(stream_seed(self.spec.plan.seed, 1 << 44))
        chosen = torch.randint(len(part), (count,), generator=generator).tolist()
        weight = part.conditions(chosen).weight
        assert weight is not None, "rows that passages share have weights"
        ids = part.values(chosen).numpy().astype(np.int32)
        return list(zip(ids, weight.numpy().astype(np.uint8), strict=True))


def _write(rows: list[Piece], folder: Path) -> None:
    with RowWriter(folder / "made.npy", rows[0][0]) as ids, RowWriter(folder / "weight.npy", rows[0][1]) as weights:
        for row, weight in rows:
            ids.write(row)
            weights.write(weight)
