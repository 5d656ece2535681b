"""The queue loses nothing that it accepted and completes nothing twice, whoever dies when."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from sqlalchemy import update

from karat.store.queue import Beat, Claim, Ending, Job, Submission
from karat.store.store import Store
from karat.store.tables import VERSION, jobs, version, version_of
from karat.words.errors import Cancelled, NotFoundError, SpecError

KINDS = ("draw", "train")


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> Store:
    return Store.open(tmp_path / "store", clock=clock)


def asked(owner: str = "ann", **changes: object) -> Submission:
    return Submission.from_values({"kind": "draw", "owner": owner, "spec": {"seed": 1}, **changes})


def test_a_job_goes_its_way(store: Store, clock: Clock) -> None:
    (job,) = store.queue.submit([asked(total=4)])
    assert (job.state, job.spec, job.attempt) == ("queued", {"seed": 1}, 0)
    (held,) = store.queue.claim("w1", kinds=KINDS)
    assert (held.id, held.state, held.attempt) == (job.id, "running", 1)
    assert store.queue.claim("w2", kinds=KINDS) == []
    assert store.queue.beat([Beat(held.claim, 2, 4, {"loss": 0.5})]) == set()
    assert store.queue.get(job.id).figures == {"loss": 0.5}
    clock.now += 3
    assert store.queue.finish(held.claim, result=["asset"], seconds=2.5)
    ended = store.queue.get(job.id)
    assert (ended.state, ended.result, ended.seconds, ended.ended) == ("done", ["asset"], 2.5, 1_003.0)
    assert not store.queue.finish(held.claim, result=["another"]), "a job is completed once"


def test_a_lost_claim_says_nothing_more(store: Store, clock: Clock) -> None:
    store.queue.submit([asked()])
    (first,) = store.queue.claim("w1", kinds=KINDS)
    clock.now += 31
    assert store.queue.revive(lease=30) == 1
    (second,) = store.queue.claim("w2", kinds=KINDS)
    assert second.attempt == 2
    assert store.queue.beat([Beat(first.claim)]) == {first.id}
    assert not store.queue.finish(first.claim)
    assert store.queue.finish(second.claim)


def test_a_job_that_kills_its_workers_is_given_up(store: Store, clock: Clock) -> None:
    (job,) = store.queue.submit([asked()])
    for _ in range(3):
        assert store.queue.claim("w", kinds=KINDS)
        clock.now += 60
        store.queue.revive(lease=30, attempts=3)
    assert store.queue.get(job.id).state == "failed"
    assert (store.queue.get(job.id).error or {})["code"] == "lost"


def test_cancelling_stops_what_waits_at_once_and_what_runs_at_its_next_beat(store: Store) -> None:
    running, waiting = store.queue.submit([asked(), asked()])
    (held,) = store.queue.claim("w", kinds=KINDS)
    assert held.id == running.id
    assert store.queue.cancel(waiting.id).state == "cancelled"
    assert store.queue.cancel(running.id).cancelling
    assert store.queue.beat([Beat(held.claim)]) == {held.id}
    store.queue.finish(held.claim, error=Cancelled("Stopped.", repair="Ask again."))
    assert store.queue.get(running.id).state == "cancelled"
    assert store.queue.cancel(running.id).state == "cancelled", "cancelling twice is harmless"


def test_the_same_submission_is_one_job(store: Store) -> None:
    one, again, other = store.queue.submit([asked(once="k"), asked(once="k", spec={"seed": 2}), asked("bob", once="k")])
    assert one.id == again.id != other.id


def test_interactive_goes_before_bulk_and_owners_take_turns(store: Store) -> None:
    store.queue.submit([*(asked("greedy") for _ in range(6)), asked("ann"), asked("bob"), asked("bob", lane="interactive")])
    order = []
    while held := store.queue.claim("w", kinds=KINDS):
        order.append((held[0].owner, held[0].lane))
        store.queue.finish(held[0].claim, seconds=1.0)
    assert order[0] == ("bob", "interactive")
    assert [owner for owner, _ in order[1:4]] == ["greedy", "ann", "greedy"] or Counter(o for o, _ in order[1:4])["ann"] == 1
    assert {"ann", "bob"} <= {owner for owner, _ in order[:5]}, "nobody waits behind all six of another"


def test_mates_are_claimed_together(store: Store) -> None:
    store.queue.submit([asked(mates="a"), asked(mates="b"), asked("bob", mates="a"), asked(mates="a"), asked()])
    assert [job.number for job in store.queue.claim("w", kinds=KINDS, most=8)] == [1, 3, 4]
    assert [job.number for job in store.queue.claim("w", kinds=KINDS, most=8)] == [2]


def test_mates_of_all_owners_take_turns(store: Store) -> None:
    greedy = [asked("greedy", mates="a") for _ in range(6)]
    store.queue.submit([*greedy, asked("ann", mates="a"), asked("bob", mates="a"), asked("bob", mates="a", lane="interactive")])
    held = store.queue.claim("w", kinds=KINDS, most=5)
    assert [(job.owner, job.lane) for job in held[:1]] == [("bob", "interactive")]
    assert [job.owner for job in held[1:]] == ["greedy", "ann", "greedy", "bob"], "who has been given one waits for the others"


def test_what_was_begun_before_is_done_alone(store: Store, clock: Clock) -> None:
    store.queue.submit([asked(mates="a"), asked(mates="a"), asked(mates="a")])
    assert len(store.queue.claim("w1", kinds=KINDS, most=2)) == 2
    clock.now += 60
    assert store.queue.revive(lease=30) == 2
    (first,) = store.queue.claim("w2", kinds=KINDS, most=8)
    assert (first.number, first.attempt, store.queue.join(first, most=8)) == (1, 2, [])
    assert [len(store.queue.claim("w3", kinds=KINDS, most=8)) for _ in range(3)] == [1, 1, 0]


def test_jobs_are_completed_together_but_each_by_its_own_claim(store: Store) -> None:
    store.queue.submit([asked(mates="a"), asked(mates="a"), asked(mates="a")])
    one, two, three = store.queue.claim("w", kinds=KINDS, most=8)
    void = Claim(two.id, "somebody else", two.attempt)
    endings = [Ending(one.claim, result=[1]), Ending(void), Ending(three.claim, error=Cancelled("Stop.", repair="Go."))]
    assert store.queue.finish_all(endings) == [True, False, True]
    assert [store.queue.get(job.id).state for job in (one, two, three)] == ["done", "running", "cancelled"]


def test_mates_join_one_that_runs(store: Store) -> None:
    store.queue.submit([asked(mates="a")])
    (held,) = store.queue.claim("w", kinds=KINDS, most=8)
    assert store.queue.join(held, most=8) == []
    store.queue.submit([asked(mates="b"), asked("bob", mates="a"), asked(mates="a"), asked()])
    joined = store.queue.join(held, most=8)
    assert [(job.number, job.worker, job.attempt) for job in joined] == [(3, "w", 1), (4, "w", 1)]
    assert all(store.queue.finish(job.claim) for job in joined)


def test_what_is_reserved_is_settled_at_the_end(store: Store) -> None:
    store.queue.submit([asked(reserved=5.0, total=2), asked(reserved=7.0), asked("bob", reserved=1.0)])
    assert store.queue.spent("ann") == 12
    (held,) = store.queue.claim("w", kinds=KINDS)
    store.queue.finish(held.claim, seconds=2.0)
    assert store.queue.spent("ann") == 9
    assert store.queue.usual("draw", None) == 1.0
    assert store.queue.usual("train", None) is None


def test_failures_keep_their_words(store: Store) -> None:
    (job,) = store.queue.submit([asked()])
    store.queue.finish(store.queue.claim("w", kinds=KINDS)[0].claim, error=SpecError("No.", repair="Yes."))
    assert store.queue.get(job.id).error == {"code": "spec", "problem": "No.", "repair": "Yes."}
    with pytest.raises(NotFoundError, match="no job"):
        store.queue.get("nothing")


def test_a_store_of_version_one_gains_the_queue(tmp_path: Path) -> None:
    with Store.open(tmp_path)._database.writing() as old:
        jobs.drop(old)
        old.execute(update(version).values(version=1))
    store = Store.open(tmp_path)
    assert store.queue.submit([asked()])
    with store._database.reading() as connection:
        assert version_of(connection) == VERSION


def test_a_crowd_of_workers_takes_each_job_once(tmp_path: Path) -> None:
    """Each of them has connections of its own, as processes have."""
    stores = [Store.open(tmp_path) for _ in range(4)]
    accepted = {job.id for job in stores[0].queue.submit([asked(owner) for owner in ("ann", "bob", "eve") for _ in range(20)])}

    def work(store: Store) -> list[str]:
        taken = []
        while held := store.queue.claim(f"w{id(store)}", kinds=KINDS):
            taken += [job.id for job in held if store.queue.finish(job.claim)]
        return taken

    with ThreadPoolExecutor(len(stores)) as pool:
        taken = [id for ids in pool.map(work, stores) for id in ids]
    assert len(taken) == len(accepted)
    assert set(taken) == accepted


def test_a_crowd_that_submits_the_same_has_one_job(tmp_path: Path) -> None:
    stores = [Store.open(tmp_path) for _ in range(4)]
    with ThreadPoolExecutor(len(stores)) as pool:
        for number in range(10):
            found = list(pool.map(lambda store, once=str(number): store.queue.submit([asked(once=once)])[0].id, stores))
            assert len(set(found)) == 1
    assert len(stores[0].queue.latest()) == 10


class Deaths(RuleBasedStateMachine):
    """Workers that claim, beat, finish, die and come back late, in any order."""

    @initialize()
    def open(self) -> None:
        self.clock, self.folder = Clock(), TemporaryDirectory()
        self.store = Store.open(Path(self.folder.name), clock=self.clock)
        self.accepted: set[str] = set()
        self.claims: list[Claim] = []
        self.completed: Counter[str] = Counter()

    def teardown(self) -> None:
        self.folder.cleanup()

    @rule(owner=st.sampled_from(["ann", "bob"]), lane=st.sampled_from(["interactive", "bulk"]))
    def submit(self, owner: str, lane: str) -> None:
        self.accepted.add(self.store.queue.submit([asked(owner, lane=lane)])[0].id)

    @rule(worker=st.sampled_from(["w1", "w2"]))
    def claim(self, worker: str) -> None:
        self.claims += [job.claim for job in self.store.queue.claim(worker, kinds=KINDS)]

    @rule(place=st.integers(0, 20))
    def finish(self, place: int) -> None:
        if self.claims:
            claim = self.claims[place % len(self.claims)]
            self.completed[claim.job] += self.store.queue.finish(claim, result=1)

    @rule(seconds=st.sampled_from([1, 40]))
    def time_goes_by(self, seconds: int) -> None:
        self.clock.now += seconds
        self.store.queue.revive(lease=30, attempts=1_000)

    @invariant()
    def nothing_is_lost_and_nothing_done_twice(self) -> None:
        known: dict[str, Job] = {job.id: job for job in self.store.queue.latest(limit=1_000)}
        assert set(known) == self.accepted
        assert all(count == (known[id].state == "done") for id, count in self.completed.items())


def test_whoever_dies_when() -> None:
    run_state_machine_as_test(Deaths, settings=settings(max_examples=15, stateful_step_count=25, deadline=None))  # type: ignore[no-untyped-call]
