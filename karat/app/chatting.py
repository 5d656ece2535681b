"""Converse with a release: turn after turn, the oldest forgotten when the context is full."""

from collections.abc import Iterator, Mapping
from typing import Any

from karat.app.releasing import load_release, open_release
from karat.app.steps import Answered, Wrote
from karat.app.writing import settled, talks, writer_of, writes
from karat.store.store import Store
from karat.values.passages import Passage, Turn
from karat.words.errors import SpecError
from karat.words.events import Event, Warned
from karat.work.orders import Order, WritingOptions

ROOM = 4
"""The part of the context that is left for an answer, unless `most` says how long it may be: a fourth."""


class Conversation:
    """A conversation with one release. Raises SpecError for one that does not answer."""

    def __init__(self, store: Store, ref: str, *, persona: str = "", seed: int = 0, sampling: Mapping[str, Any] | None = None) -> None:
        record, release = open_release(store, ref)
        if not writes(release):
            raise SpecError("This release writes no texts.", repair="Converse with a release of texts.")
        self.ready, _ = load_release(release)
        if not talks(self.ready):
            raise SpecError("This release goes on from a text; it does not converse.", repair='Use `karat generate … --prompt "…"`.')
        wanted = settled(store, record, sampling or {})
        self.writer = writer_of(store, self.ready, wanted)
        self.options = WritingOptions.from_values(wanted)
        self.seed, self.persona = seed, persona
        self.turns: list[Turn] = []
        self.said = 0

    def say(self, text: str) -> Iterator[Event]:
        """Say something; gives a note when old turns are forgotten, the answer as it is written, and in the end the whole of it.

        The same conversation with the same seed gives the same answers. A turn that cannot be answered is not remembered.
        """
        turns = [*self.turns, Turn(role="user", text=text)]
        forgotten = 0
        while len(turns) > 2 and not self._fits(turns):
            turns, forgotten = turns[2:], forgotten + 2
        if forgotten:
            yield Warned(message=f"The context is full: the {forgotten} oldest turns are forgotten.")
        answer = ""
        for token in self.writer.write([Order(self._passage(turns), self.options, (self.seed, self.said))]):
            answer += token.text
            if token.text or token.finish:
                yield Wrote(index=self.said, text=token.text, finish=token.finish)
        self.turns = [*turns, Turn(role="assistant", text=answer)]
        self.said += 1
        yield Answered(text=answer)

    def _fits(self, turns: list[Turn]) -> bool:
        longest = self.writer.decoder.longest
        return len(self.writer.codec.prompt(self._passage(turns))) + (self.options.most or longest // ROOM) <= longest

    def _passage(self, turns: list[Turn]) -> Passage:
        return Passage(turns=(*((Turn(role="system", text=self.persona),) if self.persona else ()), *turns))
