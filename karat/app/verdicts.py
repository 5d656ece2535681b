"""Verdicts: what people say of assets, each a record on the chain, and what all of them say together.

Who reviews sees assets in an order of their own, drawn from a seed; of two that are compared, which stands first is drawn as well, and
nobody is told which release made it. Gold items are assets whose right verdict is known; they stand among the others unmarked, one at a
drawn place among each ten, and only administrators see who judged them how.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import count, islice
from typing import Any, Literal

from pydantic import Field

from karat.app.chain import find
from karat.material.metrics.agreement import Agreement, Outcome, Standing, agreement, standings
from karat.store.assets import Wanted
from karat.store.records import Record
from karat.store.store import Store
from karat.words.errors import SpecError
from karat.words.specs import Spec, digest_of

__all__ = [
    "Agreement",
    "Gold",
    "GoldLine",
    "Pair",
    "Standing",
    "State",
    "Verdict",
    "agreed",
    "agreed_on_pairs",
    "gold",
    "gold_of",
    "judge",
    "mark_gold",
    "pairs",
    "preferred",
    "state_of",
    "states",
    "to_review",
    "verdicts_of",
]

Judgement = Literal["accept", "reject", "edit", "tags", "prefer"]
State = Literal["accepted", "rejected", "edited", "disputed", "open"]
DECIDING = {"reject": "rejected", "edit": "edited", "accept": "accepted"}
"""Judgements that decide, from the worst to the best, and the state of an asset that they lead to."""
MOST = 1_000_000
LOOKED_AT = 2_000
"""The newest assets, among which a queue is drawn."""
TEN = 10
"""Assets among which one is a gold item."""


class Verdict(Spec):
    """One judgement. `prefer` is about two assets in the order in which they were shown, all others about one.

    `seconds` is how long it took, `shown` what stood beside the asset, `position` its place in the queue.
    """

    judgement: Judgement
    by: str = Field(min_length=1, max_length=100)
    at: float
    shown: tuple[str, ...] = ()
    position: int | None = Field(None, ge=0)
    seconds: float | None = Field(None, ge=0)
    tags: tuple[str, ...] = ()
    note: str = Field("", max_length=4_000)
    prefers: Outcome | None = None
    edited: str | None = Field(None, description="the record of the asset as it was edited")


class Pair(Spec):
    """Two assets to be compared, in the order in which they are to be shown."""

    first: str
    second: str


class Gold(Spec):
    """An asset's right verdict, by who knows it; None: it is no gold item any more."""

    expected: Literal["accept", "reject", "edit"] | None
    by: str = Field(min_length=1, max_length=100)
    at: float


class GoldLine(Spec):
    """How one reviewer judged the gold items."""

    by: str
    right: int
    judged: int


def judge(store: Store, refs: Sequence[str], verdict: Verdict) -> str:
    """Put a verdict on the chain, and give its record. Raises SpecError where it does not fit the number of assets."""
    assets = [find(store, ref, "asset").id for ref in refs]
    wanted = 2 if verdict.judgement == "prefer" else 1
    if len(assets) != wanted or (verdict.prefers is None) == (wanted == 2):
        raise SpecError(
            f"{verdict.judgement!r} is about {'two assets' if wanted == 2 else 'one asset'}.",
            repair="Judge one asset, or say which of two is preferred: first, second or tie.",
        )
    if verdict.judgement == "tags" and not verdict.tags:
        raise SpecError("There are no tags in this verdict.", repair="Give at least one tag, or accept, reject or edit.")
    return store.record("verdict", made_from=assets, spec=verdict)


def verdicts_of(store: Store, asset: str) -> list[Verdict]:
    """Give what was said of one asset, oldest first."""
    told = [Verdict.from_values(each.spec) for each in store.descendants(asset) if each.kind == "verdict"]
    return sorted(told, key=lambda verdict: verdict.at)


def states(store: Store) -> dict[str, State]:
    """Give for each asset that was judged what its reviewers say together: each one's last word counts, and most words win."""
    return {asset: _state(words) for asset, words in _last_words(store).items()}


def state_of(store: Store, asset: str) -> State:
    """Give what the reviewers of one asset say together."""
    words = {said.by: said.judgement for said in verdicts_of(store, asset) if said.judgement in DECIDING}
    return _state(words) if words else "open"


def _state(words: Mapping[str, str]) -> State:
    counts = Counter(words.values()).most_common(2)
    return "disputed" if len(counts) > 1 and counts[0][1] == counts[1][1] else _decided(counts[0][0])


def _decided(judgement: str) -> Any:
    return DECIDING[judgement]


def _last_words(store: Store) -> dict[str, dict[str, str]]:
    """Give for each asset the last deciding judgement of each reviewer."""
    words: dict[str, dict[str, str]] = {}
    for record in sorted(_records(store), key=lambda record: record.spec["at"]):
        if record.spec["judgement"] in DECIDING:
            words.setdefault(record.made_from[0], {})[record.spec["by"]] = record.spec["judgement"]
    return words


def _records(store: Store) -> list[Record]:
    return store.find("verdict", limit=MOST, newest_first=False)


def mark_gold(store: Store, ref: str, known: Gold) -> str:
    """Let an asset be a gold item: reviewers are expected to judge it so. The last word counts."""
    return store.record("gold", made_from=[find(store, ref, "asset").id], spec=known)


def gold_of(store: Store, ref: str) -> str | None:
    """Give how reviewers are expected to judge an asset; None where it is no gold item."""
    return _gold(store).get(find(store, ref, "asset").id)


def gold(store: Store) -> list[GoldLine]:
    """Say how each reviewer judged the gold items."""
    expected, words = _gold(store), _last_words(store)
    right, judged = Counter[str](), Counter[str]()
    for asset, wanted in expected.items():
        for by, said in words.get(asset, {}).items():
            judged[by] += 1
            right[by] += said == wanted
    return [GoldLine(by=by, right=right[by], judged=judged[by]) for by in sorted(judged)]


def _gold(store: Store) -> dict[str, str]:
    """Give the gold items, each with the verdict that is expected."""
    said = sorted(store.find("gold", limit=MOST), key=lambda record: record.spec["at"])
    last = {record.made_from[0]: record.spec["expected"] for record in said}
    return {asset: expected for asset, expected in last.items() if expected is not None}


def to_review(store: Store, by: str, *, release: str | None = None, seed: int = 0, limit: int = 50) -> list[str]:
    """Give the assets that somebody has not decided on yet, in an order drawn from the seed, a gold item among each ten."""
    words, known_gold = _last_words(store), _gold(store)
    ordinary = _drawn((id for id in _newest(store, release) if id not in known_gold and by not in words.get(id, {})), [seed, by])
    own_gold = _drawn((id for id in known_gold if by not in words.get(id, {})), [seed, by])
    done = sum(by in said for said in words.values())
    return _among(ordinary, own_gold, done, [seed, by])[:limit]


def _among(ordinary: Sequence[str], known: Sequence[str], done: int, seed: Sequence[Any]) -> list[str]:
    """Let a gold item stand at a drawn place of each ten that a reviewer judges, `done` of which are behind; none where nothing is left."""
    found: list[str] = []
    rest, golden = iter(ordinary), iter(known)
    for place in count(done) if ordinary else ():
        ten, within = divmod(place, TEN)
        due = int(digest_of([*seed, "gold", ten])[:8], 16) % TEN
        id = (next(golden, None) if within == due else None) or next(rest, None)
        if id is None:
            return [*found, *islice(golden, within < due)]
        found.append(id)
    return found


def pairs(store: Store, by: str, releases: tuple[str, str], *, seed: int = 0, limit: int = 50) -> list[Pair]:
    """Give blind pairs of what two releases made under the same request, or else at random; those that somebody has judged are left out."""
    ids = [find(store, ref, "release").id for ref in releases]
    if ids[0] == ids[1]:
        raise SpecError("Both sides are the same release.", repair="Choose two releases.")
    made = [{_request(store, id): id for id in _drawn(_newest(store, release), [seed])} for release in ids]
    alike = [(made[0][request], made[1][request]) for request in made[0] if request in made[1]]
    found = alike or list(zip(made[0].values(), made[1].values(), strict=False))
    judged = {frozenset(r.made_from) for r in _records(store) if r.spec["judgement"] == "prefer" and r.spec["by"] == by}
    left = [pair for pair in found if frozenset(pair) not in judged]
    order = sorted(left, key=lambda pair: digest_of([seed, by, *pair]))
    turned = [pair if int(digest_of([seed, "side", by, *pair])[:8], 16) % 2 else pair[::-1] for pair in order]
    return [Pair(first=first, second=second) for first, second in turned[:limit]]


def _request(store: Store, asset: str) -> str:
    return digest_of(store.get(asset).spec)


def _newest(store: Store, release: str | None) -> list[str]:
    id = None if release is None else find(store, release, "release").id
    return [asset for _, asset in store.assets.search(Wanted(release=id), limit=LOOKED_AT)]


def _drawn(ids: Iterable[str], seed: Sequence[Any]) -> list[str]:
    """Give ids in an order drawn from a seed, which does not change when others come or go."""
    return sorted(ids, key=lambda id: digest_of([*seed, id]))


def agreed(store: Store, *, seed: int = 0) -> Agreement:
    """Say how far reviewers agree whether to reject, edit or accept, in this order. Raises DataError where nobody judged the same."""
    units = [list(words.values()) for words in _last_words(store).values()]
    return agreement(units, scale=tuple(DECIDING), level="ordinal", seed=seed)


def agreed_on_pairs(store: Store, *, seed: int = 0) -> Agreement:
    """Say how far reviewers agree which of two is better, wherever each one stood. Raises DataError where nobody judged the same pair."""
    words: dict[frozenset[str], dict[str, str]] = {}
    for record in sorted(_records(store), key=lambda record: record.spec["at"]):
        if record.spec["judgement"] == "prefer":
            one, other = record.made_from
            better = {"first": one, "second": other, "tie": "tie"}[record.spec["prefers"]]
            side = better if better == "tie" else ("one", "other")[better != min(one, other)]
            words.setdefault(frozenset((one, other)), {})[record.spec["by"]] = side
    units = [list(said.values()) for said in words.values()]
    return agreement(units, scale=("one", "tie", "other"), level="ordinal", seed=seed)


def preferred(store: Store, *, thing_of: Callable[[Record], str] | None = None) -> list[Standing]:
    """Say what is preferred, by all comparisons: releases, or what `thing_of` gives for an asset. Raises DataError where there are none."""
    return standings(Counter(_outcomes(store, thing_of or (lambda asset: asset.made_from[0]))))


def _outcomes(store: Store, thing_of: Callable[[Record], str]) -> Iterator[tuple[str, str, Outcome]]:
    for record in _records(store):
        if record.spec["judgement"] == "prefer":
            first, second = (thing_of(store.get(asset)) for asset in record.made_from)
            if first != second:
                yield first, second, record.spec["prefers"]
