"""The page Create in a real browser: pictures are painted on, texts come as they are written and stop when they are told to."""

import io
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from served import add_texts
from studio import CHROMIUM, browsing, serving

from karat.app.chain import open_store
from karat.store.records import Record

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine: apt-get install chromium")


@pytest.fixture
def address(chain: Path, tmp_path: Path) -> Iterator[str]:
    """Serve a store that the whole chain has been through to whoever is on this machine, with a worker."""
    shutil.copytree(chain / "store", tmp_path / "store", symlinks=True)
    with serving(tmp_path / "store", "--open") as server:
        yield server.address


def another(page: Any, tmp_path: Path) -> Record:
    """Wait until the pictures that were asked for are made, and give the record of one."""
    page.get_by_role("main").get_by_role("button", name="Stop").wait_for(state="visible")
    page.get_by_role("main").get_by_role("button", name="Stop").wait_for(state="hidden")
    page.locator("a.tile").nth(3).wait_for()
    store = open_store(tmp_path / "store")
    try:
        return store.find("asset")[0]
    finally:
        store.close()


def pixels_of(tmp_path: Path, record: Record) -> np.ndarray:
    store = open_store(tmp_path / "store")
    try:
        return np.asarray(Image.open(io.BytesIO(store.read(record.made or ""))))
    finally:
        store.close()


def press(page: Any, name: str) -> None:
    page.get_by_role("main").get_by_role("button", name=name, exact=True).click()


def test_a_picture_is_painted_on_and_comes_out_beside_itself(address: str, tmp_path: Path) -> None:
    picture = tmp_path / "grey.png"
    Image.new("L", (80, 80), 120).save(picture)
    with browsing() as page:
        page.goto(f"{address}/create")
        press(page, "Edit a picture")
        page.locator("input[type=file]").first.set_input_files(str(picture))
        sheet = page.get_by_label("The picture; paint what is to be made anew")
        box = sheet.bounding_box()
        page.mouse.move(box["x"] + 2, box["y"] + box["height"] - 4)
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] - 2, box["y"] + box["height"] - 4, steps=8)
        page.mouse.up()
        press(page, "Make anew")
        painted = another(page, tmp_path)
        assert (painted.spec["strength"], bool(painted.spec["mask"])) == (1.0, True)
        made = pixels_of(tmp_path, painted)
        assert (made[:6] == 120).all()
        assert not (made[7] == 120).all()
        press(page, "Undo")
        press(page, "Make anew")
        whole = another(page, tmp_path)
        assert (whole.spec["strength"], whole.spec["mask"]) == (0.6, None)
        page.get_by_role("button", name="Box in the middle").focus()
        page.keyboard.press("Enter")
        press(page, "Make anew")
        middle = pixels_of(tmp_path, another(page, tmp_path))
        assert (middle[[0, 1, 6, 7]] == 120).all()
        assert not (middle[2:6, 2:6] == 120).any()
        page.locator("a.tile").first.click()
        page.get_by_role("button", name="Edit this picture").click()
        page.get_by_label("The picture; paint what is to be made anew").wait_for()
        mask = tmp_path / "mask.png"
        Image.new("RGBA", (8, 8), (0, 0, 0, 0)).save(mask)
        page.locator("input[type=file]").first.set_input_files(str(mask))
        page.wait_for_timeout(300)
        press(page, "Make anew")
        chained = another(page, tmp_path)
        assert len(chained.made_from) == 2, "the picture that it was made from is named"
        Image.new("RGB", (8, 8)).save(mask)
        page.locator("input[type=file]").first.set_input_files(str(mask))
        page.get_by_text("no transparency").wait_for()


def test_dials_move_a_picture_and_a_walk_is_taken_along(address: str, tmp_path: Path) -> None:
    with browsing() as page:
        page.goto(f"{address}/create")
        press(page, "Explore")
        shown = page.get_by_alt_text("The picture where the dials are")
        shown.wait_for()
        before = shown.get_attribute("src")
        dial = page.get_by_role("slider", name="Direction 1")
        box = dial.bounding_box()
        page.mouse.click(box["x"] + box["width"] * 5 / 6, box["y"] + box["height"] / 2)
        page.wait_for_function("before => document.querySelector('.big img')?.src !== before", arg=before)
        page.locator(".big img").wait_for()
        press(page, "Keep this picture")
        page.locator("a.tile").first.wait_for()
        store = open_store(tmp_path / "store")
        kept = store.find("asset")[0].spec
        store.close()
        assert kept["moves"] == [2.0]
        page.get_by_label("To the seed").fill("5")
        press(page, "Walk")
        page.locator("a.tile").nth(7).wait_for()
        for name, start in (("Download as a GIF", b"GIF8"), ("Download as a strip", b"\x89PNG")):
            with page.expect_download() as taken:
                press(page, name)
            assert Path(taken.value.path()).read_bytes().startswith(start)


@pytest.mark.slow
def test_texts_are_seen_while_they_are_written_and_stop(chain: Path, tmp_path: Path) -> None:
    shutil.copytree(chain / "store", tmp_path / "store", symlinks=True)
    add_texts(tmp_path)
    with serving(tmp_path / "store", "--open") as server, browsing() as page:
        page.goto(f"{server.address}/create?with={release(tmp_path, 'plain:live')}")
        page.get_by_label("How the text begins").fill("a red")
        page.evaluate(WATCH)
        press(page, "Write")
        page.locator(".theirs").filter(has_text="a red").wait_for()
        page.get_by_role("button", name="Stop").wait_for(state="hidden")
        seen = page.evaluate("window.seen")
        assert len({text for text in seen if text.startswith("a red")}) > 3, "it grows while it is written"
        first = page.locator(".theirs").inner_text()
        press(page, "Write")
        page.locator(".theirs").nth(1).wait_for()
        page.get_by_role("button", name="Stop").wait_for(state="hidden")
        assert page.locator(".theirs").nth(1).inner_text() == first, "the same seed, the same text"
        page.get_by_label("How the text begins").fill("x" * 900)
        press(page, "Write")
        page.get_by_text("tokens long").wait_for()
        assert page.locator(".theirs").count() == 2
        assert page.get_by_label("How the text begins").input_value() == "x" * 900

        page.goto(f"{server.address}/create?with={release(tmp_path, 'talk:live')}")
        for said in ("Where is a red?", "Where is a blue?"):
            page.get_by_label("Say something").fill(said)
            press(page, "Send")
            page.locator(".mine").filter(has_text=said).wait_for()
            page.get_by_role("button", name="Stop").wait_for(state="hidden")
        assert page.locator(".theirs").count() == 2
        long = {"kind": "generate", "spec": {"release": "shapes:live", "request": {"sampling": {"steps": 100_000}}}}
        held = httpx.post(f"{server.address}/api/jobs", json=long).json()["job"]["id"]
        page.get_by_label("Say something").fill("Where is a fox?")
        press(page, "Send")
        page.locator(".mine").nth(2).wait_for()
        press(page, "Stop")
        page.locator(".mine").nth(2).wait_for(state="detached")
        assert page.get_by_label("Say something").input_value() == "Where is a fox?"
        httpx.post(f"{server.address}/api/jobs/{held}/cancel")
        page.get_by_role("button", name="Begin anew").click()
        assert page.locator(".theirs").count() == 0


WATCH = """() => {
    window.seen = [];
    new MutationObserver(() => window.seen.push(document.querySelector('.theirs')?.innerText || ''))
        .observe(document.querySelector('.talk'), {subtree: true, childList: true, characterData: true});
}"""


def release(tmp_path: Path, name: str) -> str:
    store = open_store(tmp_path / "store")
    try:
        return store.aliases()[name]
    finally:
        store.close()
