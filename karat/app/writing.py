"""Write with a release: texts that go on from a beginning or answer a prompt, each a file, its origin beside it, on the chain.

A prompt for a model of conversations is what a user says; for a model of plain text it is the beginning of the text.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import karat
from karat.app.engines import precision_of
from karat.app.generating import Asked, Made, asset_id, copies_told, file_name, generate_asked, index_of, read_given
from karat.app.releasing import load_release, open_release
from karat.app.rewarding import resolved, reward_of
from karat.app.steps import Wrote
from karat.material.releases.release import Release
from karat.material.trust import origin as origins
from karat.material.trust.origin import Origin
from karat.material.trust.text_originality import TextOriginality, TextVerdict
from karat.store.placing import write_whole
from karat.store.records import Record
from karat.store.store import Store
from karat.values.codecs.pretrained_text import PretrainedTextCodec
from karat.values.codecs.text import TextCodec
from karat.values.passages import Passage, Turn
from karat.words.errors import Cancelled, DataError, SpecError, StoreError
from karat.words.events import Event, Finished, Progress, Started
from karat.words.specs import digest_of
from karat.work.generation import Ready
from karat.work.orders import Order, WritingOptions
from karat.work.requests import Request
from karat.work.writing import Writer

WRITES = ("autoregressive", "pretrained")
"""The families that write token by token."""


class WritingRequest(Request):
    """A request for a text: after what it is written. The sampling options are those of writing."""

    prompt: Passage = Passage()


@dataclass(frozen=True)
class Prompts:
    """What is to be gone on from, as it was asked for: texts, or turns; none at all: from nothing."""

    said: Sequence[str | Passage] = ()
    system: str = ""

    @classmethod
    def of(cls, prompt: str | None, *, file: Path | None = None, system: str = "") -> "Prompts":
        """Take one prompt, or those of a JSON-lines file. Raises SpecError for both at once."""
        if prompt is not None and file is not None:
            raise SpecError("Prompts are given twice.", repair="Give --prompt or --file.")
        return cls(tuple(read_prompts(file)) if file else () if prompt is None else (prompt,), system)

    def __bool__(self) -> bool:
        return bool(self.said or self.system)

    def passages(self, ready: Ready) -> list[Passage]:
        """Give them in the form that the model reads. Raises SpecError where it reads no such thing."""
        answers = talks(ready)
        if answers and not self.said:
            raise SpecError("This model answers; it writes nothing by itself.", repair='Say something to it: --prompt "…".')
        if self.system and not answers:
            raise SpecError("This model goes on from a text; it is told nothing beside it.", repair="Leave out --system.")
        return [self._passage(said, answers) for said in self.said] or [Passage()]

    def _passage(self, said: str | Passage, answers: bool) -> Passage:
        if not answers:
            if isinstance(said, Passage) and said.turns:
                raise SpecError("This model goes on from a text and knows no turns.", repair="Give prompts, not messages.")
            return said if isinstance(said, Passage) else Passage(text=said)
        turns = (
            said.turns
            if isinstance(said, Passage) and said.turns
            else (Turn(role="user", text=said if isinstance(said, str) else said.text),)
        )
        return Passage(turns=(*((Turn(role="system", text=self.system),) if self.system else ()), *turns))


def make_asked(
    store: Store,
    ref: str,
    asked: Asked,
    out: Path,
    *,
    prompts: Prompts,
    sheet: Path | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[Event]:
    """Make what was asked for of any release: texts with one that writes, else what the release makes. Ends with Finished."""
    record, release = open_release(store, ref)
    if not writes(release):
        if prompts:
            raise SpecError("This release writes no texts.", repair="Leave out --prompt, --file and --system; see --given and --text.")
        yield from generate_asked(store, ref, asked, out, sheet=sheet, stop=stop)
        return
    if sheet is not None or asked.each is not None or asked.walk is not None:
        raise SpecError("Texts have no contact sheet, no --each and no --walk.", repair="Leave out --sheet, --each and --walk.")
    ready, _ = load_release(release)
    given, sampling = read_given(asked.given, ready), settled(store, record, asked.sampling)
    passages = [passage for passage in prompts.passages(ready) for _ in range(asked.count)]
    requests = [
        WritingRequest(seed=asked.seed, first=asked.first + place, given=given, sampling=sampling, prompt=passage)
        for place, passage in enumerate(passages)
    ]
    yield from _write(TextDesk(store, record, release, ready, text_index(release), out), requests, stop)


def _write(desk: "TextDesk", requests: Sequence[WritingRequest], stop: Callable[[], bool]) -> Iterator[Event]:
    writer = writer_of(desk.store, desk.ready, requests[0].sampling)
    orders = _orders(desk.ready, requests)
    yield Started(what="writing", total=len(orders), unit="texts")
    texts, done, tokens = [""] * len(orders), 0, 0
    for token in writer.write(orders):
        if stop():
            raise Cancelled(
                f"Stopped after {done} of {len(orders)} texts; they are kept in {desk.out}.", repair="Give the same command again."
            )
        place, tokens = token.order, tokens + 1
        texts[place] += token.text
        if token.text or token.finish:
            yield Wrote(index=requests[place].first, text=token.text, finish=token.finish)
        if token.finish:
            done += 1
            yield desk.put(texts[place], requests[place], desk.verdict(texts[place]), finish=token.finish)
            yield Progress(done=done, total=len(orders))
    summary = f"{done:,} text{'s' if done > 1 else ''} in {desk.out}{copies_told(desk.copied)}"
    figures = {"assets": done, "tokens": tokens, "copied": desk.copied}
    yield Finished(what="writing", result=str(desk.out), summary=summary, figures=figures)


def written_again(store: Store, ready: Ready, spec: Mapping[str, Any]) -> tuple[WritingRequest, bytes]:
    """Give the request that a text's record holds, and the bytes that it makes."""
    request = WritingRequest.from_values(dict(spec))
    [made] = writer_of(store, ready, request.sampling).written(_orders(ready, [request]))
    return request, ready.made.write(made.text)


def settled(store: Store, record: Record, sampling: Mapping[str, Any]) -> dict[str, Any]:
    """Give sampling options that mean the same for ever: a reward by its record, the precision that was found fastest by its name."""
    named = resolved(store, sampling)
    precision = named.get("precision") or precision_of(store, record)
    return named if precision == "float32" else {**named, "precision": precision}


def writer_of(store: Store, ready: Ready, sampling: Mapping[str, Any]) -> Writer:
    """Give what writes with a release under settled sampling options."""
    precision = WritingOptions.from_values(dict(sampling)).precision
    return Writer(ready.model, cast(Any, ready.made), reward=reward_of(store, sampling), precision=precision)


def _orders(ready: Ready, requests: Sequence[WritingRequest]) -> list[Order]:
    options = WritingOptions.from_values(dict(requests[0].sampling))
    given = ready.conditions(requests[0].given)
    return [Order(request.prompt, options, (request.seed, request.first), given) for request in requests]


def writes(release: Release) -> bool:
    """Say whether a release writes token by token."""
    spec = release.json("spec.json")
    return spec["made"]["kind"] in (TextCodec.kind, PretrainedTextCodec.kind) and spec["model"]["family"]["kind"] in WRITES


def text_index(release: Release) -> TextOriginality | None:
    """Give what a release of texts knows of its training texts, if it brings that along."""
    found = index_of(release)
    return found if isinstance(found, TextOriginality) else None


def talks(ready: Ready) -> bool:
    """Say whether a model of texts answers turns; else it goes on from a text."""
    codec = ready.made
    if isinstance(codec, PretrainedTextCodec):
        return codec.options.answers or bool(codec.options.template)
    return isinstance(codec, TextCodec) and codec.options.packing == "whole"


def read_prompts(path: Path) -> Iterator[str | Passage]:
    """Read prompts from JSON lines: a string, or an object with `prompt` (and `system`), `text` or `messages`.

    Raises DataError that names the line which is none of them.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no UTF-8"
        raise DataError(f"{path} cannot be read: {reason}.", repair="Check the path; write it in UTF-8.") from None
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                yield _prompt(json.loads(line))
            except (ValueError, KeyError, TypeError, AttributeError, SpecError, RecursionError):
                raise DataError(
                    f"Line {number} of {path} is no prompt: {line[:60]!r}.",
                    repair='Write {"prompt": "…"}, {"text": "…"} or {"messages": [{"role": "user", "content": "…"}]} on each line.',
                ) from None


def _prompt(value: Any) -> str | Passage:
    if isinstance(value, str):
        return value
    if "messages" in value:
        if not value["messages"]:
            raise ValueError("nobody says anything")
        return Passage.from_values({"turns": [{"role": each["role"], "text": each["content"]} for each in value["messages"]]})
    if "prompt" not in value:
        return Passage.from_values({"text": value["text"]})
    system = (Turn(role="system", text=value["system"]),) if value.get("system") else ()
    return Passage(turns=(*system, Turn(role="user", text=value["prompt"]))) if system else Passage(text=value["prompt"])


@dataclass
class TextDesk:
    """Where texts are put down: the chain and, if there is one, a folder."""

    store: Store
    record: Record
    release: Release
    ready: Ready
    index: TextOriginality | None
    out: Path | None
    copied: int = 0

    def __post_init__(self) -> None:
        try:
            if self.out is not None:
                self.out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"{self.out} cannot be made: {error.strerror}.", repair="Choose another folder with -o.") from None

    def verdict(self, text: str) -> TextVerdict | None:
        """Compare a text with the training texts, where the release knows them."""
        return self.index.verdict(text) if self.index else None

    def put(self, text: str, request: Request, verdict: TextVerdict | None, **facts: Any) -> Made:
        """Write one text, its origin beside it where there is a folder, and its record."""
        payload, asset = self.ready.made.write(text), asset_id(self.release, request)
        path = "" if self.out is None else self._place(payload, self.out / file_name(self.ready, self.release, request), request)
        known = {"asset": asset, "media_type": self.ready.made.media_type, **facts}
        if verdict is not None:
            known["originality"] = verdict.model_dump(mode="json")
            self.copied += verdict.copied
        made = self.store.record("asset", made=self.store.put(payload), made_from=[self.record.id], spec=request, facts=known)
        judged = {} if verdict is None else {"copied": verdict.copied, "nearest": verdict.nearest}
        return Made(asset=made, path=path, index=request.first, **judged)

    def _place(self, payload: bytes, path: Path, request: Request) -> str:
        write_whole(path, payload)
        about = Origin(
            release=self.release.digest,
            asset=asset_id(self.release, request),
            seed=request.seed,
            settings=digest_of(request.model_dump(mode="json")),
            system_version=karat.__version__,
            title=str(self.release.facts.get("title", "")),
        )
        origins.write_sidecar(path, about)
        return str(path)
