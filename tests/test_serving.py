"""Jobs through desk, queue, wire and worker: done once, seen on the way, stopped within a step, whoever dies."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from shell import Shell
from starlette.testclient import TestClient

from karat.app.serving import desk, pulse
from karat.app.serving.asking import Drawing
from karat.app.serving.catalog import DIALS, FILLS, Offer, check_retouching
from karat.app.serving.desk import Desk, FullError, TooManyError
from karat.app.serving.service import ServiceSettings
from karat.app.serving.worker import Worker
from karat.faces.http.app import create_app
from karat.learning.families.family import families
from karat.store.queue import Job, Submission
from karat.store.store import Store
from karat.words.errors import SpecError
from karat.work.requests import Request


def drawing(store: Store, owner: str = "ann", *, previews: int = 0, **request: Any) -> Submission:
    release = store.get("shapes:live").id
    asked = Drawing(release=release, request=Request.from_values({"sampling": {"steps": 4}, **request}), previews=previews)
    return Submission(kind="generate", owner=owner, spec=asked.model_dump(mode="json"), mates=asked.mates(), total=asked.request.count)


@pytest.fixture
def store(done: Shell) -> Store:
    return Store.open(done.store)


@pytest.fixture
def worker(store: Store) -> Iterator[Worker]:
    ending = threading.Event()
    worker = Worker(store, name="w", memory=1 << 30, stop=ending.is_set)
    thread = threading.Thread(target=worker.run, daemon=True)
    thread.start()
    yield worker
    ending.set()
    thread.join(timeout=30)


def assets(job: Job) -> list[str]:
    assert job.state == "done", job.error
    return [made["asset"] for made in job.result["assets"]]


async def at_desk(store: Store, *submissions: Submission, **bounds: int) -> list[Job]:
    desk = Desk(store, **bounds)
    await desk.start()
    try:
        accepted = await asyncio.gather(*(desk.submit(each) for each in submissions))
        return list(await asyncio.gather(*(desk.ended(job.id) for job in accepted)))
    finally:
        await desk.close()


def test_the_dials_that_are_offered_are_those_of_the_families() -> None:
    own = {kind: tuple(name for name in ("steps", "guidance") if name in each.Sampling.model_fields) for kind, each in families.items()}
    assert {kind: DIALS.get(kind, ()) for kind in families} == own
    assert set(FILLS) == {kind for kind, each in families.items() if hasattr(each, "fill")}


def test_what_a_job_is_computed_with_changes_nothing(store: Store, worker: Worker) -> None:
    requests = [{"count": 2, "seed": 5}, {"count": 3, "seed": 5, "given": {"label": "square"}}, {"seed": 9}]
    together = asyncio.run(at_desk(store, *(drawing(store, **each) for each in requests)))
    alone = [asyncio.run(at_desk(store, drawing(store, **each)))[0] for each in requests]
    assert [assets(job) for job in together] == [assets(job) for job in alone]
    assert all(store.read(store.get(asset).made or "") for job in together for asset in assets(job))


def test_a_wrong_request_fails_alone(store: Store, worker: Worker) -> None:
    right, wrong = asyncio.run(at_desk(store, drawing(store), drawing(store, given={"label": "unicorn"})))
    assert right.state == "done"
    assert wrong.state == "failed"
    assert "unicorn" in (wrong.error or {})["problem"]


def test_a_job_is_seen_on_its_way(store: Store) -> None:
    async def watch() -> list[str]:
        desk = Desk(store)
        await desk.start()
        ending = threading.Event()
        worker = Worker(store, name="w", memory=1 << 30, stop=ending.is_set)
        job = await desk.submit(drawing(store, previews=2))
        watching = desk.events(job.id)
        working = asyncio.create_task(asyncio.to_thread(worker.run))
        kinds = [event["kind"] async for event in watching]
        ending.set()
        await working
        await desk.close()
        return kinds

    kinds = asyncio.run(watch())
    assert kinds.count("previewing") == 2
    assert "progress" in kinds
    assert kinds[-1] == "ended"


def test_a_running_job_stops_between_two_steps(store: Store, worker: Worker) -> None:
    async def cancel() -> Job:
        desk = Desk(store)
        await desk.start()
        job = await desk.submit(drawing(store, sampling={"steps": 5_000}))
        async for event in desk.events(job.id):
            if event["kind"] == "progress":
                await desk.cancel(job.id)
        ended = await desk.ended(job.id)
        await desk.close()
        return ended

    began = time.monotonic()
    assert asyncio.run(cancel()).state == "cancelled"
    assert time.monotonic() - began < 30


def test_the_desk_is_bounded(store: Store) -> None:
    async def crowd() -> list[Any]:
        desk = Desk(store, most_waiting=5, most_of_owner=3)
        await desk.start()
        asked = [drawing(store, owner) for owner in ["ann"] * 4 + ["bob"] * 3]
        told = await asyncio.gather(*(desk.submit(each) for each in asked), return_exceptions=True)
        await desk.close()
        return told

    told = asyncio.run(crowd())
    kinds = [type(each) for each in told]
    assert kinds == [Job, Job, Job, TooManyError, Job, Job, FullError]
    assert all(1 <= each.retry_after <= 120 for each in told if isinstance(each, FullError))


def test_work_is_refused_at_the_door_while_all_places_are_taken(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    app = create_app(ServiceSettings(store=store.folder, workers=0, open=True, most_waiting=2))
    asked = {"kind": "generate", "spec": {"release": "shapes:live", "request": {}}}
    with TestClient(app, base_url="http://localhost") as web:
        accepted = [web.post("/api/jobs", json=asked).json()["job"]["id"] for _ in range(2)]
        assert app.state.service.desk.refusal(0)
        submitted = app.state.service.desk.submit
        monkeypatch.setattr(app.state.service.desk, "submit", None)
        refused = [web.post(path, content=b"never read") for path in ("/api/jobs", "/v1/images/generations")]
        assert {(each.status_code, each.json()["error"]["code"]) for each in refused} == {(503, "full")}
        assert all(1 <= int(each.headers["retry-after"]) <= 120 and each.headers["x-request-id"] for each in refused)
        assert web.get("/v1/models").status_code == 200
        assert web.post(f"/api/jobs/{accepted[0]}/cancel").status_code == 200
        monkeypatch.setattr(app.state.service.desk, "submit", submitted)
        accepted.append(web.post("/api/jobs", json=asked).json()["job"]["id"])
        assert web.post("/api/jobs", json=asked).status_code == 503
        for id in accepted[1:]:
            store.queue.cancel(id)
        monkeypatch.setattr(desk, "LOOK", 0.0)
        assert web.post("/api/jobs", json=asked).status_code == 202, "places that became free unheard are found"
        assert not app.state.service.desk.refusal(2)
        assert app.state.service.desk.refusal(2 + desk.ENTERING), "so many cannot all have a place"
        for job in store.queue.latest(state="queued"):
            store.queue.cancel(job.id)


def test_a_killed_worker_loses_nothing(store: Store) -> None:
    code = (
        "import sys; from pathlib import Path; from karat.store.store import Store; from karat.app.serving.worker import Worker\n"
        "Worker(Store.open(Path(sys.argv[1])), name='doomed', memory=1 << 30, stop=lambda: False).run()"
    )
    doomed = subprocess.Popen([sys.executable, "-c", code, str(store.folder)], env={**os.environ, "OMP_NUM_THREADS": "1"})
    (job,) = store.queue.submit([drawing(store, sampling={"steps": 100_000})])
    while store.queue.get(job.id).state != "running":
        time.sleep(0.05)
    doomed.send_signal(signal.SIGKILL)
    doomed.wait()
    assert store.queue.revive(lease=0) == 1
    (again,) = store.queue.claim("w2", kinds=["generate"])
    assert (again.id, again.attempt) == (job.id, 2)


def test_a_worker_forgets_what_it_need_not_stop(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulse, "EVERY", 0.05)
    worker = Worker(store, name="w", memory=1 << 30, stop=lambda: True)
    worker.wire.stopped.update(f"{number:024x}" for number in range(100))
    deadline = time.monotonic() + 30
    while worker.wire.stopped:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    worker.pulse.close()


def test_steps_of_the_chain_are_jobs(store: Store, worker: Worker, tmp_path: Path) -> None:
    source = store.find("source")[0].id
    (checked, missing) = asyncio.run(
        at_desk(
            store,
            Submission(kind="check", owner="ann", spec={"refs": [source]}),
            Submission(kind="evaluate", owner="ann", spec={"run": "nothing"}),
        )
    )
    assert checked.state == "done"
    assert checked.result["figures"]["samples"] > 0
    assert (missing.error or {})["code"] == "not-found"


def test_who_cannot_retouch_says_what_is_missing() -> None:
    offer = Offer(id="0" * 64, title="Faces", at=0.0, makes="image", family="gan", given={}, names={}, width=8, height=8)
    with pytest.raises(SpecError, match="family gan, which cannot go on from a picture"):
        check_retouching(offer, masked=False)
    with pytest.raises(SpecError, match="no part of one can be kept"):
        check_retouching(offer.changed(family="diffusion", varies=True), masked=True)
    with pytest.raises(SpecError, match="makes no pictures"):
        check_retouching(offer.changed(makes="text"), masked=False)
    check_retouching(offer.changed(varies=True), masked=False)


def test_who_is_cancelled_while_something_comes_is_cancelled() -> None:
    """A client may leave at the moment of a step; were that forgotten, its job would run to the end."""

    async def leave_as_it_comes(turns: int) -> bool:
        heard: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        waiting = asyncio.ensure_future(desk._next(heard))
        await asyncio.sleep(0.01)
        heard.put_nowait({"kind": "step"})
        for _ in range(turns):
            await asyncio.sleep(0)
        if waiting.done():
            return True
        waiting.cancel()
        await asyncio.wait({waiting})
        return waiting.cancelled()

    assert all(asyncio.run(leave_as_it_comes(turns)) for turns in range(4))
