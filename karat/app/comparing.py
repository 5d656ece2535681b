"""Releases beside each other: what each scored, and what changed from the one before. And the parts of a release that people read."""

from karat.app.chain import find
from karat.app.reports import ScoreLine, scores_of
from karat.material.releases.release import Release
from karat.store.records import Record
from karat.store.store import Store
from karat.words.errors import NotFoundError
from karat.words.specs import Spec


class Change(Spec):
    """A score of a release beside that of another; `better` where the intervals do not meet, else None."""

    score: ScoreLine
    before: ScoreLine | None = None
    better: bool | None = None


def before(store: Store, ref: str) -> str | None:
    """Give the release that was made before this one from the same sources, if there was one."""
    own = find(store, ref, "release")
    sources = _sources(store, own)
    older = [each for each in store.find("release", limit=1_000) if each.at < own.at and _sources(store, each) & sources]
    return max(older, key=lambda each: each.at).id if older else None


def _sources(store: Store, release: Record) -> set[str]:
    return {each.id for each in store.ancestry(release.id) if each.kind == "source"}


def changes(store: Store, ref: str, other: str | None = None) -> list[Change]:
    """Give the scores of a release, each beside that of the other release where it has one."""
    own = scores_of(store, evaluation_of(store, ref).id)
    known = {} if other is None else {(each.name, each.space): each for each in scores_of(store, evaluation_of(store, other).id)}
    up = {(s["name"], s["space"]): s["higher_is_better"] for s in evaluation_of(store, ref).facts["evaluation"]["scores"]}
    return [_change(each, known.get((each.name, each.space)), up[each.name, each.space]) for each in own]


def _change(score: ScoreLine, old: ScoreLine | None, higher_is_better: bool) -> Change:
    apart = old is not None and (score.low > old.high or score.high < old.low)
    better = (score.value > old.value) == higher_is_better if apart and old is not None else None
    return Change(score=score, before=old, better=better)


def evaluation_of(store: Store, ref: str) -> Record:
    """Give the evaluation that a release was made with. Raises NotFoundError for one that came from elsewhere."""
    for id in find(store, ref, "release").made_from:
        if (record := store.get(id)).kind == "evaluation":
            return record
    raise NotFoundError("This release was made elsewhere; its scores stand in its card.", repair="Read the card.")


def read_part(store: Store, ref: str, part: str) -> bytes:
    """Give a part of a release that people read: card.md, report.html or lineage.json."""
    record = find(store, ref, "release")
    if part not in ("card.md", "report.html", "report.json", "lineage.json"):
        raise NotFoundError(f"A release has no page {part[:40]!r}.", repair="Ask for card.md or report.html.")
    return Release.open(store.path(record.made or "")).read(part)


def release_file(store: Store, ref: str) -> tuple[str, str]:
    """Give the path of a release's file, and a name for it."""
    record = find(store, ref, "release")
    if record.made is None or not store.has(record.made):
        raise NotFoundError(f"The file of release {record.id[:12]} is gone.", repair="Release its run again.")
    return str(store.path(record.made)), f"{record.spec.get('title') or 'release'}-{record.id[:8]}.karat"
