"""Generate from a release: files that say where they come from, each a record on the chain."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from pydantic import Field
from torch import Tensor

import karat
from karat.app.releasing import load_release, open_release
from karat.material.releases.release import Release
from karat.material.trust import origin as origins
from karat.material.trust.origin import Origin
from karat.material.trust.originality import FACTS_FILE, TENSORS_FILE, OriginalityIndex, OriginalityVerdict
from karat.material.trust.text_originality import FACTS_FILE as TEXT_FACTS_FILE
from karat.material.trust.text_originality import TENSORS_FILE as TEXT_TENSORS_FILE
from karat.material.trust.text_originality import TextOriginality, TextVerdict
from karat.store.placing import write_whole
from karat.store.records import Record
from karat.store.store import Store
from karat.values.codecs.label import LabelCodec
from karat.values.codecs.latent import as_seen
from karat.values.codecs.numbers import NumbersCodec
from karat.values.given import Given
from karat.words.errors import Cancelled, SpecError, StoreError
from karat.words.events import Event, Finished, Progress, Saved, Started
from karat.words.specs import Spec, digest_of
from karat.work.exploring import directions_of, start_of
from karat.work.generation import Previewed, Ready, group_size, make_values, repeated
from karat.work.requests import Request, Retouch, Walk

Steps = Iterator[tuple[Previewed, Tensor]]
SHEET = 400
"""The most pictures that a contact sheet shows."""
WALK = 8
"""Pictures on a walk, unless the request says how many."""


class Made(Event):
    """An asset was made: its record, its file, and whether it lies suspiciously near a training sample."""

    kind: Literal["made"] = "made"
    asset: str
    path: str
    index: int
    copied: bool | None = None
    nearest: str | None = None


class Asked(Spec):
    """What a user asks for in words: conditions as text, and `each`, a condition of whose every value `count` assets are made."""

    count: int = Field(1, ge=1)
    seed: int = 0
    first: int = Field(0, ge=0)
    given: dict[str, str] = {}
    each: str | None = None
    sampling: dict[str, Any] = {}
    walk: tuple[int, int] | None = Field(None, description="from the picture of one seed to that of another, in `count` steps")

    def request(self) -> Request:
        """Give the request for all assets. Raises SpecError where a walk is asked for beside what contradicts it."""
        if self.walk is None:
            return Request(count=self.count, seed=self.seed, first=self.first, sampling=self.sampling)
        if self.each is not None or self.seed or self.first:
            raise SpecError("A walk has its own seeds and goes one way.", repair="Leave out --each, --seed and --first.")
        steps = self.count if self.count > 1 else WALK
        return Walk(count=steps, steps=steps, seed=self.walk[0], to=self.walk[1], sampling=self.sampling)


class Singles(Protocol):
    """Several requests for one asset each; `request` holds the sampling options that they share."""

    @property
    def request(self) -> Request: ...

    def single(self, place: int) -> Request: ...


@dataclass(frozen=True)
class Batch:
    """A request for several assets under conditions that may differ: one mapping for each asset, in order."""

    request: Request
    givens: Sequence[Mapping[str, Any]]

    def single(self, place: int) -> Request:
        """Give the request that makes the asset at one place alone."""
        return self.request.changed(count=1, first=self.request.first + place, given=dict(self.givens[place]))


def generate_asked(
    store: Store, ref: str, asked: Asked, out: Path, *, sheet: Path | None = None, stop: Callable[[], bool] = lambda: False
) -> Iterator[Event]:
    """Make what was asked for in words, and a contact sheet of it if a place for one is given. Ends with Finished."""
    record, release = open_release(store, ref)
    ready, _ = load_release(release)
    given = read_given(asked.given, ready)
    request = asked.request()
    variants = [given] if asked.each is None else [{**given, asked.each: name} for name in _names(asked.each, ready)]
    batch = Batch(request, [variant for variant in variants for _ in range(request.count)])
    steps = _steps(ready, batch)
    made: list[tuple[Path, str]] = []
    for event in make_with(AssetWriter(store, record, release, ready, batch, out), batch, steps, stop):
        if isinstance(event, Made) and len(made) < SHEET:
            made.append((Path(event.path), ", ".join(map(str, batch.givens[event.index - asked.first].values()))))
        if isinstance(event, Finished) and sheet is not None:
            columns = request.count if (asked.each or asked.walk) and request.count <= 20 else 10
            yield Saved(what=_draw(made, sheet, columns=columns), path=str(sheet))
        yield event


def generate(store: Store, ref: str, request: Request, out: Path, *, stop: Callable[[], bool] = lambda: False) -> Iterator[Event]:
    """Make assets into a folder. Ends with Finished; each asset is a record on the chain.

    The same release, index, seed and settings always give the same bytes. Raises Cancelled, between two steps, when `stop` says so.
    """
    record, release = open_release(store, ref)
    ready, _ = load_release(release)
    batch = Batch(request, [request.given] * request.count)
    yield from make_with(AssetWriter(store, record, release, ready, batch, out), batch, _steps(ready, batch), stop)


def _steps(ready: Ready, batch: Batch) -> Steps:
    """Give the steps that make a batch's values."""
    directions = cache(lambda: directions_of(ready))
    starts = [start_of(batch.single(place), directions) for place in range(len(batch.givens))]
    return make_values(ready.model, rows_of(ready, batch.givens), starts, batch.request.sampling)


def make_with(writer: "AssetWriter", batch: Batch, steps: Steps, stop: Callable[[], bool]) -> Iterator[Event]:
    """Write what some steps make as they come. Ends with Finished; raises Cancelled, between two steps, when `stop` says so."""
    out, total = writer.out, len(batch.givens)
    yield Started(what="generation", total=total, unit="assets")
    done = 0
    for step, values in steps:
        if stop():
            raise Cancelled(f"Stopped after {done} of {total} assets; they are kept in {out}.", repair="Give the same command again.")
        if step.done < step.total:
            yield Progress(done=done, total=total, figures={"step": step.done, "steps": step.total})
            continue
        yield from writer.write(values, done)
        done += len(values)
        yield Progress(done=done, total=total)
    summary = f"{done:,} asset{'s' if done > 1 else ''} in {out}{copies_told(writer.copied)}"
    yield Finished(what="generation", result=str(out), summary=summary, figures={"assets": done, "copied": writer.copied})


def rows_of(ready: Ready, givens: Sequence[Mapping[str, Any]]) -> Given:
    """Give one row of conditions for each asset; equal neighbours are encoded once."""
    rows: Given | None = None
    for given, run in groupby(givens):
        some = repeated(ready.conditions(given), len(list(run)))
        rows = some if rows is None else rows.joined(some)
    assert rows is not None, "a request asks for at least one asset"
    return rows


def read_given(words: Mapping[str, str], ready: Ready) -> dict[str, Any]:
    """Read conditions that came as text; a name that one of the model's numbers has goes to them."""
    given: dict[str, Any] = {}
    for name, word in words.items():
        group = next((each for each, codec in ready.given.items() if isinstance(codec, NumbersCodec) and name in codec.options.names), None)
        if group is None:
            given[name] = word
            continue
        try:
            given.setdefault(group, {})[name] = float(word)
        except ValueError:
            raise SpecError(f"{name} is a number for this model, got {word!r}.", repair=f"Write `--given {name}=1.5`.") from None
    ready.conditions(given)
    return given


def _names(each: str, ready: Ready) -> Sequence[str]:
    codec = ready.given.get(each)
    if not isinstance(codec, LabelCodec):
        known = [name for name, other in ready.given.items() if isinstance(other, LabelCodec)]
        repair = f"Give --each {known[0]}." if known else "Leave --each out: this model learnt no labels."
        raise SpecError(f"The model knows no list of values for {each!r}.", repair=repair)
    return codec.names


def _draw(made: Sequence[tuple[Path, str]], sheet: Path, *, columns: int) -> str:
    """Draw a contact sheet of files that were made, or a film of them into a .gif; say which."""
    from PIL import Image

    from karat.app.data import save_picture
    from karat.app.films import film
    from karat.material.data.preview import contact_sheet

    if sheet.suffix.lower() == ".gif":
        write_whole(sheet, film([path.read_bytes() for path, _ in made]))
        return "film"
    pictures = []
    for path, caption in made:
        with Image.open(path) as picture:
            pictures.append((picture.copy(), caption))
    save_picture(contact_sheet(pictures, columns=columns, cell=64), sheet)
    return "contact sheet"


class AssetWriter:
    """Makes values files that say where they come from, puts each on the chain and, where there is a folder, into it."""

    def __init__(self, store: Store, record: Record, release: Release, ready: Ready, batch: Singles, out: Path | None) -> None:
        self.store, self.record, self.release, self.ready, self.batch, self.out = store, record, release, ready, batch, out
        ready.model.sampling(**batch.request.sampling)
        self.copied = 0
        self.index = index_of(release)
        try:
            if out is not None:
                out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"{out} cannot be made: {error.strerror}.", repair="Choose another folder with -o.") from None

    def write(self, values: Tensor, done: int) -> Iterator[Made]:
        """Write the values whose first one is number `done` of the request."""
        verdicts = self._verdicts(values) if self.index else [None] * len(values)
        for offset, (value, verdict) in enumerate(zip(values, verdicts, strict=True)):
            single = self.batch.single(done + offset)
            payload = file_of(self.ready, value, self.release, single)
            path = "" if self.out is None else str(self.out / file_name(self.ready, self.release, single))
            if path:
                write_whole(Path(path), payload)
            blob = self.store.put(payload)
            facts: dict[str, Any] = {"asset": asset_id(self.release, single), "media_type": self.ready.made.media_type}
            if verdict is not None:
                facts["originality"] = verdict.model_dump(mode="json")
                self.copied += verdict.copied
            made_from = [self.record.id, *_sources(self.store, single)]
            asset = self.store.record("asset", made=blob, made_from=made_from, spec=single, facts=facts)
            known = {} if verdict is None else {"copied": verdict.copied, "nearest": verdict.nearest}
            yield Made(asset=asset, path=path, index=single.first, **known)

    def _verdicts(self, values: Tensor) -> Sequence[OriginalityVerdict | TextVerdict]:
        """Compare values with the training set in groups of one size, so that a verdict is the same to the bit whatever is beside it."""
        assert self.index is not None
        if isinstance(self.index, TextOriginality):
            return [self.index.verdict(str(self.ready.made.decode(value))) for value in values]
        filled = torch.arange(group_size(self.ready.model.space)).clamp(max=len(values) - 1)
        return self.index.verdicts(as_seen(self.ready.made, values[filled]))[: len(values)]


def index_of(release: Release) -> OriginalityIndex | TextOriginality | None:
    """Give what a release knows of its training samples, if it brings that along."""
    if TEXT_TENSORS_FILE in release.names:
        return TextOriginality.from_parts({name: release.read(name) for name in (TEXT_TENSORS_FILE, TEXT_FACTS_FILE)})
    if TENSORS_FILE in release.names:
        return OriginalityIndex.from_parts({name: release.read(name) for name in (TENSORS_FILE, FACTS_FILE)})
    return None


def copies_told(copied: int) -> str:
    """Say in a summary how many of the assets were called copies."""
    return f"; {copied:,} lie{'s' if copied == 1 else ''} suspiciously near a training sample" if copied else ""


def _sources(store: Store, single: Request) -> list[str]:
    """Give the asset that a picture was made from, if one was made here whose file it is."""
    found = store.made(single.picture) if isinstance(single, Retouch) else []
    return [record.id for record in found if record.kind == "asset"][:1]


def file_of(ready: Ready, value: Tensor, release: Release, single: Request) -> bytes:
    """Give the bytes of one asset's file, with its origin inside."""
    payload = ready.made.write(ready.made.decode(value))
    own = single.model_dump(mode="json", exclude=set(Request.model_fields))
    settings = digest_of({"given": single.given, "sampling": single.sampling, "index": single.first, **own})
    about = Origin(
        release=release.digest,
        asset=asset_id(release, single),
        seed=single.seed,
        settings=settings,
        system_version=karat.__version__,
        title=str(release.facts.get("title", "")),
    )
    return origins.embed(payload, about) if origins.can_carry(payload) else payload


def file_name(ready: Ready, release: Release, single: Request) -> str:
    """Name an asset's file by its index and by what it is made of, so that no other asset overwrites it."""
    return f"{single.first:05d}-{asset_id(release, single)[:8]}{ready.made.extension}"


def asset_id(release: Release, single: Request) -> str:
    """Name an asset by what it is made of: the release and the request."""
    return digest_of([release.digest, single.model_dump(mode="json")])[:32]
