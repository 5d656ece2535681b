"""Verdicts stand on the chain; agreement and preference are those of the published examples."""

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from shell import Shell

from karat.app import verdicts
from karat.app.verdicts import Gold, Verdict
from karat.material.metrics.agreement import agreement, standings
from karat.store.store import Store
from karat.words.errors import DataError, SpecError

FOUR = ("123321412...", "1233224125.3", ".3332342251.", "12332441251.")
BASEBALL = {
    "Milwaukee": (0, 7, 9, 7, 7, 9, 11),
    "Detroit": (6, 0, 7, 5, 11, 9, 9),
    "Toronto": (4, 6, 0, 7, 7, 8, 12),
    "New York": (6, 8, 6, 0, 6, 7, 10),
    "Boston": (6, 2, 6, 7, 0, 7, 12),
    "Cleveland": (4, 4, 5, 6, 6, 0, 6),
    "Baltimore": (2, 4, 1, 3, 1, 7, 0),
}
"""Wins over each other in the American League East of 1987 (A. Agresti, Categorical Data Analysis)."""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Give a store with two releases that made eight assets each, under the same requests."""
    store = Store.open(tmp_path)
    for title in ("one", "two"):
        release = store.record("release", spec={"title": title, "digest": title})
        for seed in range(8):
            store.record("asset", made_from=[release], spec={"seed": seed, "first": 0, "given": {}, "sampling": {}})
    return store


def said(judgement: str, by: str = "ann", at: float = 1.0, **more: object) -> Verdict:
    return Verdict.from_values({"judgement": judgement, "by": by, "at": at, **more})


def assets(store: Store) -> list[str]:
    return [record.id for record in store.find("asset", newest_first=False)]


def units(rows: list[str]) -> list[list[str]]:
    return [[value for value in unit if value != "."] for unit in zip(*rows, strict=True)]


def test_alpha_is_that_of_the_published_examples() -> None:
    """K. Krippendorff 2011, sections A to D: two observers, binary and nominal; four observers with gaps, nominal and ordinal."""
    four = units(list(FOUR))
    for rows, scale, level, expected in (
        (units(["0100000010", "1110010000"]), "01", "nominal", 0.095),
        (units(["aabbdcccedda", "babbbccceddd"]), "abcde", "nominal", 0.692),
        (four, "12345", "nominal", 0.743),
        (four, "12345", "ordinal", 0.815),
    ):
        found = agreement(rows, scale=scale, level=level, seed=0)  # type: ignore[arg-type]
        assert found.alpha == pytest.approx(expected, abs=5e-4)
        assert found.low <= found.alpha <= found.high


@given(st.lists(st.lists(st.sampled_from("abc"), min_size=2, max_size=4), min_size=2, max_size=6))
def test_alpha_is_one_where_all_agree_and_the_same_in_any_order(rows: list[list[str]]) -> None:
    assert agreement([[row[0]] * 3 for row in rows], scale="abc", level="ordinal", seed=0, resamples=5).alpha == pytest.approx(1)
    backwards = [row[::-1] for row in rows[::-1]]
    one, other = (agreement(each, scale="abc", level="nominal", seed=0, resamples=5).alpha for each in (rows, backwards))
    assert one == pytest.approx(other)


def test_strengths_are_those_of_the_published_example() -> None:
    """Maximum likelihood; the interval between two teams' difference is that of the published standard error."""
    teams = list(BASEBALL)
    won = {(a, b, "first"): times for a in teams for b, times in zip(teams, BASEBALL[a], strict=True) if times}
    found = {each.name: each for each in standings(won, prior=math.inf)}  # type: ignore[arg-type]
    expected = (1.5814, 1.4364, 1.2945, 1.2476, 1.1077, 0.6839, 0.0)
    assert [found[team].strength - found["Baltimore"].strength for team in teams] == pytest.approx(expected, abs=1e-4)
    assert all(each.low < each.strength < each.high and each.compared == 78 for each in found.values())


def test_ties_are_davidsons() -> None:
    """With the counts that the model expects, its strengths come back: 600 : 200 is a ratio of three, whatever the ties."""
    found = standings({("a", "b", "first"): 600, ("a", "b", "second"): 200, ("a", "b", "tie"): 300}, prior=math.inf)
    assert found[0].name == "a"
    assert found[0].strength - found[1].strength == pytest.approx(math.log(3), abs=1e-6)
    always = standings({("a", "b", "first"): 10})
    assert 0 < always[0].strength < 3


def test_the_last_word_of_each_reviewer_counts(store: Store) -> None:
    asset, other, third, *_ = assets(store)
    for at, (by, judgement) in enumerate([("ann", "reject"), ("ann", "accept"), ("bob", "accept"), ("cem", "reject")]):
        verdicts.judge(store, [asset], said(judgement, by, at))
    verdicts.judge(store, [other], said("accept"))
    verdicts.judge(store, [other], said("edit", "bob", seconds=30.0))
    verdicts.judge(store, [third], said("tags", tags=("blurred",)))
    assert verdicts.states(store) == {asset: "accepted", other: "disputed"}
    assert [each.judgement for each in verdicts.verdicts_of(store, asset)] == ["reject", "accept", "accept", "reject"]
    assert {record.kind for record in store.ancestry(store.find("verdict")[0].id)} == {"asset", "release"}
    assert verdicts.agreed(store).units == 2


def test_a_verdict_that_makes_no_sense_is_refused(store: Store) -> None:
    one, two, *_ = assets(store)
    for refs, verdict in (
        ([one], said("prefer", prefers="first")),
        ([one, two], said("prefer")),
        ([one, two], said("accept")),
        ([one], said("accept", prefers="tie")),
        ([one], said("tags")),
    ):
        with pytest.raises(SpecError):
            verdicts.judge(store, refs, verdict)
    with pytest.raises(DataError):
        verdicts.agreed(store)
    with pytest.raises(DataError):
        verdicts.preferred(store)


def test_a_queue_is_of_ones_own_and_has_gold_in_it(store: Store) -> None:
    golden = assets(store)[3]
    verdicts.mark_gold(store, golden, Gold(expected="accept", by="lead", at=1.0))
    verdicts.mark_gold(store, golden, Gold(expected="reject", by="lead", at=2.0))
    assert verdicts.gold_of(store, golden) == "reject"
    queue = verdicts.to_review(store, "ann", seed=1)
    assert sorted(queue) == sorted(assets(store))
    assert golden in queue[:10]
    places = {verdicts.to_review(store, by, seed=1).index(golden) for by in "abcdefgh"}
    assert len(places) > 3, "nobody can count to it"
    assert queue == verdicts.to_review(store, "ann", seed=1)
    assert queue != verdicts.to_review(store, "bob", seed=1)
    verdicts.judge(store, [queue[0]], said("accept", position=0))
    assert verdicts.to_review(store, "ann", seed=1) == queue[1:]
    verdicts.judge(store, [golden], said("reject"))
    verdicts.judge(store, [golden], said("accept", "bob"))
    assert [(line.by, line.right, line.judged) for line in verdicts.gold(store)] == [("ann", 1, 1), ("bob", 0, 1)]
    verdicts.mark_gold(store, golden, Gold(expected=None, by="lead", at=3.0))
    assert verdicts.gold(store) == []
    assert verdicts.gold_of(store, golden) is None


def test_gold_items_come_among_others_or_not_at_all(store: Store) -> None:
    every = assets(store)
    for at, asset in enumerate(every[:6]):
        verdicts.mark_gold(store, asset, Gold(expected="accept", by="lead", at=at))
    queue = verdicts.to_review(store, "ann")
    assert len(queue) in (11, 12), "ten others, and a gold item for each ten begun"
    for asset in [id for id in queue if id not in every[:6]]:
        verdicts.judge(store, [asset], said("accept"))
    assert verdicts.to_review(store, "ann") == [], "nothing but gold would give it away"


def test_pairs_are_blind_and_of_one_request(store: Store) -> None:
    two, one = (record.id for record in store.find("release"))
    found = verdicts.pairs(store, "ann", (one, two), seed=3)
    assert len(found) == 8
    first = [store.get(pair.first).made_from[0] for pair in found]
    assert {one, two} == set(first)
    for pair in found:
        assert store.get(pair.first).spec == store.get(pair.second).spec
        better = "first" if store.get(pair.first).made_from[0] == two else "second"
        verdicts.judge(store, [pair.first, pair.second], said("prefer", prefers=better))
    assert verdicts.pairs(store, "ann", (one, two), seed=3) == []
    for pair in verdicts.pairs(store, "bob", (one, two), seed=3):
        better = "first" if store.get(pair.first).made_from[0] == two else "second"
        verdicts.judge(store, [pair.first, pair.second], said("prefer", "bob", prefers=better))
    assert verdicts.agreed_on_pairs(store).alpha == pytest.approx(1), "wherever each stood"
    assert verdicts.agreed_on_pairs(store).units == 8
    best, worst = verdicts.preferred(store)
    assert (best.name, worst.name, best.compared) == (two, one, 16)
    with pytest.raises(SpecError):
        verdicts.pairs(store, "ann", (one, one))


def test_the_command_line_says_what_can_be_used(done: Shell) -> None:
    store = Store.open(done.store)
    asset = assets(store)[0]
    assert done.well("--json", "verdict", asset[:12], "--accept", "--by", "ann", "--seconds", 4, "--tag", "crisp").lines[0][
        "made_from"
    ] == [asset]
    assert "accept, crisp, by ann" in done.well("show", asset).out
    assert "no verdict" in done.refused("verdict", asset, "--accept", "--reject")
