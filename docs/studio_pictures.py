"""Take the pictures of the studio: `python docs/studio_pictures.py`, which needs Chromium and takes about five minutes.

Trains the demo's digits, lets a worker make and a reviewer judge, and photographs each page into docs/pictures/studio/.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from karat.app.demo import run_demo

ROOT = Path(__file__).parent.parent
OUT = ROOT / "docs" / "pictures" / "studio"
DESK, PHONE = {"width": 1280, "height": 860}, {"width": 390, "height": 844}


def main() -> None:
    """Prepare a store unless one is given, then walk and photograph."""
    sys.path.insert(0, str(ROOT / "tests"))
    from studio import browsing, serving

    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--folder", type=Path, help="where the demo is, or is to be kept")
    options.add_argument("--minutes", type=float, default=1.5)
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = given.folder or Path(scratch)
        if not (folder / "contact-sheet.png").exists():
            for event in run_demo(folder, minutes=given.minutes):
                print(event.kind, end=" ", flush=True)
        OUT.mkdir(parents=True, exist_ok=True)
        with serving(folder / "store", "--open") as server, browsing(viewport=DESK) as page:
            Photographer(page, server.address).walk()


class Photographer:
    """Goes through the pages, does on each what a person would, and takes its picture."""

    def __init__(self, page: Any, address: str) -> None:
        self.page, self.address = page, address

    def take(self, name: str) -> None:
        self.page.mouse.move(0, 0)
        self.page.wait_for_timeout(900)
        self.page.screenshot(path=str(OUT / f"{name}.png"))

    def at(self, path: str) -> Any:
        self.page.goto(f"{self.address}{path}")
        self.page.get_by_role("heading", level=1).wait_for()
        return self.page

    def walk(self) -> None:
        """Photograph every page in light and English; some in the dark, in Chinese, and on a phone."""
        making = [self.gallery, self.create, self.paint, self.explore]
        steps: list[Callable[[], None]] = [*making, self.review, self.data, self.train, self.releases, self.value]
        for step in steps:
            step()
        self.at("/admin")
        self.take("admin")
        page = self.page
        self.at("/gallery").get_by_role("button", name="Dark or light").click()
        self.take("gallery-dark")
        self.at("/value")
        self.take("value-dark")
        page.get_by_role("button", name="Dark or light").click()
        page.get_by_role("button", name="Language").click()
        page.get_by_role("heading", name="价值").wait_for()
        for name in ("create", "data"):
            self.at(f"/{name}")
            self.take(f"{name}-chinese")
        page.get_by_role("button", name="语言").click()
        page.get_by_role("heading", name="Data").wait_for()
        page.set_viewport_size(PHONE)
        for name in ("gallery", "create", "review"):
            self.at(f"/{name}")
            self.take(f"{name}-phone")

    def create(self) -> None:
        page = self.at("/create")
        page.get_by_label("Seed", exact=True).fill("11")
        page.get_by_role("main").get_by_role("combobox", name="label").click()
        page.get_by_role("option", name="3", exact=True).click()
        page.get_by_text("Lay several strengths").click()
        page.get_by_role("main").get_by_role("button", name="Create").click()
        page.locator("a.tile").nth(39).wait_for()
        self.take("create")

    def paint(self) -> None:
        page = self.at("/gallery")
        page.locator("a.tile").first.click()
        page.get_by_role("button", name="Edit this picture").click()
        sheet = page.get_by_label("The picture; paint what is to be made anew")
        sheet.wait_for()
        box = sheet.bounding_box()
        page.mouse.move(box["x"] + 0.14 * box["width"], box["y"] + 0.62 * box["height"])
        page.mouse.down()
        for stroke in range(1, 7):
            page.mouse.move(
                box["x"] + (0.86 if stroke % 2 else 0.14) * box["width"], box["y"] + (0.6 + 0.06 * stroke) * box["height"], steps=9
            )
        page.mouse.up()
        page.get_by_role("main").get_by_role("button", name="Make anew").click()
        page.locator("a.tile").nth(3).wait_for()
        self.take("paint")

    def explore(self) -> None:
        page = self.at("/create")
        page.get_by_role("main").get_by_role("button", name="Explore").click()
        picture = page.locator(".big img")
        picture.wait_for()
        for number, share in ((1, 0.7), (3, 0.3)):
            before = picture.get_attribute("src")
            box = page.get_by_role("slider", name=f"Direction {number}").bounding_box()
            page.mouse.click(box["x"] + share * box["width"], box["y"] + box["height"] / 2)
            page.wait_for_function("before => ![null, before].includes(document.querySelector('.big img')?.src)", arg=before)
        page.get_by_label("To the seed").fill("11")
        page.get_by_role("main").get_by_role("button", name="Walk").click()
        page.locator("a.tile").nth(7).wait_for()
        self.take("explore")

    def gallery(self) -> None:
        self.at("/gallery").locator("a.tile").nth(11).wait_for()
        self.take("gallery")
        self.page.locator("a.tile").first.click()
        self.page.get_by_text("Nearest training sample").wait_for()
        self.take("asset")

    def review(self) -> None:
        page = self.at("/review")
        for place, key in enumerate("aaraeaaraa", 1):
            page.get_by_text(f"{place} of", exact=False).first.wait_for()
            page.wait_for_timeout(700)
            page.keyboard.press(key)
        page.wait_for_timeout(700)
        page.keyboard.press("1")
        self.take("review")

    def data(self) -> None:
        self.at("/data")
        self.take("data")
        self.page.locator("a.card").last.click()
        if self.page.get_by_role("button", name="Look for problems").count():
            self.page.get_by_role("button", name="Look for problems").click()
        self.page.get_by_text("near-duplicate").first.wait_for()
        self.page.get_by_role("heading", name="Findings").scroll_into_view_if_needed()
        self.page.mouse.wheel(0, 500)
        self.take("findings")

    def train(self) -> None:
        page = self.at("/train")
        page.get_by_role("button", name="Show the plan").click()
        page.get_by_role("heading", name="The plan").wait_for()
        self.take("train")
        self.at("/train").locator("a.card", has=page.locator(".pill.good")).first.click()
        page.get_by_role("img", name="Training loss").wait_for()
        self.take("run")

    def releases(self) -> None:
        self.at("/releases").locator("a.card").first.click()
        self.page.get_by_role("heading", name="Scores").wait_for()
        self.take("release")

    def value(self) -> None:
        page = self.at("/value")
        page.get_by_label("An hour of a worker").fill("1.2")
        page.get_by_label("An hour of a reviewer").fill("36")
        page.get_by_label("Currency").fill("EUR")
        page.get_by_role("button", name="Declare").click()
        page.locator(".figure", has_text="EUR").first.wait_for()
        self.take("value")


if __name__ == "__main__":
    main()
