"""The story of one asset: what it came from, what its file says of itself, what it resembles, what people said of it."""

from itertools import islice

from karat.app.assets import AssetLine
from karat.app.assets import asset as line_of
from karat.app.chain import Link, find, links
from karat.app.verdicts import Verdict, verdicts_of
from karat.material.data.samples import Sample
from karat.material.data.snapshots import Snapshot
from karat.material.trust import origin
from karat.store.store import Store
from karat.words.specs import Spec


class Story(Spec):
    """An asset with its chain, nearest first. `labelled`: its file says that it was generated, by which release and from which seed."""

    line: AssetLine
    blob: str | None
    title: str
    came_from: tuple[Link, ...]
    verdicts: tuple[Verdict, ...]
    whole: bool
    labelled: bool
    copied: bool | None
    nearest: str | None
    nearest_blob: str | None
    shared: str = ""
    """The longest span that a text shares with the nearest one."""


def story(store: Store, id: str) -> Story:
    """Tell the story of an asset. Raises NotFoundError."""
    record = find(store, id, "asset")
    release = store.get(record.made_from[0])
    is_here = record.made is not None and store.has(record.made)
    payload = store.read(record.made or "") if is_here else b""
    judged = record.facts.get("originality") or {}
    sample = _sample(store, record.id, judged["nearest"], judged["row"]) if "row" in judged else None
    return Story(
        line=line_of(store, record.id),
        blob=record.made if is_here else None,
        title=str(release.spec.get("title") or release.id[:12]),
        came_from=links(store.ancestry(record.id)),
        verdicts=tuple(verdicts_of(store, record.id)),
        whole=is_here,
        labelled=is_here and origin.read(payload) is not None,
        copied=judged.get("copied"),
        nearest=judged.get("nearest"),
        nearest_blob=None if sample is None else sample.blob,
        shared=payload.decode("utf-8", "replace")[slice(*judged["at"])] if "at" in judged else "",
    )


def _sample(store: Store, asset: str, name: str, row: int) -> Sample | None:
    """Give the training sample of a name, which stood at a row of the training part, if its snapshot is here."""
    for record in store.ancestry(asset):
        if record.kind == "snapshot":
            found = next(islice(Snapshot.open(store, record.id).samples("train"), row, None), None)
            if found is not None and found.name == name:
                return found
    return None
