"""Looks at a model while it trains: what it makes from the same seeds each time, and how good that is where there is a yardstick."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from karat.learning.models import Model
from karat.material.data.batches import EncodedSplit, packing_of
from karat.material.data.preview import contact_sheet
from karat.values.codecs.codec import Codec
from karat.values.codecs.latent import as_seen, seen
from karat.values.given import Given
from karat.values.passages import Passage
from karat.work.evaluation import Yardstick, quick_score
from karat.work.generation import all_values
from karat.work.measuring import targets_of
from karat.work.orders import Order, WritingOptions
from karat.work.plans import RunSpec
from karat.work.training import SHOWN
from karat.work.writing import Writer

DRAFTS, DRAFT_TOKENS = 4, 96
"""How many texts are written at a look, and how long they may be: writing takes as long as many steps of training."""


class Look:
    """One run's looks: what a language model writes after `drafts`, or whole values under the validation split's conditions."""

    def __init__(
        self, spec: RunSpec, validation: EncodedSplit, folder: Path, yardstick: Yardstick | None, *, drafts: Sequence[Passage] = ()
    ) -> None:
        self.spec, self.validation, self.folder, self.yardstick, self.drafts = spec, validation, folder, yardstick, drafts
        self.codec = validation.made

    def __call__(self, model: Model, step: int, judged: bool) -> dict[str, float]:
        if packing_of(self.codec) != "single":
            self._write(model, step)
            return {}
        plan = self.spec.plan
        judged = judged and self.yardstick is not None
        rows = [row % len(self.validation) for row in range(plan.samples if judged else SHOWN)]
        given = self.validation.conditions(rows)
        values = as_seen(self.codec, all_values(model, given, [(plan.seed, index) for index in range(len(rows))], {}))
        self._show(values[:SHOWN], given, step)
        if not judged or self.yardstick is None:
            return {}
        labels, targets = targets_of(given, rows)
        return quick_score(values, labels, against=self.yardstick, targets=targets)

    def _write(self, model: Model, step: int) -> None:
        options = WritingOptions(most=DRAFT_TOKENS, truncate="front")
        drafts = self.drafts or [Passage()] * DRAFTS
        orders = [Order(draft if draft.turns else "", options, (self.spec.plan.seed, index)) for index, draft in enumerate(drafts)]
        codec: Any = self.codec
        written = Writer(model, codec).written(orders)
        self._keep([draft.plain() for draft in drafts], [each.text for each in written], step)

    def _show(self, values: Tensor, given: Given, step: int) -> None:
        captions = captions_of(given, self.validation.given, len(values))
        media = [seen(self.codec).decode(value) for value in values]
        if seen(self.codec).kind != "image":
            self._keep(captions, media, step)
            return
        contact_sheet(zip(media, captions, strict=True), title=f"step {step}").save(self._place(step).with_suffix(".png"))

    def _keep(self, before: Sequence[str], texts: Sequence[str], step: int) -> None:
        """Write texts, each behind what it was written under."""
        parts = (f"{said}\n→ {text}" if said else text for said, text in zip(before, texts, strict=True))
        self._place(step).with_suffix(".txt").write_text("\n\n---\n\n".join(parts), encoding="utf-8", errors="replace")

    def _place(self, step: int) -> Path:
        place = self.folder / "samples" / f"step-{step:09d}"
        place.parent.mkdir(exist_ok=True)
        return place


def captions_of(given: Given, codecs_of: Mapping[str, Codec], count: int) -> list[str]:
    """Say in words what was given to each of some samples."""
    known = codecs_of.items()
    said = [[str(codec.decode(given.values[name][row])) for name, codec in known if given.keep[name][row]] for row in range(count)]
    return [", ".join(words) for words in said]
