"""The chain: find a thing by any of its names, say what it is, what it came from and what was made of it."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from karat.store.records import Record
from karat.store.store import Store
from karat.words.errors import BusyError, DataError, NotFoundError
from karat.words.specs import Spec

LATEST = "latest"
MAKES = {
    "source": "karat data import FOLDER",
    "snapshot": "karat data snapshot SOURCE",
    "base": "karat train SNAPSHOT --base FOLDER",
    "reward": "karat reward SNAPSHOT",
    "run": "karat train SNAPSHOT",
    "evaluation": "karat evaluate RUN",
    "release": "karat release RUN",
    "export": "karat export RELEASE --to FORMAT -o FOLDER",
    "engine": "karat engine RELEASE",
    "asset": "karat generate RELEASE",
}


TOLD = ("fd/judge", "condition-accuracy/judge", "bits-per-byte/test", "chrf/answers")
"""Scores that stand in an evaluation's line."""


class Link(Spec):
    """One thing on the chain, in a line."""

    id: str
    kind: str
    about: str
    at: float


class Chain(Spec):
    """A thing with both directions of its chain: nearest first. `made_counts` says how much was made of it beyond the links shown."""

    record: Record
    about: str
    aliases: tuple[str, ...] = ()
    originality: str = ""
    file: str | None = None
    came_from: tuple[Link, ...] = ()
    made: tuple[Link, ...] = ()
    made_counts: dict[str, int] = {}


class RunLine(Spec):
    """A run as it stands: finished, being trained at this moment, or left off."""

    folder: str
    state: Literal["finished", "training", "unfinished"]
    record: str | None = None
    family: str = ""
    snapshot: str = ""
    given: tuple[str, ...] = ()
    step: int = 0
    seconds: float = 0.0
    figures: dict[str, float] = {}
    at: float = 0.0


def open_store(path: Path) -> Store:
    """Open the store in a folder, and make it if there is none."""
    return Store.open(path)


def find(store: Store, ref: str, *kinds: str) -> Record:
    """Give the record that a name means: `latest`, an alias, an id or the start of one, for runs also the start of their folder's name.

    Raises NotFoundError when there is none, or when it is of none of the kinds.
    """
    if ref == LATEST:
        newest = [record for kind in kinds for record in store.find(kind, limit=1)]
        if not newest:
            raise NotFoundError(f"The store holds no {kinds[0]} yet.", repair=f"Make one: `{MAKES[kinds[0]]}`.")
        return max(newest, key=lambda record: record.at)
    record = (_of_folder(store, ref) if "run" in kinds else None) or _named(store, ref)
    if record.kind not in kinds:
        raise NotFoundError(
            f"{ref} is {_a(record.kind)}, no {kinds[0]}.",
            repair=f"Give what `{MAKES[kinds[0]]}` named, or `latest`; see `karat show {ref}`.",
        )
    return record


def show(store: Store, ref: str, *, most: int = 20) -> Chain:
    """Show a thing by id, alias, `latest` or file, and its chain both ways."""
    if Path(ref).is_file():
        record = _of_file(store, Path(ref))
    else:
        record = find(store, ref, *MAKES) if ref == LATEST else _of_folder(store, ref) or _named(store, ref)
    came_from, made = store.ancestry(record.id), store.descendants(record.id)
    counts: dict[str, int] = {}
    for each in made:
        counts[each.kind] = counts.get(each.kind, 0) + 1
    return Chain(
        record=record,
        about=about(record),
        aliases=tuple(name for name, id in store.aliases().items() if id == record.id),
        originality=originality(record),
        file=str(store.path(record.made)) if record.made else None,
        came_from=links(came_from),
        made=links(made[:most]),
        made_counts=counts,
    )


def links(records: Sequence[Record]) -> tuple[Link, ...]:
    return tuple(Link(id=each.id, kind=each.kind, about=about(each), at=each.at) for each in records)


def about(record: Record) -> str:
    """Say in a line what a record is."""
    spec, facts = record.spec, record.facts
    says = {
        "source": _source,
        "base": _base,
        "reward": _reward,
        "snapshot": _snapshot,
        "run": _run,
        "evaluation": _evaluation,
        "export": _export,
        "asset": _asset,
        "verdict": _verdict,
        "cost": _cost,
    }
    if record.kind in says:
        return says[record.kind](spec, facts)
    return str(spec.get("title") or "")


def originality(record: Record) -> str:
    """Say in a line how near an asset lies to a training sample; nothing where nobody compared."""
    found = record.facts.get("originality")
    if not found:
        return ""
    copied = "suspiciously near a training sample" if found["copied"] else "no copy of a training sample"
    if "longest" not in found:
        return f"{copied}: {found['distance']:.3g} from {found['nearest']}; {found['threshold']:.3g} or less is a copy"
    span = f"{found['longest']} words or marks as in {found['nearest']}" if found["nearest"] else "no span of five words or marks"
    runs = f"{found['copied_runs']:.0%} of its runs of 13 stand in training, {found['held_out_runs']:.0%} of those of real texts"
    return f"{copied}: {span}; more than {found['threshold']:.0f} is a copy; {runs}"


def runs(store: Store) -> list[RunLine]:
    """Give all runs, the newest first, finished or not."""
    folder = store.folder / "runs"
    found = [_run_line(store, each) for each in sorted(folder.iterdir()) if (each / "spec.json").exists()] if folder.is_dir() else []
    return sorted(found, key=lambda line: -line.at)


def _run_line(store: Store, folder: Path) -> RunLine:
    spec = json.loads((folder / "spec.json").read_bytes())
    said: dict[str, Any] = {
        "folder": folder.name,
        "family": spec["model"]["family"]["kind"],
        "snapshot": spec["snapshot"],
        "given": tuple(spec["given"]),
        "at": (folder / "spec.json").stat().st_mtime,
    }
    if (folder / "record").exists():
        record = store.get((folder / "record").read_text())
        figures = record.facts["figures"]
        chosen = {name.removeprefix("chosen "): value for name, value in figures.items() if name.startswith("chosen ")}
        return RunLine(
            state="finished",
            record=record.id,
            step=int(figures["steps"]),
            seconds=figures["seconds"],
            figures=chosen,
            **{**said, "at": record.at},
        )
    try:
        with store.lock(f"run-{folder.name}"):
            state: Literal["training", "unfinished"] = "unfinished"
    except BusyError:
        state = "training"
    return RunLine(state=state, step=_last_step(folder), **said)


def _last_step(folder: Path) -> int:
    """Give the step of the newest checkpoint, from which the run would go on."""
    saved = sorted(path.name for path in folder.glob("step-*"))
    return int(saved[-1].removeprefix("step-")) if saved else 0


def _named(store: Store, ref: str) -> Record:
    """Give the record of an id or an alias; a release is also known by its digest, which stands in the files that it made."""
    try:
        return store.get(ref)
    except NotFoundError:
        if len(ref) >= 6:
            for record in store.find("release", limit=10_000):
                if str(record.spec.get("digest", "")).startswith(ref):
                    return record
        raise


def _of_folder(store: Store, ref: str) -> Record | None:
    """Give the finished run whose folder's name starts with `ref`; None when there is no such folder."""
    folder = store.folder / "runs"
    found = [each for each in folder.iterdir() if each.name.startswith(ref)] if len(ref) >= 6 and folder.is_dir() else []
    if len(found) != 1:
        return None
    if not (found[0] / "record").exists():
        raise NotFoundError(f"The run {found[0].name} is not finished.", repair=f"Go on: `karat train --spec {found[0] / 'spec.json'}`.")
    return store.get((found[0] / "record").read_text())


def makers(store: Store, digest: str) -> list[Record]:
    """Give the records of what made exactly some bytes, the newest first: as a whole, or as one file of an export."""
    exports = (each for each in store.find("export", limit=10_000) if digest in each.facts["files"].values())
    return [*store.made(digest), *exports]


def _of_file(store: Store, path: Path) -> Record:
    """Give the record of what made exactly the bytes of a file; for a changed asset, that of the asset which it says it is."""
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.", repair="Check the path.") from None
    made = makers(store, digest)
    if made:
        return made[0]
    from karat.material.trust import origin as origins

    origin = origins.read(path.read_bytes()) or origins.read_sidecar(path)
    if origin is None:
        raise NotFoundError(
            f"The store did not make {path}, and the file does not say where it comes from.", repair="Give an id or an alias."
        )
    said = asset_of(store, origin.release, origin.asset)
    if said is None:
        raise NotFoundError(
            f"{path} says that it comes from release {origin.release[:12]}, which this store does not know.",
            repair="Give the store that made it with --store, or `karat show` the release's file first.",
        )
    return said


def asset_of(store: Store, release: str, asset: str) -> Record | None:
    """Give the record of an asset by what its file says of itself, else that of its release, if the store knows them."""
    for record in store.find("release", limit=10_000):
        if record.spec.get("digest") == release:
            own = (each for each in store.descendants(record.id) if each.kind == "asset" and each.facts.get("asset") == asset)
            return next(own, record)
    return None


def _a(kind: str) -> str:
    return f"an {kind}" if kind[0] in "aeo" else f"a {kind}"


def _source(spec: dict[str, Any], facts: dict[str, Any]) -> str:
    return f"{spec.get('name')}: {facts.get('samples', 0):,} samples, licence {spec.get('licence') or 'unknown'}"


def _base(spec: dict[str, Any], facts: dict[str, Any]) -> str:
    return f"{spec.get('name')}: {facts.get('architecture')}, licence {spec.get('licence') or 'unknown'}"


def _reward(spec: dict[str, Any], facts: dict[str, Any]) -> str:
    return f"{facts.get('verdicts', 0):,} verdicts, agrees with {facts.get('agrees', 0):.0%} of {facts.get('held_out', 0):,} held-out ones"


def _snapshot(spec: dict[str, Any], facts: dict[str, Any]) -> str:
    counts = ", ".join(f"{count:,} {name}" for name, count in facts.get("counts", {}).items())
    return f"{counts}; {facts.get('left_out', 0):,} left out"


def _run(spec: dict[str, Any], facts: dict[str, Any]) -> str:
    figures = facts.get("figures", {})
    given = f" given {', '.join(spec['given'])}" if spec.get("given") else ""
    return f"{spec['model']['family']['kind']}{given}, {figures.get('parameters', 0):,.0f} parameters, {figures.get('steps', 0):,.0f} steps"


def _evaluation(spec: dict[str, Any], facts: dict[str, Any]) -> str:
    figures = facts.get("figures", {})
    told = [f"{name} {figures[name]:.3g}" for name in TOLD if name in figures]
    return ", ".join([f"{spec.get('samples', 0):,} samples", *told])


def _export(spec: dict[str, Any], facts: dict[str, Any]) -> str:
    return f"{spec.get('to')} in {spec.get('precision')}, {facts.get('bytes', 0):,} bytes"


def _engine(spec: dict[str, Any], facts: dict[str, Any]) -> str:
    return f"{facts.get('chosen')} of {len(facts.get('engines', ()))}"


def _asset(spec: dict[str, Any], facts: dict[str, Any]) -> str:
    given = ", ".join(f"{name} {value}" for name, value in spec.get("given", {}).items())
    return ", ".join([*([given] if given else []), f"seed {spec.get('seed')}", f"index {spec.get('first')}"])


def _verdict(spec: dict[str, Any], facts: dict[str, Any]) -> str:
    said = {"prefer": f"prefers {spec.get('prefers')}", "tags": "tags"}.get(str(spec.get("judgement")), f"{spec.get('judgement')}")
    return ", ".join([said, *spec.get("tags", ()), f"by {spec.get('by')}"])


def _cost(spec: dict[str, Any], facts: dict[str, Any]) -> str:
    return f"{spec.get('part')}, {spec.get('seconds', 0.0):,.1f} s"
