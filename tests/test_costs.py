"""What assets cost, added up, is what the meter says."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from shell import Shell

from karat.app import costs, verdicts
from karat.app.costs import Prices
from karat.app.verdicts import Verdict
from karat.store.queue import Job, Submission
from karat.store.store import Store
from karat.words.errors import KaratError, SpecError

HOUR = 3600.0
SECONDS = st.floats(0.01, 5000, allow_nan=False)


class World:
    """A store with a snapshot, a run of it and two releases, in which time goes on by itself."""

    def __init__(self, folder: Path) -> None:
        self.now = 0.0
        self.store = Store.open(folder, clock=lambda: self.now)
        self.snapshot = self.store.record("snapshot")
        self.run = self.store.record("run", made_from=[self.snapshot], facts={"figures": {}})
        self.releases = [self.store.record("release", made_from=[self.run], spec={"title": title}) for title in ("one", "two")]
        self.made = 0

    def job(self, kind: str, spec: dict[str, Any], seconds: float, *, result: Any = None, error: KaratError | None = None) -> Job:
        self.now += 1
        (job,) = self.store.queue.submit([Submission(kind=kind, owner="ann", spec=spec)])
        (held,) = self.store.queue.claim("w", kinds=[kind])
        self.store.queue.finish(held.claim, result=result, error=error, seconds=seconds)
        return job

    def generate(self, release: str, count: int, seconds: float) -> list[str]:
        ids = [self.store.record("asset", made_from=[release], spec={"seed": self.made + place}) for place in range(count)]
        self.made += count
        self.job("generate", {"release": release}, seconds, result={"assets": [{"asset": id} for id in ids]})
        return ids

    def review(self, asset: str, judgement: str, seconds: float) -> None:
        self.now += 1
        verdict = Verdict.from_values({"judgement": judgement, "by": "ann", "at": self.now, "seconds": seconds})
        verdicts.judge(self.store, [asset], verdict)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.tuples(st.integers(0, 1), st.integers(1, 4), SECONDS), max_size=5),
    st.lists(SECONDS, max_size=3),
    st.lists(SECONDS, max_size=2),
    st.floats(0, 10_000),
    st.floats(0.1, 50),
)
def test_costs_of_assets_add_up_to_the_meter(
    drawn: list[tuple[int, int, float]], failed: list[float], preparing: list[float], idle: float, price: float
) -> None:
    with TemporaryDirectory() as folder:
        world = World(Path(folder))
        costs.declare(world.store, Prices(device_hour=price, reviewer_hour=3 * price))
        world.job("train", {"snapshot": world.snapshot}, 1000.0, result={"id": world.run})
        made = [id for which, count, seconds in drawn for id in world.generate(world.releases[which], count, seconds)]
        for seconds in failed:
            world.job("generate", {"release": world.releases[0]}, seconds, error=SpecError("No.", repair="Yes."))
        for seconds in preparing:
            world.job("check", {"refs": [world.snapshot]}, seconds, result={"id": ""})
        for asset in made[::2]:
            world.review(asset, "accept", 30.0)
        busy = 1000.0 + sum(seconds for *_, seconds in drawn) + sum(failed) + sum(preparing)
        costs.enter_time_up(world.store, "w", seconds=busy + idle, at=world.now)
        meter = (busy + idle) / HOUR * price + len(made[::2]) * 30 / HOUR * 3 * price
        book = costs.ledger(world.store)
        carried = sum(sum(parts.values()) for parts in book.by_asset.values())
        assert carried + sum(book.unallocated.values()) == pytest.approx(meter, rel=0.01)
        assert book.meter == pytest.approx(meter)
        assert costs.settle(world.store) == 0, "a job is entered once"
        assert set(book.by_asset) == set(made)
        if all(any(which == side for which, *_ in drawn) for side in (0, 1)):
            assert not any(book.unallocated.values())
        by_release = [costs.value(world.store, release).cost for release in world.releases]
        assert sum(by_release) == pytest.approx(costs.value(world.store).cost)


def test_the_cost_per_accepted_asset_is_that_of_what_was_decided_on(tmp_path: Path) -> None:
    world = World(tmp_path)
    costs.declare(world.store, Prices(device_hour=3600.0, reviewer_hour=360.0, currency="EUR"))
    made = world.generate(world.releases[0], 10, 20.0)
    for place, asset in enumerate(made[:8]):
        world.review(asset, "accept" if place % 2 else "reject", 10.0)
    found = costs.value(world.store, world.releases[0])
    assert (found.assets, found.currency, found.states) == (10, "EUR", {"accepted": 4, "rejected": 4, "open": 2})
    assert found.per_asset is not None
    assert found.per_asset.value == pytest.approx((20 + 8) / 10)
    assert found.per_accepted is not None
    assert found.per_accepted.value == pytest.approx(8 * 3 / 4)
    assert found.per_accepted.low < 6 < (found.per_accepted.high or 1e9)
    assert found.reviewer_minutes == pytest.approx(80 / 60)
    assert found.parts == pytest.approx({"making": 20.0, "review": 8.0})
    assert costs.value(world.store, world.releases[1]).per_accepted is None


def test_an_entry_costs_what_held_at_its_time(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.generate(world.releases[0], 1, 36.0)
    costs.declare(world.store, Prices(device_hour=100.0, since=10.0))
    world.now = 20.0
    world.generate(world.releases[0], 1, 36.0)
    costs.declare(world.store, Prices(device_hour=1.0, since=30.0))
    assert costs.ledger(world.store).meter == pytest.approx(2.0), "the first prices hold for what was before"
    assert costs.prices(world.store, at=15.0).device_hour == 100.0
    assert costs.prices(world.store).device_hour == 1.0


def test_what_an_owner_spent_is_priced_as_of_its_time(tmp_path: Path) -> None:
    world = World(tmp_path)
    assert costs.spent(world.store, "ann").money == 0
    world.generate(world.releases[0], 1, 36.0)
    costs.declare(world.store, Prices(device_hour=100.0, currency="EUR"))
    world.now = 20.0
    costs.declare(world.store, Prices(device_hour=300.0, currency="EUR", since=10.0))
    world.generate(world.releases[0], 1, 36.0)
    world.store.queue.submit([Submission(kind="generate", owner="ann", spec={}, reserved=72.0)])
    found = costs.spent(world.store, "ann")
    assert found.money == pytest.approx(1.0 + 3.0 + 6.0), "what is reserved costs what holds now"
    assert (found.seconds, found.price, found.currency) == (144.0, 300 / HOUR, "EUR")
    assert costs.spent(world.store, "bob").seconds == 0


def test_the_command_line_says_what_an_accepted_asset_costs(done: Shell) -> None:
    done.well("prices", "--device-hour", 3600, "--reviewer-hour", 3600, "--currency", "EUR")
    assets = Store.open(done.store).find("asset")
    for asset in assets:
        done.well("verdict", asset.id, "--accept", "--seconds", 2)
    found = done.well("--json", "value", "shapes:live").lines[0]
    assert found["states"] == {"accepted": len(assets)}
    assert found["parts"]["training"] > 0, "the run was trained by the command line, which says how long"
    assert found["per_accepted"]["value"] == pytest.approx(found["per_asset"]["value"])
    assert found["parts"]["review"] == pytest.approx(2 * len(assets))
    told = done.well("value").out
    assert "per accepted asset" in told
    assert "EUR" in told
