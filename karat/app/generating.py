"""Generate from a release, prove where a file comes from, and make it again."""

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

import karat
from karat.app.releasing import load_release, open_release
from karat.material.releases.release import Release
from karat.material.trust import origin as origins
from karat.material.trust.origin import Origin
from karat.material.trust.originality import FACTS_FILE, TENSORS_FILE, OriginalityIndex
from karat.store.records import Record
from karat.store.store import Store
from karat.values.codecs.latent import as_seen
from karat.words.errors import Cancelled, DataError, NotFoundError, StoreError
from karat.words.events import Event, Finished, Progress, Started
from karat.words.specs import Spec, digest_of
from karat.work.generation import Ready, Request, make_values, repeated


class Made(Event):
    """An asset was made: its record, its file, and whether it lies suspiciously near a training sample."""

    kind: Literal["made"] = "made"
    asset: str
    path: str
    index: int
    copied: bool | None = None
    nearest: str | None = None


class Verification(Spec):
    """What can be proved of a file."""

    path: str
    origin: Origin | None
    record: str | None
    unchanged: bool | None


def generate(store: Store, ref: str, request: Request, out: Path, *, stop: Callable[[], bool] = lambda: False) -> Iterator[Event]:
    """Make assets into a folder. Ends with Finished; each asset is a record on the chain.

    The same release, index, seed and settings always give the same bytes. Raises Cancelled, between two steps, when `stop` says so.
    """
    record, release = open_release(store, ref)
    ready, _ = load_release(release)
    writer = AssetWriter(store, record, release, ready, request, out)
    rows = repeated(ready.conditions(request.given), request.count)
    seeds = [(request.seed, request.first + offset) for offset in range(request.count)]
    yield Started(what="generation", total=request.count, unit="assets")
    done = 0
    for step, values in make_values(ready.model, rows, seeds, request.sampling):
        if stop():
            raise Cancelled(
                f"Stopped after {done} of {request.count} assets; they are kept in {out}.", repair="Give the same command again."
            )
        if step.done < step.total:
            yield Progress(done=done, total=request.count, figures={"step": step.done, "steps": step.total})
            continue
        yield from writer.write(values, done)
        done += len(values)
        yield Progress(done=done, total=request.count)
    yield Finished(what="generation", result=str(out), summary=f"{done} assets in {out}", figures={"assets": done, "copied": writer.copied})


class AssetWriter:
    """Writes values as files that say where they come from, and puts each on the chain."""

    def __init__(self, store: Store, record: Record, release: Release, ready: Ready, request: Request, out: Path) -> None:
        self.store, self.record, self.release, self.ready, self.request, self.out = store, record, release, ready, request, out
        self.copied = 0
        shipped = TENSORS_FILE in release.names
        self.index = OriginalityIndex.from_parts({name: release.read(name) for name in (TENSORS_FILE, FACTS_FILE)}) if shipped else None
        try:
            out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"{out} cannot be made: {error.strerror}.", repair="Choose another folder with -o.") from None

    def write(self, values: Tensor, done: int) -> Iterator[Made]:
        """Write the values whose first one is number `done` of the request."""
        verdicts = self.index.verdicts(as_seen(self.ready.made, values)) if self.index else [None] * len(values)
        for offset, (value, verdict) in enumerate(zip(values, verdicts, strict=True)):
            single = self.request.changed(count=1, first=self.request.first + done + offset)
            payload = file_of(self.ready, value, self.release, single)
            path = self.out / f"{single.first:05d}{self.ready.made.extension}"
            blob = self._put(path, payload)
            facts: dict[str, Any] = {"asset": asset_id(self.release, single), "media_type": self.ready.made.media_type}
            if verdict is not None:
                facts["originality"] = verdict.model_dump(mode="json")
                self.copied += verdict.copied
            asset = self.store.record("asset", made=blob, made_from=[self.record.id], spec=single, facts=facts)
            known = {} if verdict is None else {"copied": verdict.copied, "nearest": verdict.nearest}
            yield Made(asset=asset, path=str(path), index=single.first, **known)

    def _put(self, path: Path, payload: bytes) -> str:
        temporary = path.with_name(f".{path.name}.part")
        try:
            temporary.write_bytes(payload)
            temporary.replace(path)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise StoreError(
                f"{path} cannot be written: {error.strerror}.", repair="Free some space or choose another folder with -o."
            ) from None
        return self.store.put(payload)


def file_of(ready: Ready, value: Tensor, release: Release, single: Request) -> bytes:
    """Give the bytes of one asset's file, with its origin inside."""
    payload = ready.made.write(ready.made.decode(value))
    settings = digest_of({"given": single.given, "sampling": single.sampling, "index": single.first})
    about = Origin(
        release=release.digest,
        asset=asset_id(release, single),
        seed=single.seed,
        settings=settings,
        system_version=karat.__version__,
        title=str(release.facts.get("title", "")),
    )
    return origins.embed(payload, about) if origins.can_carry(payload) else payload


def asset_id(release: Release, single: Request) -> str:
    """Name an asset by what it is made of: the release and the request."""
    return digest_of([release.digest, single.model_dump(mode="json")])[:32]


def verify(store: Store, path: Path) -> Verification:
    """Say what can be proved of a file: the origin it carries, and whether this store made exactly these bytes."""
    try:
        payload = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.", repair="Check the path.") from None
    about = origins.read(payload) or origins.read_sidecar(path)
    records = store.made(hashlib.sha256(payload).hexdigest())
    known = next((record.id for record in records if record.kind == "asset"), None)
    return Verification(path=str(path), origin=about, record=known, unchanged=True if known else None)


def reproduce(store: Store, ref: str, out: Path) -> Iterator[Event]:
    """Make an asset again from its record. Ends with Finished; raises DataError when the bytes differ."""
    record = store.get(ref)
    if record.kind != "asset" or record.made is None:
        raise NotFoundError(f"{ref} is a {record.kind}, no asset.", repair="Give an asset's id, as `karat generate` names it.")
    source = store.get(record.made_from[0])
    _, release = open_release(store, source.id)
    ready, _ = load_release(release)
    single = Request.from_values(record.spec)
    yield Started(what="reproduction", total=1, unit="asset")
    rows = repeated(ready.conditions(single.given), 1)
    for step, values in make_values(ready.model, rows, [(single.seed, single.first)], single.sampling):
        yield Progress(done=step.done, total=step.total)
    payload = file_of(ready, values[0], release, single)
    same = hashlib.sha256(payload).hexdigest() == record.made
    if not same:
        raise DataError(
            f"Asset {record.id[:12]} came out differently.",
            repair=f"It was made by Karat {karat.__version__} or another version, on another processor or torch: compare there.",
        )
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"{single.first:05d}{ready.made.extension}"
    path.write_bytes(payload)
    yield Finished(what="reproduction", result=str(path), summary=f"The same {len(payload)} bytes again: {path}")
