"""What nothing was made of can be removed, whole and for good; everything else is refused with words."""

import hashlib
import json

import pytest
from shell import TINY, Shell, draw_shapes

from karat.app import costs
from karat.app.removing import InUseError, remove
from karat.store.queue import Submission
from karat.store.store import Store
from karat.words.errors import BusyError, NotFoundError


def files_of(store: Store) -> set[str]:
    return set(store.blobs.digests())


def brought(shell: Shell, name: str, *, count: int = 12, first: int = 0) -> str:
    """Import some pictures that no other import has, and give the source."""
    folder = draw_shapes(shell.folder / name, count=first + count)
    for path in folder.rglob("*.png"):
        if int(path.stem) < first:
            path.unlink()
    return shell.well("--json", "data", "import", str(folder), "--licence", "CC0-1.0").result


def test_an_import_is_removed_and_can_be_brought_again(shell: Shell) -> None:
    kept = brought(shell, "kept", count=12)
    store = Store.open(shell.store)
    before = files_of(store)
    source = brought(shell, "gone", count=24)
    shell.well("data", "check", source)
    told = shell.refused("remove", source[:12])
    assert "--yes" in told
    gone = shell.well("--json", "remove", source[:12], "--yes").lines[0]
    assert (gone["kind"], gone["id"]) == ("source", source)
    assert gone["files"] == 13, "the list and the pictures that only this import had"
    assert files_of(store) == before, "what another import has as well was kept"
    with pytest.raises(NotFoundError):
        store.get(source)
    shell.well("data", "show", kept)
    again = shell.well("--json", "data", "import", str(shell.folder / "gone"), "--licence", "CC0-1.0").result
    assert again == source
    shell.well("data", "snapshot", again)


def test_texts_are_removed_too(shell: Shell) -> None:
    file = shell.folder / "poems.jsonl"
    file.write_text("".join(json.dumps({"text": f"line {number}"}) + "\n" for number in range(20)))
    store = Store.open(shell.store)
    for _ in range(2):
        source = shell.well("--json", "data", "import", str(file)).result
        assert files_of(store)
        shell.well("remove", source, "--yes")
        assert files_of(store) <= {hashlib.sha256(b"").hexdigest()}


def test_what_something_was_made_of_stays(done: Shell) -> None:
    store = Store.open(done.store)
    before = files_of(store)
    (source,) = store.find("source")
    told = done.refused("remove", source.id, "--yes")
    assert "1 snapshot" in told
    assert "1 run" in told
    run = store.find("run")[0]
    assert "finished" in done.refused("remove", run.facts["folder"], "--yes")
    assert "no source" in done.refused("remove", run.id, "--yes")
    assert files_of(store) == before


def test_what_a_name_has_meant_stays(shell: Shell) -> None:
    source, other = brought(shell, "one"), brought(shell, "two", count=3, first=30)
    shell.well("alias", "pictures:raw", source)
    shell.well("alias", "pictures:raw", other)
    assert "name" in shell.refused("remove", source, "--yes")
    shell.well("data", "show", source)


def test_what_an_import_cost_stays_in_the_books(shell: Shell) -> None:
    source = brought(shell, "one")
    store = Store.open(shell.store)
    costs.declare(store, costs.Prices(device_hour=3600.0))
    store.queue.submit([Submission(kind="import", owner="ann", spec={})])
    (held,) = store.queue.claim("w", kinds=["import"])
    with pytest.raises(InUseError, match="imported"):
        remove(store, source)
    store.queue.finish(held.claim, result={"id": source}, seconds=5.0)
    assert costs.ledger(store).unallocated["preparation"] == pytest.approx(5.0)
    remove(store, source)
    assert costs.ledger(store).unallocated["preparation"] == pytest.approx(5.0)
    assert costs.settle(store) == 0


def test_an_unfinished_run_is_removed(done: Shell) -> None:
    plan = done.folder / "plan.yaml"
    plan.write_text(done.well("train", "shapes", "--steps", "9", *TINY, "--dry-run").out)
    store = Store.open(done.store)
    from karat.app.training import keep, read_plan

    folder = keep(store, read_plan(plan))
    place = store.folder / "runs" / folder
    (job,) = store.queue.submit([Submission(kind="run", owner="ann", spec={"folder": folder})])
    assert "waits" in done.refused("remove", folder[:8], "--yes")
    store.queue.cancel(job.id)
    with store.lock(f"run-{folder}"), pytest.raises(BusyError):
        remove(store, folder)
    assert done.well("--json", "remove", folder[:8], "--yes").lines[0]["kind"] == "run"
    assert not place.exists()
    assert "holds nothing" in done.refused("remove", folder, "--yes")
