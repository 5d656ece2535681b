"""Jobs that write texts with a release, token by token, several at once; and jobs that read texts into vectors.

Which others a text is written beside changes nothing in it.
"""

import base64
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from karat.app.serving.asking import Embedding, Piece, Said, Spelt, Writing
from karat.app.serving.doing import Bench, Done, doers
from karat.app.serving.loaded import Loaded
from karat.app.writing import TextDesk, WritingRequest, writes
from karat.material.trust.text_originality import TextVerdict
from karat.store.queue import Job
from karat.words.errors import Cancelled, KaratError, SpecError
from karat.words.events import Event, Progress
from karat.work.embedding import embedded
from karat.work.orders import Order, Token, WritingOptions
from karat.work.writing import Line, Writer


@dataclass
class _Text:
    """One text of a job while it is written."""

    job: Job
    index: int
    request: WritingRequest
    line: Line
    tells: bool
    text: str = ""
    tokens: int = 0
    finish: str | None = None
    pieces: list[Piece] = field(default_factory=list)

    def take(self, writer: Writer, token: Token) -> Said:
        """Take a token; a mark that ends the text is no part of it."""
        ends = token.finish is not None and token.id in self.line.ends
        piece = None
        if not ends:
            self.tokens += 1
            if token.logprob is not None:
                piece = _piece(writer, token)
                self.pieces.append(piece)
        self.text += token.text
        self.finish = token.finish
        return Said(index=self.index, number=self.tokens - (not ends), text=token.text, finish=token.finish, piece=piece)

    def told(self, asset: str | None, verdict: TextVerdict | None) -> dict[str, Any]:
        """Give what the job's result says of it."""
        pieces = [piece.model_dump(mode="json") for piece in self.pieces]
        known = {"index": self.index, "text": self.text, "finish": self.finish, "tokens": self.tokens, "asset": asset}
        known["originality"] = None if verdict is None else verdict.model_dump(mode="json")
        return {**known, "seed": self.request.seed, "first": self.request.first, **({"pieces": pieces} if pieces else {})}


def _piece(writer: Writer, token: Token) -> Piece:
    def spelt(id: int, logprob: float) -> Spelt:
        return Spelt(bytes=tuple(writer.spelling[id]), logprob=logprob)

    assert token.logprob is not None
    return Piece(token=spelt(token.id, token.logprob), likeliest=tuple(spelt(*each) for each in token.likeliest))


@doers.add("write")
def write(bench: Bench, jobs: Sequence[Job]) -> Iterator[tuple[Job, Event | KaratError]]:
    """Write the texts of some jobs for one release, and of those that join them."""
    loaded = bench.releases.get(Writing.from_values(jobs[0].spec).release)
    table = _Table(bench, loaded)
    table.take(jobs)
    try:
        yield from table.write(lambda: bench.join(jobs[0]))
    except SpecError:
        # One text could not become what it must be, and which one is not said: each job is written again alone.
        yield from table.refusals()
        left = list(table.texts)
        if len(left) == 1:
            raise
        for job in [table.jobs[id] for id in left]:
            alone = _Table(bench, loaded)
            alone.take([job])
            try:
                yield from alone.write()
            except SpecError as error:
                yield job, error


@dataclass
class _Table:
    """The jobs that are written at one time; `texts` holds those of each job that has not ended."""

    bench: Bench
    loaded: Loaded
    jobs: dict[str, Job] = field(default_factory=dict)
    texts: dict[str, list[_Text]] = field(default_factory=dict)
    lines: dict[int, _Text] = field(default_factory=dict)
    refused: list[tuple[Job, KaratError]] = field(default_factory=list)
    together: int = 0

    def take(self, jobs: Sequence[Job]) -> list[Line]:
        """Make the texts of some jobs ready; a job that cannot be begun is refused."""
        lines = []
        for job in jobs:
            try:
                texts = _begin(self.loaded, job, len(self.lines))
            except KaratError as error:
                self.refused.append((job, error))
                continue
            self.jobs[job.id], self.texts[job.id] = job, texts
            self.lines |= {text.line.number: text for text in texts}
            lines += [text.line for text in texts]
        self.together = max(self.together, len(self.texts))
        return lines

    def write(self, join: Callable[[], Sequence[Job]] = lambda: ()) -> Iterator[tuple[Job, Event | KaratError]]:
        """Write what was taken, and what `join` brings."""
        texts = list(self.lines.values())
        if not texts:
            yield from self.refusals()
            return
        writer = self.loaded.writer(texts[0].line.options.precision)
        for token in writer.write_lines([text.line for text in texts], lambda: self.take(join())):
            yield from self.refusals()
            text = self.lines[token.order]
            job, own = text.job, self.texts.get(text.job.id)
            if own is None:
                continue
            if self.bench.stopped(job.id):
                for each in self.texts.pop(job.id):
                    each.line.dropped = True
                yield job, Cancelled("Stopped between two tokens.", repair="Ask again.")
                continue
            said = text.take(writer, token)
            if text.tells:
                yield job, said
            if token.finish is not None:
                yield from self._ended(job, own)
        yield from self.refusals()

    def refusals(self) -> Iterator[tuple[Job, KaratError]]:
        """Give the jobs that could not be begun, each once."""
        while self.refused:
            yield self.refused.pop()

    def _ended(self, job: Job, texts: list[_Text]) -> Iterator[tuple[Job, Event | KaratError]]:
        done = sum(each.finish is not None for each in texts)
        yield job, Progress(done=done, total=len(texts))
        if done == len(texts):
            result = _told(self.bench, self.loaded, job, texts)
            del self.texts[job.id]
            yield job, Done(result={**result, "together": self.together})


def _begin(loaded: Loaded, job: Job, first: int) -> list[_Text]:
    """Make the texts of a job ready. Raises the job's own error."""
    asked = Writing.from_values(job.spec)
    request, sampling = asked.request, loaded.settled(asked.request.sampling)
    options, given = WritingOptions.from_values(sampling), loaded.ready.conditions(request.given)
    writer = loaded.writer(options.precision)
    texts = []
    for place, prompt in enumerate(prompt for prompt in asked.prompts for _ in range(request.count)):
        own = WritingRequest(seed=request.seed, first=request.first + place, given=request.given, sampling=sampling, prompt=prompt)
        line = writer.line(first + place, Order(prompt, options, (own.seed, own.first), given))
        texts.append(_Text(job, place, own, line, asked.tells))
    return texts


def _told(bench: Bench, loaded: Loaded, job: Job, texts: Sequence[_Text]) -> dict[str, Any]:
    """Put the texts of a job on the chain if they are to be kept, and give its result."""
    desk = TextDesk(bench.store, loaded.record, loaded.release, loaded.ready, loaded.index, None)
    keeps = Writing.from_values(job.spec).keeps
    told = []
    for text in texts:
        verdict = desk.verdict(text.text)
        asset = desk.put(text.text, text.request, verdict, finish=text.finish).asset if keeps else None
        told.append(text.told(asset, verdict))
    read = sum(len(prompt) for prompt in {id(text.request.prompt): text.line.prompt for text in texts}.values())
    written = sum(text.tokens for text in texts)
    return {"texts": told, "read": read, "written": written}


@doers.add("embed")
def embed(bench: Bench, jobs: Sequence[Job]) -> Iterator[tuple[Job, Event | KaratError]]:
    """Read the texts of some jobs into vectors: float32, little-endian, in base64."""
    loaded = bench.releases.get(Embedding.from_values(jobs[0].spec).release)
    if not writes(loaded.release):
        raise SpecError("This release reads no texts.", repair="Embed with a release of texts.")
    codec = cast(Any, loaded.ready.made)
    for job in jobs:
        asked, vectors, read = Embedding.from_values(job.spec), list[str](), 0
        try:
            for place, source in enumerate(asked.inputs):
                if bench.stopped(job.id):
                    raise Cancelled("Stopped between two texts.", repair="Ask again.")
                ids = codec.ids(source) if isinstance(source, str) else source
                vectors.append(base64.b64encode(embedded(loaded.ready, ids).numpy().astype("<f4").tobytes()).decode())
                read += len(ids)
                yield job, Progress(done=place + 1, total=len(asked.inputs))
        except KaratError as error:
            yield job, error
            continue
        yield job, Done(result={"vectors": vectors, "read": read, "together": len(jobs)})
