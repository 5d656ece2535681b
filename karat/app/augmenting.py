"""Augment a snapshot of texts by a list of synonyms, gaps, and the user's own translation releases."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

from karat.app.chain import find
from karat.app.releasing import load_release, open_release
from karat.app.writing import talks, writes
from karat.material.data.texts.altering import Augmenting, Synonyms
from karat.material.data.texts.augmenting import augment
from karat.store.records import Record
from karat.store.store import Store
from karat.values.passages import Passage, Turn
from karat.words.errors import DataError, SpecError
from karat.words.events import Event, Finished
from karat.words.specs import Spec
from karat.work.generation import Ready
from karat.work.orders import Order, WritingOptions
from karat.work.writing import Writer

__all__ = ["AugmentingWish", "augment_snapshot"]


class AugmentingWish(Spec):
    """How a user asks for altered copies: a file of synonyms, releases by any of their names, and all else of `Augmenting`."""

    synonyms: Path | None = None
    back: tuple[str, ...] = ()
    how: dict[str, Any] = {}


def augment_snapshot(store: Store, ref: str, wish: AugmentingWish, *, alias: str | None = None) -> Iterator[Event]:
    """Make a snapshot that also learns from altered copies. Ends in Finished, whose result is the new snapshot."""
    asked = Augmenting.from_values({**wish.how, "synonyms": _kept(store, wish.synonyms)})
    translators = [Translator(store, name, temperature=asked.temperature) for name in wish.back]
    asked = asked.changed(back=tuple(each.release for each in translators))
    for event in augment(store, find(store, ref, "snapshot").id, asked, translate=translators):
        if isinstance(event, Finished) and alias:
            store.alias(alias, event.result)
            event = event.changed(summary=f"{event.summary} It is called {alias}.")
        yield event


def _kept(store: Store, path: Path | None) -> str | None:
    """Keep a list of synonyms that can be read, and give its digest."""
    if path is None:
        return None
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.", repair="Check the path.") from None
    Synonyms.read(content)
    return store.put(content)


def answering(store: Store, ref: str) -> tuple[Record, Ready, str]:
    """Give a release that answers, ready, and the id of the snapshot that it learnt from. Raises SpecError for one that does not."""
    record, release = open_release(store, ref)
    ready, spec = load_release(release) if writes(release) else (None, None)
    if ready is None or spec is None or not talks(ready):
        raise SpecError(f"{ref} does not answer.", repair="Give a release that learnt from questions and answers.")
    return record, ready, spec.snapshot


class Translator:
    """Answers texts with a release, each with a seed of its own."""

    def __init__(self, store: Store, ref: str, *, temperature: float) -> None:
        record, ready, _ = answering(store, ref)
        self.release, self.writer = record.id, Writer(ready.model, cast(Any, ready.made))
        self.options = WritingOptions.from_values({"temperature": temperature, "truncate": "front"})

    def __call__(self, texts: Sequence[str], seeds: Sequence[int]) -> list[str]:
        asked = [Passage(turns=(Turn(role="user", text=text),)) for text in texts]
        orders = [Order(passage, self.options, (seed, 0)) for passage, seed in zip(asked, seeds, strict=True)]
        return [written.text for written in self.writer.written(orders)]
