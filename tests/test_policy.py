"""What the house demands is kept to, wherever something leaves, and who changed what stands there for good."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from karat.app import policy
from karat.app.chain import find
from karat.app.exporting import export_release
from karat.app.lots import Lots
from karat.app.policy import Policy, PolicyError
from karat.app.releasing import release_run
from karat.app.verdicts import Verdict, judge
from karat.store.calls import Call
from karat.store.store import Store

DAY = 86_400.0


@pytest.fixture
def store(chain: Path, tmp_path: Path) -> Iterator[Store]:
    shutil.copytree(chain / "store", tmp_path / "store", symlinks=True)
    store = Store.open(tmp_path / "store")
    yield store
    store.close()


def declare(store: Store, at: float = 1.0, **demands: object) -> None:
    policy.declare_policy(store, Policy.from_values({**demands, "by": "Ann", "since": at}))


def test_a_policy_has_a_history(store: Store) -> None:
    assert policy.policy(store) == Policy()
    assert policy.policy_history(store) == []
    declare(store, 1.0, reviewed=True)
    declare(store, 2.0, reviewed=True, licences=("CC0-1.0",))
    declare(store, 3.0, licences=("CC0-1.0",))
    assert policy.policy(store).licences == ("CC0-1.0",)
    told = [(each.at, each.by, each.name, each.after) for each in policy.policy_history(store)]
    assert told == [(3.0, "Ann", "reviewed", False), (2.0, "Ann", "licences", ("CC0-1.0",)), (1.0, "Ann", "reviewed", True)]


def test_a_licence_that_is_not_allowed_stands_in_no_release(store: Store, tmp_path: Path) -> None:
    release = find(store, "latest", "release").id
    declare(store, licences=("CC-BY-4.0",))
    with pytest.raises(PolicyError, match=r"CC0-1\.0.*CC-BY-4\.0"):
        next(release_run(store, "latest"))
    with pytest.raises(PolicyError):
        policy.check_release(store, release)
    with pytest.raises(PolicyError):
        list(export_release(store, release, tmp_path / "out", to="onnx"))
    assert not (tmp_path / "out").exists()
    declare(store, 2.0, licences=("CC-BY-4.0", "CC0-1.0"))
    policy.check_release(store, release)
    policy.check_licences(store, ["CC0-1.0"])
    with pytest.raises(PolicyError, match="unknown"):
        policy.check_licences(store, ["unknown"])


def test_a_release_must_bring_the_index_by_which_copies_are_noticed(store: Store) -> None:
    policy.check_parts(store, ["card.md"])
    declare(store, original=True)
    policy.check_parts(store, ["card.md", "originality.safetensors"])
    with pytest.raises(PolicyError, match="no index"):
        policy.check_parts(store, ["card.md"])


def test_a_file_leaves_once_its_reviewers_have_accepted_it(store: Store) -> None:
    asset = store.find("asset")[0].id
    file, media_type = policy.given_out(store, asset)
    assert (file[:4], media_type) == (b"\x89PNG", "image/png")
    declare(store, reviewed=True)
    with pytest.raises(PolicyError, match="accepted"):
        policy.given_out(store, asset)
    with pytest.raises(PolicyError, match="before it leaves"):
        policy.check_answer(store)
    for at, judgement in enumerate(("accept", "edit", "accept")):
        judge(store, [asset], Verdict.from_values({"judgement": judgement, "by": "ann", "at": at}))
        if judgement == "edit":
            with pytest.raises(PolicyError):
                policy.given_out(store, asset)
    assert policy.given_out(store, asset)[0] == file


def test_a_file_leaves_with_its_label_and_its_verdict(store: Store) -> None:
    asset = store.find("asset")[0]
    plain = store.record("asset", made=store.put(b"words"), made_from=asset.made_from, spec=asset.spec, facts={"media_type": "text/plain"})
    judged = asset.facts["originality"]
    copy = {**asset.facts, "originality": {**judged, "copied": True}}
    copied = store.record("asset", made=asset.made, made_from=asset.made_from, spec=asset.spec, facts=copy)
    for each in (asset.id, plain, copied):
        policy.given_out(store, each)
    declare(store, labelled=True)
    policy.given_out(store, asset.id)
    with pytest.raises(PolicyError, match="label"):
        policy.given_out(store, plain)
    declare(store, 2.0, original=True)
    policy.check_answer(store)
    for each, told in ((plain, "not compared"), (copied, "suspiciously near")):
        with pytest.raises(PolicyError, match=told):
            policy.given_out(store, each)
    with pytest.raises(PolicyError, match="unfinished"):
        policy.check_answer(store, unfinished=True)


def test_what_is_old_is_forgotten(store: Store, tmp_path: Path) -> None:
    now = 100 * DAY
    said = {"who": "ann", "address": None, "method": "GET", "path": "/", "status": 200, "seconds": 0.0, "request": "r"}
    store.calls.add([Call.from_values({**said, "at": now - days * DAY}) for days in (40, 20, 1)])
    lots = Lots(tmp_path / "lots")
    lots.new()
    policy.tidy(store, lots, now=now)
    assert len(store.calls.latest()) == 3, "calls are kept unless the house says otherwise"
    declare(store, calls_days=30)
    policy.tidy(store, lots, now=now)
    assert [call.at for call in store.calls.latest()] == [now - DAY, now - 20 * DAY]
    assert len(lots.all()) == 1
