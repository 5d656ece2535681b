"""Costs: what each asset took, such that what all assets took together is what the meter says.

Each job that ends is an entry on the chain: device seconds at the price of that time, made from what came of it. An entry about an asset
is that asset's; one about anything else (a run, a snapshot, a release, a job that failed on its way there) is shared equally by the assets
that descend from it. Review is the asset's that was looked at. What workers were up without an asset to show for it (idle, loading,
attempts that died) is shared by all assets in proportion to the rest. What has no assets yet is kept apart, never lost.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
from pydantic import Field

from karat.app.chain import find
from karat.app.verdicts import states
from karat.store.queue import ENDED, Job
from karat.store.records import Record
from karat.store.store import Store
from karat.words.errors import NotFoundError
from karat.words.specs import Spec

__all__ = ["Entry", "Ledger", "Prices", "Spent", "Value", "declare", "enter_time_up", "ledger", "prices", "settle", "spent", "value"]

MOST = 1_000_000
PAGE = 500
HOUR = 3600.0
RESAMPLES = 1000
PARTS = {"generate": "making", "write": "making", "edit": "making", "train": "training", "run": "training"}
"""The part of the cost that a kind of job is; all others are preparation."""


class Prices(Spec):
    """What an hour costs from `since` on."""

    device_hour: float = Field(0.0, ge=0)
    reviewer_hour: float = Field(0.0, ge=0)
    currency: str = Field("", max_length=8)
    since: float = 0.0


class Spent(Spec):
    """What an owner's jobs took and reserve, in seconds of device time and in money, and what a second costs now."""

    seconds: float
    money: float
    price: float
    currency: str


class Entry(Spec):
    """Device time that was spent: which part of the cost it is, by which job or worker."""

    part: str
    seconds: float = Field(ge=0)
    at: float
    job: str | None = None
    worker: str | None = None


class Ledger(Spec):
    """Money by asset and part of the cost, and what no asset carries yet. `device_seconds` and `reviewer_seconds` are the meter's."""

    by_asset: dict[str, dict[str, float]]
    unallocated: dict[str, float]
    device_seconds: float
    reviewer_seconds: float
    meter: float


class Estimate(Spec):
    """A figure with its 95 % bootstrap interval over assets; no `high` where too few were accepted to bound it."""

    value: float
    low: float
    high: float | None


class Value(Spec):
    """What the assets of a release, or all assets, cost and came to. The cost per accepted asset is of those that were decided on."""

    release: str | None
    currency: str
    assets: int
    states: dict[str, int]
    cost: float
    parts: dict[str, float]
    per_asset: Estimate | None
    per_accepted: Estimate | None
    reviewer_minutes: float
    device_hours: float
    unallocated: float


def declare(store: Store, wanted: Prices) -> Prices:
    """Let prices hold from `since` on."""
    store.record("prices", spec=wanted)
    return wanted


def prices(store: Store, *, at: float | None = None) -> Prices:
    """Give the prices that hold at a time, or now; the first that were declared hold for what was before, too."""
    return _held(_declared(store), at)


def _declared(store: Store) -> list[Prices]:
    return sorted((Prices.from_values(each.spec) for each in store.find("prices", limit=MOST)), key=lambda each: each.since)


def _held(declared: Sequence[Prices], at: float | None) -> Prices:
    held = [each for each in declared if at is None or each.since <= at]
    return held[-1] if held else next(iter(declared), Prices())


def spent(store: Store, owner: str) -> Spent:
    """Say what an owner's jobs took, each at the price of the time when it ended, and reserve at the price of now."""
    declared = _declared(store)
    changes = [each.since for each in declared[1:]]  # the first ones hold for what was before, too
    seconds = [
        store.queue.spent(owner, since=since, until=until) for since, until in zip([-math.inf, *changes], [*changes, math.inf], strict=True)
    ]
    held = declared or [Prices()]
    money = sum(some * each.device_hour for some, each in zip(seconds, held, strict=True)) / HOUR
    return Spent(seconds=sum(seconds), money=money, price=held[-1].device_hour / HOUR, currency=held[-1].currency)


def enter_time_up(store: Store, worker: str, *, seconds: float, at: float) -> str:
    """Enter that a worker was up for some more seconds, whatever it did."""
    return store.record("cost", spec=Entry(part="up", seconds=seconds, at=at, worker=worker))


def settle(store: Store) -> int:
    """Enter the jobs that have ended and are not entered yet; give how many. Doing it twice enters nothing twice."""
    known = {record.spec["job"] for record in store.find("cost", limit=MOST)}
    new = [job for job in _ended(store) if job.id not in known and job.seconds > 0]
    for job in new:
        part = PARTS.get(job.kind, "preparation") if job.state == "done" else "failed"
        entry = Entry(part=part, seconds=job.seconds, at=job.ended or 0.0, job=job.id)
        store.record("cost", made_from=list(_came_of(store, job)), spec=entry)
    return len(new)


def _ended(store: Store) -> Iterator[Job]:
    before: int | None = None
    while page := store.queue.latest(before=before, limit=PAGE):
        yield from (job for job in page if job.state in ENDED)
        before = page[-1].number


def _came_of(store: Store, job: Job) -> Iterable[str]:
    """Give the records that a job's cost is shared by: what it made, else what it was asked to work on, else nothing."""
    result = job.result or {}
    assets = [each["asset"] for each in (*result.get("assets", ()), *result.get("texts", ()))]
    made = assets or [None if job.kind in ("check", "plan") else result.get("id")]
    asked = [job.spec.get(name) for name in ("release", "run", "snapshot")] + list(job.spec.get("refs", ()))
    for refs in (made, asked):
        found = [record.id for ref in refs if ref and (record := _record(store, str(ref))) is not None]
        if found:
            return dict.fromkeys(found)
    return []


def _record(store: Store, ref: str) -> Record | None:
    try:
        return store.get(ref)
    except NotFoundError:
        return None


def ledger(store: Store) -> Ledger:
    """Give the cost of every asset. Settles first."""
    settle(store)
    declared = _declared(store)
    book = _Book(store)
    entries = store.find("cost", limit=MOST, newest_first=False)
    spent, up, seconds_up = 0.0, 0.0, 0.0
    for record in entries:
        entry = Entry.from_values(record.spec)
        money = entry.seconds / HOUR * _held(declared, entry.at).device_hour
        if entry.part == "up":
            up, seconds_up = up + money, seconds_up + entry.seconds
        else:
            spent += money
            book.share(record.made_from, entry.part, money)
    device = sum(record.spec["seconds"] for record in entries if record.spec["part"] != "up")
    for run in _trained_elsewhere(store, entries):
        seconds = float(run.facts["figures"].get("seconds", 0.0))
        device += seconds
        book.share([run.id], "training", seconds / HOUR * _held(declared, run.at).device_hour)
    reviewed = 0.0
    for verdict in store.find("verdict", limit=MOST, newest_first=False):
        seconds = verdict.spec["seconds"] or 0.0
        reviewed += seconds
        book.share(verdict.made_from, "review", seconds / HOUR * _held(declared, verdict.spec["at"]).reviewer_hour)
    book.spread("idle", max(0.0, up - spent))
    return Ledger(
        by_asset={asset: dict(parts) for asset, parts in book.by_asset.items()},
        unallocated=dict(book.unallocated),
        device_seconds=max(device, seconds_up),
        reviewer_seconds=reviewed,
        meter=book.total,
    )


def _trained_elsewhere(store: Store, entries: Sequence[Record]) -> list[Record]:
    """Give the runs that no job trained: the command line did, and the run itself says how long."""
    entered = {parent for record in entries if record.spec["part"] == "training" for parent in record.made_from}
    return [run for run in store.find("run", limit=MOST) if run.id not in entered]


class _Book:
    """Money as it is shared out. What it was given is `total`, whoever carries it."""

    def __init__(self, store: Store) -> None:
        self.store, self.total = store, 0.0
        self.by_asset: dict[str, dict[str, float]] = {
            record.id: defaultdict(float) for record in store.find("asset", limit=MOST, newest_first=False)
        }
        self.unallocated: dict[str, float] = defaultdict(float)
        self._below: dict[str, list[str]] = {}

    def share(self, records: Sequence[str], part: str, money: float) -> None:
        """Share money equally by records, and each one's part by the assets that descend from it."""
        self.total += money
        if not records:
            self.unallocated[part] += money
        for record in records:
            assets = self._assets(record)
            for asset in assets if money else ():
                self.by_asset[asset][part] += money / len(records) / len(assets)
            if not assets:
                self.unallocated[part] += money / len(records)

    def spread(self, part: str, money: float) -> None:
        """Share money by all assets, in proportion to what they carry; equally where that is nothing."""
        self.total += money
        carried = {asset: sum(parts.values()) for asset, parts in self.by_asset.items()}
        whole = sum(carried.values())
        for asset, own in carried.items() if money else ():
            self.by_asset[asset][part] += money * (own / whole if whole else 1 / len(carried))
        if money and not carried:
            self.unallocated[part] += money

    def _assets(self, record: str) -> list[str]:
        if record in self.by_asset:
            return [record]
        if record not in self._below:
            self._below[record] = [each.id for each in self.store.descendants(record) if each.kind == "asset"]
        return self._below[record]


def value(store: Store, ref: str | None = None, *, seed: int = 0) -> Value:
    """Say what the assets of a release, or of all, cost and came to."""
    release = None if ref is None else find(store, ref, "release").id
    book, judged = ledger(store), states(store)
    own = [asset.id for asset in store.find("asset", limit=MOST) if release is None or release in asset.made_from]
    costs = {asset: sum(book.by_asset[asset].values()) for asset in own}
    decided = [asset for asset in own if judged.get(asset, "open") not in ("open", "disputed")]
    useful = [float(judged[asset] in ("accepted", "edited")) for asset in decided]
    parts: dict[str, float] = defaultdict(float)
    for asset in own:
        for part, money in book.by_asset[asset].items():
            parts[part] += money
    verdicts = _verdicts_by_asset(store)
    return Value(
        release=release,
        currency=prices(store).currency,
        assets=len(own),
        states=dict(Counter(judged.get(asset, "open") for asset in own)),
        cost=sum(costs.values()),
        parts=dict(parts),
        per_asset=_ratio(list(costs.values()), [1.0] * len(own), seed),
        per_accepted=_ratio([costs[asset] for asset in decided], useful, seed),
        reviewer_minutes=sum(verdicts.get(asset, 0.0) for asset in own) / 60,
        device_hours=book.device_seconds / HOUR,
        unallocated=sum(book.unallocated.values()),
    )


def _verdicts_by_asset(store: Store) -> Mapping[str, float]:
    seconds: dict[str, float] = defaultdict(float)
    for verdict in store.find("verdict", limit=MOST):
        for asset in verdict.made_from:
            seconds[asset] += (verdict.spec["seconds"] or 0.0) / len(verdict.made_from)
    return seconds


def _ratio(costs: Sequence[float], counts: Sequence[float], seed: int) -> Estimate | None:
    """Give the sum of costs for each one that counts, with its bootstrap interval over assets; None where none counts."""
    if not sum(counts):
        return None
    cost, count = np.array(costs), np.array(counts)
    generator, ratios = np.random.default_rng(seed), np.full(RESAMPLES, np.inf)
    for number in range(RESAMPLES):
        draw = generator.integers(len(cost), size=len(cost))
        if (below := count[draw].sum()) > 0:
            ratios[number] = cost[draw].sum() / below
    low, high = np.quantile(ratios, (0.025, 0.975), method="nearest")
    return Estimate(value=float(cost.sum() / count.sum()), low=float(low), high=None if np.isinf(high) else float(high))
