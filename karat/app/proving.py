"""Prove where files come from: that this store made exactly these bytes, that a release is whole, that an asset can be made again."""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import karat
from karat.app.chain import MAKES, asset_of, find, makers, originality, show
from karat.store.placing import write_whole
from karat.store.records import Record
from karat.store.store import Store
from karat.words.errors import DamageError, DataError, KaratError, NotFoundError, ReleaseError
from karat.words.events import Event, Finished, Progress, Started
from karat.words.specs import Spec

State = Literal["proved", "claimed", "changed", "unknown"]


class Verification(Spec):
    """What can be proved of a file.

    proved: this store made exactly these bytes, or a release's signature and digests hold. claimed: the file says where it comes from, but
    this store cannot tell. changed: this store made it with other bytes, or a release was tampered with. unknown: it says nothing.
    """

    path: str
    state: State
    says: str
    record: str | None = None
    release: str | None = None


def verify_file(store: Store, path: Path) -> Verification:
    """Say what can be proved of an asset, a release or a file of an export. Raises DataError when there is nothing to read."""
    if path.is_dir() or path.suffix == ".karat":
        return _release(path)
    try:
        payload = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.", repair="Check the path.") from None
    records = [record for record in makers(store, hashlib.sha256(payload).hexdigest()) if record.kind in ("asset", "export")]
    if records:
        return Verification(
            path=str(path), state="proved", says=_made_by(store, records[0]), record=records[0].id, release=records[0].made_from[0]
        )
    return _stranger(store, path, payload)


def failure(found: Sequence[Verification]) -> KaratError | None:
    """Give the error to end with when a file is not proved."""
    wrong = [each for each in found if each.state != "proved"]
    if not wrong:
        return None
    repairs = {
        "changed": "Take the file from where it was made; `karat reproduce FILE` makes an asset again.",
        "claimed": "Verify it with the store that made it: --store.",
        "unknown": "Ask whoever gave it where it comes from.",
    }
    worst = next(state for state in ("changed", "unknown", "claimed") if any(each.state == state for each in wrong))
    return DamageError(f"{len(wrong):,} of {len(found):,} files {'is' if len(wrong) == 1 else 'are'} not proved.", repair=repairs[worst])


def reproduce_asset(store: Store, ref: str, out: Path) -> Iterator[Event]:
    """Make an asset again from its record. Ends with Finished; raises DataError when the bytes differ."""
    from karat.app.editing import edited_again
    from karat.app.generating import file_name, file_of
    from karat.app.releasing import load_release, open_release
    from karat.app.retouching import retouched_again
    from karat.app.writing import written_again
    from karat.work.exploring import directions_of, start_of
    from karat.work.generation import all_values, repeated
    from karat.work.requests import Request, request_of

    record = show(store, ref).record if Path(ref).is_file() else find(store, ref, "asset")
    if record.kind != "asset" or record.made is None:
        raise NotFoundError(f"{ref} is a {record.kind}, no asset.", repair=f"Give an asset's id or file, as `{MAKES['asset']}` names it.")
    _, release = open_release(store, record.made_from[0])
    ready, spec = load_release(release)
    yield Started(what="reproduction", total=1, unit="asset")
    if "prompt" in record.spec:
        single: Request
        single, payload = written_again(store, ready, record.spec)
    elif {"spans", "between", "toward"} & set(record.spec):
        single, payload = edited_again(store, ready, spec, record.spec)
    elif "picture" in record.spec:
        single, payload = retouched_again(store, ready, release, record.spec)
    else:
        single = request_of(record.spec)
        rows = repeated(ready.conditions(single.given), 1)
        values = all_values(ready.model, rows, [start_of(single, lambda: directions_of(ready))], single.sampling)
        payload = file_of(ready, values[0], release, single)
    yield Progress(done=1, total=1)
    if hashlib.sha256(payload).hexdigest() != record.made:
        raise DataError(
            f"Asset {record.id[:12]} came out differently.",
            repair=f"This is Karat {karat.__version__}; make it again with the version, the processor and the torch that made it.",
        )
    path = out / file_name(ready, release, single)
    write_whole(path, payload)
    yield Finished(what="reproduction", result=str(path), summary=f"The same {len(payload):,} bytes again: {path}")


def _release(path: Path) -> Verification:
    from karat.material.releases.release import Release

    try:
        release = Release.open(path)
    except ReleaseError as error:
        return Verification(path=str(path), state="changed", says=str(error))
    says = f"release {release.digest[:12]} {release.facts.get('title', '')}, signed by key {release.signer[:12]}"
    return Verification(path=str(path), state="proved", says=says, release=release.digest)


def _stranger(store: Store, path: Path, payload: bytes) -> Verification:
    """Say what a file that this store did not make, as it is, says of itself."""
    from karat.material.trust import origin as origins

    try:
        origin = origins.read(payload) or origins.read_sidecar(path)
    except DataError as error:
        return Verification(path=str(path), state="changed", says=str(error))
    if origin is None:
        return Verification(path=str(path), state="unknown", says="It does not say where it comes from.")
    known = asset_of(store, origin.release, origin.asset)
    if known is not None and known.kind == "asset":
        says = f"It was changed after asset {known.id[:12]} was made."
        return Verification(path=str(path), state="changed", says=says, record=known.id, release=origin.release)
    says = f"It says that release {origin.release[:12]} {origin.title} made it; this store has no such asset."
    return Verification(path=str(path), state="claimed", says=says, release=origin.release)


def _made_by(store: Store, made: Record) -> str:
    release = store.get(made.made_from[0])
    made_by = f"{made.kind} {made.id[:12]}, unchanged, made by release {release.id[:12]} {release.spec.get('title', '')}"
    return "; ".join(word for word in (made_by, originality(made)) if word)
