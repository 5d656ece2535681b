"""What the report of a run of texts shows: samples that it held for likely and unlikely, answers, tokens by their nats, copies."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import torch

from karat.material.data.samples import source_of
from karat.material.data.snapshots import Snapshot
from karat.material.metrics.texts.copying import RUN, Copied
from karat.material.metrics.texts.overlap import by_sacrebleu
from karat.material.text_pages import Copy, Dialogue, Sample, Samples, Strip, TextPages
from karat.store.store import Store
from karat.values.passages import Passage
from karat.work.explaining import explain, nearest
from karat.work.generation import Ready
from karat.work.reading import TextLike, gone_on, nats_of
from karat.work.text_evaluation import MadeTexts, TextReality

SHOWN = 5
"""Texts of the likeliest, and as many of the least likely."""
RANKED = 100
"""Texts among which they are looked for."""
EXPLAINED = 4
AROUND = 160
"""Characters that are shown before and behind a copied span."""
TITLES = {
    "from nothing": ("From nothing", "Texts that the model began itself: first those that it held for likely, then those that it did not."),
    "continued": ("Continued", "Openings of held-out texts, in grey, and how the model goes on: first what it held for likely."),
}


@dataclass(frozen=True)
class TextReport:
    """Gathers the pages of one evaluation."""

    store: Store
    snapshot: Snapshot
    ready: Ready
    codec: TextLike
    real: TextReality

    def pages(self, made: Sequence[MadeTexts]) -> TextPages:
        """Give all of it."""
        longest = [each.held_out_longest for each in made if each.held_out_longest is not None]
        held_out = max(longest, default=None)
        return TextPages(
            samples=[self._samples(each) for each in made if each.space in TITLES],
            dialogues=[talk for each in made if each.space not in TITLES for talk in self._dialogues(each)],
            strips=list(self._strips(made[-1])) if made else [],
            copies=list(self._copies(made, held_out)),
            held_out_longest=held_out,
        )

    def _samples(self, made: MadeTexts) -> Samples:
        told = []
        for row, nats in self._ranked(made):
            about = "" if nats is None else f"{nats:.2f} nats a token"
            told.append(Sample(made.texts[row], about, prompt=made.prompts[row].text, marked=made.copies[row].marked))
        return Samples(*TITLES[made.space], told)

    def _ranked(self, made: MadeTexts) -> list[tuple[int, float | None]]:
        """Give the rows of the texts that the model holds for the likeliest and for the least likely, with their nats for each token."""
        nats, cost = nats_of(self.ready.model), []
        if nats is None:
            return [(row, None) for row in range(min(2 * SHOWN, len(made.texts)))]
        for row, text in enumerate(made.texts[:RANKED]):
            before, after = gone_on(self.codec, made.prompts[row], text)
            if after:
                cost.append((float(nats(torch.tensor([[*before, *after]]))[0, len(before) :].mean()), row))
        cost.sort()
        ends = cost if len(cost) <= 2 * SHOWN else [*cost[:SHOWN], *cost[-SHOWN:]]
        return [(row, each) for each, row in ends]

    def _dialogues(self, made: MadeTexts) -> Iterator[Dialogue]:
        chrf = by_sacrebleu("chrf")
        ranked = sorted(
            (
                (chrf.sentence_score(text, [reference]).score, row)
                for row, (text, reference) in enumerate(zip(made.texts, made.references, strict=True))
            ),
            reverse=True,
        )
        for score, row in ranked if len(ranked) <= 2 * SHOWN else [*ranked[:SHOWN], *ranked[-SHOWN:]]:
            prompt = "\n".join(turn.text for turn in made.prompts[row].turns)
            yield Dialogue(prompt, made.texts[row], made.references[row], f"chrF {score:.0f}", made.copies[row].marked)

    def _strips(self, made: MadeTexts) -> Iterator[Strip]:
        """Explain the first texts that say anything."""
        if nats_of(self.ready.model) is None:
            return
        rows = [row for row, text in enumerate(made.texts) if text.strip()][:EXPLAINED]
        near = nearest([made.texts[row] for row in rows], self.real.train) if rows else []
        for row, like in zip(rows, near, strict=True):
            yield explain(self.ready.model, self.codec, made.prompts[row], made.texts[row], near=like)

    def _copies(self, made: Sequence[MadeTexts], held_out: int | None) -> Iterator[Copy]:
        """Give the longest spans that made texts share with training ones, both sides cut to what is around them."""
        found = [(copied, text) for each in made for copied, text in zip(each.copies, each.texts, strict=True) if copied.source is not None]
        found.sort(key=lambda each: -each[0].longest)
        sources = self._training({copied.source for copied, _ in found[:SHOWN] if copied.source is not None})
        for copied, text in found[:SHOWN]:
            name, passage = sources[copied.source or 0]
            yield _copy(copied, text, name, passage, flagged=copied.longest > max(RUN - 1, held_out or 0))

    def _training(self, rows: set[int]) -> Mapping[int, tuple[str, Passage]]:
        found = {}
        for row, sample in enumerate(islice(self.snapshot.samples("train"), max(rows, default=-1) + 1)):
            if row in rows and isinstance(passage := source_of(self.store, sample), Passage):
                found[row] = (sample.name, passage)
        return found


def _copy(copied: Copied, text: str, name: str, passage: Passage, *, flagged: bool) -> Copy:
    shown, at = _around(text, copied.at)
    source, source_at = _around(passage.learnt(), copied.source_at)
    return Copy(shown, at, source, source_at, copied.longest, name, flagged)


def _around(text: str, at: tuple[int, int]) -> tuple[str, tuple[int, int]]:
    """Cut a text to what is around a span, and give the span's new place."""
    first, last = max(0, at[0] - AROUND), min(len(text), at[1] + AROUND)
    before, behind = "…" if first else "", "…" if last < len(text) else ""
    moved = len(before) - first
    return f"{before}{text[first:last]}{behind}", (at[0] + moved, at[1] + moved)
