"""The studio in a real browser: every page in both languages, and the whole story from pictures to the cost of an accepted one."""

import ast
import re
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from shell import draw_shapes
from studio import CHROMIUM, NAME, PASSWORD, Served, browsing, serving

from karat.app.chain import find
from karat.app.data import import_source
from karat.app.people import People
from karat.app.releasing import remember
from karat.app.verdicts import Verdict, judge, pairs
from karat.faces.studio import policing, review, train, underway
from karat.faces.studio.chinese import CHINESE
from karat.faces.studio.frame import WAYS
from karat.faces.studio.mounting import PAGES
from karat.faces.studio.words import said
from karat.material.data.policy import REPAIRS
from karat.material.releases import SigningKey, write_release
from karat.store.store import Store
from karat.words.errors import NotFoundError
from karat.words.specs import canonical

STUDIO = Path(train.__file__).parent
in_browser = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine: apt-get install chromium")
NAMELESS = """() => [...document.querySelectorAll('button, a[href], input, textarea, img, [role=slider], iframe')].filter(each => {
    if (each.type === 'file' || each.tabIndex < 0 || !each.checkVisibility()) return false;
    const label = each.labels && [...each.labels].map(one => one.innerText).join('');
    return !((each.getAttribute('aria-label') || each.alt || each.title || label || each.innerText || each.placeholder || '').trim());
}).map(each => each.outerHTML.slice(0, 200))"""


@pytest.fixture
def store(chain: Path, tmp_path: Path) -> Iterator[Store]:
    """Give a store that the whole chain has been through, in which Ann administers."""
    shutil.copytree(chain / "store", tmp_path / "store", symlinks=True)
    store = Store.open(tmp_path / "store")
    People(store).add(NAME, PASSWORD, "admin")
    evil = Verdict(judgement="reject", by="<b>bob</b>", at=1.0, note="<img src=x onerror=alert(1)>", tags=("<script>alert(2)</script>",))
    judge(store, [store.find("asset")[0].id], evil)
    yield store
    store.close()


@pytest.fixture
def served(store: Store) -> Iterator[Served]:
    with serving(store.folder, "--workers", "0") as server:
        yield server


def rival(store: Store) -> str:
    """Put a second release of the same run on the chain, with an asset for each one of the first, of the same request."""
    run = find(store, "latest", "run")
    parts: dict[str, Any] = {"spec.json": canonical(run.spec), "model.safetensors": store.path(run.made or ""), "card.md": b"# Rival"}
    place = store.folder / "rival.karat"
    write_release(place, parts, key=SigningKey.at(store.folder), facts={"title": "Rival"})
    release = remember(store, place)
    for asset in store.find("asset"):
        store.record("asset", made=asset.made, made_from=[release], spec=asset.spec, facts=asset.facts)
    return release


def sign_in(page: Any, address: str, *, chinese: bool = False, key: str | None = None, password: str = PASSWORD) -> None:
    page.goto(f"{address}/sign-in")
    if key is not None:
        page.get_by_label(said("Key", chinese=chinese)).fill(key)
    page.get_by_label(said("Name", chinese=chinese)).fill(NAME)
    page.get_by_label(said("Password", chinese=chinese)).fill(password)
    page.get_by_role("button", name=said("Sign in" if key is None else "Make and sign in", chinese=chinese)).click()
    page.wait_for_url(re.compile(r"/(gallery|data)"))


def spoken() -> Iterator[tuple[str, str]]:
    """Give every text that the pages say, and where."""
    for path in STUDIO.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("visit", "self.visit", "say", "said") and node.args:
                for each in ast.walk(node.args[0]):
                    if isinstance(each, ast.Constant) and isinstance(each.value, str):
                        yield each.value, path.name


def test_everything_is_said_in_both_languages() -> None:
    known = {text: place for text, place in spoken() if re.search(r"[a-z]{2}", text)}
    known |= dict.fromkeys([title for _, title, _ in WAYS if title], "frame")
    known |= dict.fromkeys(
        [*underway.NAMES.values(), *train.CHARTS.values(), *train.FIGURES.values(), *train.SIZES, *train.STATES], "constants"
    )
    known |= dict.fromkeys(policing.NAMES.values(), "policy")
    known |= dict.fromkeys([*review.TAGS, *review.WAYS.values(), *review.ABOUT.values(), *review.AGREED], "review")
    known |= dict.fromkeys([*REPAIRS, *REPAIRS.values()], "checks")
    assert not {text: place for text, place in known.items() if text not in CHINESE}
    for english, chinese in CHINESE.items():
        assert set(re.findall(r"{(\w+)}", english)) == set(re.findall(r"{(\w+)}", chinese)), english
        assert re.search(r"[\u4e00-\u9fff]", chinese) or chinese.isupper(), english


@in_browser
def test_every_page_is_shown_to_whoever_has_signed_in(served: Served) -> None:
    """In English on a desk, in Chinese on a phone; every control has a name, nothing runs that somebody wrote, nothing is cut off."""
    with browsing() as page:
        page.goto(f"{served.address}/gallery")
        page.wait_for_url(re.compile("/sign-in"))
        assert page.request.get(f"{served.address}/studio/thumbs/{'0' * 64}").status == 401
        page.get_by_label("Name").fill(NAME)
        page.get_by_label("Password").fill("a wrong password")
        page.get_by_role("button", name="Sign in").click()
        page.get_by_text("do not belong together").wait_for()
        sign_in(page, served.address)
        asset = page.locator("a.tile").first.get_attribute("href")
        run = _open(page, served.address, "/train").locator("a.card").first.get_attribute("href")
        source = _open(page, served.address, "/data").locator("a.card").last.get_attribute("href")
        release = _open(page, served.address, "/releases").locator("a.card").first.get_attribute("href")
        for path in [*PAGES, asset, run, source, release]:
            _open(page, served.address, path)
            assert page.evaluate(NAMELESS) == [], path
        assert page.request.get(f"{served.address}/studio/assets/nothing/file").status == 404
        page.set_viewport_size({"width": 390, "height": 800})
        page.goto(f"{served.address}/gallery")
        page.get_by_role("button", name="Language").click()
        page.get_by_role("heading", name="作品库").wait_for()
        for path in [*PAGES, asset, run, source, release]:
            _open(page, served.address, path)
            wide = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
            assert wide <= 0, f"{path} is {wide} pixels too wide"
            assert page.locator("html").get_attribute("lang") == "zh-CN"


def _open(page: Any, address: str, path: str) -> Any:
    page.goto(f"{address}{path}")
    page.get_by_role("heading", level=1).wait_for()
    page.wait_for_load_state("load")
    return page


@in_browser
def test_pairs_are_judged_blind_by_the_keyboard(served: Served, store: Store) -> None:
    """Two releases made something from the same seeds; nothing says which made what, and what was shown where is kept."""
    sides = {store.find("release")[0].id, rival(store)}
    total = len(store.find("asset")) // 2
    keys = {"ArrowLeft": "first", "ArrowRight": "second", "ArrowDown": "tie", "1": "first", "2": "second", "0": "tie"}
    assert total == len(keys)
    with browsing() as page:
        sign_in(page, served.address)
        _open(page, served.address, "/review?mode=pairs")
        for place, key in enumerate(keys):
            page.get_by_text(f"{place + 1} of {total}", exact=True).wait_for()
            shown = page.locator("#content").inner_text()
            assert "Rival" not in shown
            assert "Shapes" not in shown
            assert page.locator(".big img").count() == 2
            page.keyboard.press(key)
        page.get_by_text("No pairs left").wait_for()
        told = [each for each in store.find("verdict", newest_first=False) if each.spec["judgement"] == "prefer"]
        assert [each.spec["prefers"] for each in told] == list(keys.values())
        assert [each.spec["position"] for each in told] == list(range(total))
        stood = [[store.get(asset) for asset in each.made_from] for each in told]
        assert all({asset.made_from[0] for asset in two} == sides and two[0].spec == two[1].spec for two in stood)
        firsts = {store.get(pair.first).made_from[0] for by in "abcdefgh" for pair in pairs(store, by, (min(sides), max(sides)))}
        assert firsts == sides, "each stands first at times"
        _open(page, served.address, "/review?mode=together")
        page.get_by_role("cell", name="Rival").wait_for()
        page.get_by_text("Nothing has been judged by two people yet.").first.wait_for()


@in_browser
def test_a_changed_password_ends_sessions_at_once(served: Served, store: Store) -> None:
    """So does being sent away; another role ends what was open by the old one."""
    people = People(store)
    with browsing() as page:
        sign_in(page, served.address)
        _open(page, served.address, "/admin")
        people.change(NAME, password="another long password")
        assert page.request.get(f"{served.address}/studio/assets/{store.find('asset')[0].id}/file").status == 401
        page.wait_for_url(re.compile("/sign-in"), timeout=5_000)
        sign_in(page, served.address, password="another long password")
        _open(page, served.address, "/admin")
        people.change(NAME, role="reviewer")
        page.get_by_text("needs the scope admin").wait_for(timeout=5_000)
        people.change(NAME, left=True)
        page.wait_for_url(re.compile("/sign-in"), timeout=5_000)
        people.change(NAME, left=False)
        page.goto(f"{served.address}/gallery")
        page.wait_for_url(re.compile("/sign-in"))


@in_browser
def test_the_policy_is_declared_and_kept_to(served: Served, store: Store) -> None:
    asset = store.find("asset")[1].id
    with browsing() as page:
        sign_in(page, served.address)
        _open(page, served.address, f"/gallery?asset={asset}")
        with page.expect_download() as taken:
            page.get_by_role("button", name="Download").click()
        assert Path(taken.value.path()).read_bytes() == store.read(store.get(asset).made or "")
        _open(page, served.address, "/admin")
        page.get_by_role("switch", name="Files leave only after reviewers have accepted them").click()
        page.get_by_role("button", name="Declare").click()
        page.get_by_role("cell", name="no → yes").wait_for()
        _open(page, served.address, f"/gallery?asset={asset}")
        page.get_by_role("button", name="Download").click()
        page.get_by_text("was not accepted by its reviewers").wait_for()
        assert page.request.get(f"{served.address}/studio/assets/{asset}/download").status == 403
        page.get_by_role("button", name="Accept").click()
        page.get_by_text("accept · Ann").wait_for()
        assert page.request.get(f"{served.address}/studio/assets/{asset}/download").status == 200


@in_browser
def test_an_import_that_nothing_came_from_is_removed(served: Served, store: Store, tmp_path: Path) -> None:
    used = find(store, "latest", "source").id
    *_, end = import_source(store, draw_shapes(tmp_path / "more", count=6))
    with browsing(locale="zh-CN") as page:
        sign_in(page, served.address, chinese=True)
        for source in (used, end.result):
            _open(page, served.address, f"/data?of={source}")
            page.get_by_role("button", name="删除").first.click()
            page.get_by_role("dialog").get_by_role("button", name="删除").click()
            if source == used:
                page.get_by_text("仍被使用").wait_for()
        page.wait_for_url(re.compile("/data$"))
        with pytest.raises(NotFoundError):
            store.get(end.result)
        assert store.get(used)


@in_browser
def test_gold_items_are_marked_by_an_administrator_and_judged_unknowingly(served: Served) -> None:
    with browsing() as page:
        sign_in(page, served.address)
        asset = page.locator("a.tile").first.get_attribute("href")
        _open(page, served.address, asset)
        page.get_by_role("combobox", name="Gold item: the right verdict").click()
        page.get_by_role("option", name="reject").click()
        page.get_by_text("Reviewers are not told").wait_for()
        _open(page, served.address, "/review")
        total = int(page.locator(".place").inner_text().split()[-1])
        for place in range(total):
            page.get_by_text(f"{place + 1} of {total}", exact=True).wait_for()
            assert "gold" not in page.locator("#content").inner_text().lower()
            page.keyboard.press("r")
        page.get_by_text("Nothing to review").wait_for()
        _open(page, served.address, "/review?mode=together")
        page.get_by_role("row", name="Ann 1 1 100%").wait_for()


@in_browser
@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("chinese", [False, True], ids=["english", "chinese"])
def test_the_whole_story(tmp_path: Path, chinese: bool) -> None:
    """Pictures come in, one is dropped, a model is trained and released, pictures are made, found and judged; then they have a cost."""
    pictures = draw_shapes(tmp_path / "pictures", count=160)
    (pictures / "square" / "broken.png").write_bytes(b"no picture")
    archive = tmp_path / "shapes.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for path in pictures.rglob("*.png"):
            file.write(path, path.relative_to(pictures))
    with serving(tmp_path / "store") as server, browsing(locale="zh-CN" if chinese else "en") as page:
        story = Story(page, server, chinese)
        sign_in(page, server.address, chinese=chinese, key=server.key)
        story.bring(archive)
        story.check()
        story.train()
        story.release()
        story.create()
        story.review()
        story.value()


class Story:
    """The steps of a person's way through the studio."""

    def __init__(self, page: Any, server: Served, chinese: bool) -> None:
        self.page, self.address, self.chinese = page, server.address, chinese

    def say(self, text: str, **values: object) -> str:
        return said(text, chinese=self.chinese, **values)

    def press(self, name: str) -> None:
        self.page.get_by_role("button", name=re.compile(f"^{re.escape(self.say(name))}")).first.click()

    def bring(self, archive: Path) -> None:
        self.page.locator("input[type=file]").set_input_files(str(archive))
        self.page.wait_for_url(re.compile(r"/data\?of="))
        self.page.get_by_text(self.say("{n} samples", n=161)).wait_for()

    def check(self) -> None:
        self.press("Look for problems")
        self.page.get_by_role("heading", name=self.say("unreadable")).wait_for()
        self.page.get_by_label(self.say("Name")).fill("shapes")
        self.press("Make the snapshot")
        self.page.get_by_role("button", name=self.say("Train on this")).click()
        self.page.wait_for_url(re.compile(r"/train\?on="))

    def train(self) -> None:
        page = self.page
        self.press("tiny")
        self.press("steps")
        page.get_by_label(self.say("Budget")).fill("60")
        page.get_by_text(self.say("More"), exact=True).click()
        settings = "plan.checks=4\nplan.judged=0\nplan.samples=8"
        page.get_by_label(self.say("Settings, one name=value to a line")).fill(settings)
        self.press("Show the plan")
        self.press("Start training")
        page.wait_for_url(re.compile(r"/train\?run="))
        curve = page.get_by_role("img", name=self.say("Training loss")).locator("path[stroke='#b08d3c']").first
        curve.wait_for(state="attached")
        early = curve.get_attribute("d")
        page.get_by_role("button", name=self.say("Measure and release")).wait_for(timeout=240_000)
        assert curve.get_attribute("d") != early, "the curve has moved"
        assert page.get_by_alt_text(re.compile(self.say("Samples"))).first.is_visible()

    def release(self) -> None:
        self.press("Measure and release")
        self.page.wait_for_url(re.compile(r"/releases\?of="), timeout=240_000)
        self.page.get_by_label(self.say("Another name")).fill("shapes:live")
        self.press("Give it")
        self.page.get_by_text("shapes:live").first.wait_for()
        self.page.get_by_role("button", name=self.say("Create with it")).click()
        self.page.wait_for_url(re.compile(r"/create\?with="))

    def create(self) -> None:
        page = self.page
        page.get_by_label(self.say("Seed"), exact=True).fill("7")
        page.get_by_role("main").get_by_role("button", name=self.say("Create")).click()
        page.locator("a.tile").nth(7).wait_for()
        page.goto(f"{self.address}/gallery?words=nothing")
        page.get_by_text(self.say("Nothing here yet")).wait_for()
        page.goto(f"{self.address}/gallery")
        page.locator("a.tile").first.click()
        page.get_by_text(self.say("Its file says that it was generated")).wait_for()
        page.get_by_role("button", name=self.say("Use these settings")).click()
        page.wait_for_url(re.compile(r"/create\?like="))
        assert page.get_by_label(self.say("Seed"), exact=True).input_value() == "7"

    def review(self) -> None:
        page = self.page
        page.goto(f"{self.address}/review")
        for place, key in enumerate("aarea"):
            page.get_by_text(self.say("{n} of {total}", n=place + 1, total=8), exact=True).wait_for()
            page.keyboard.press("1")
            page.locator("button[aria-pressed=true]").wait_for()
            page.keyboard.press(key)
        page.get_by_text(self.say("{n} of {total}", n=6, total=8), exact=True).wait_for()

    def value(self) -> None:
        page = self.page
        page.goto(f"{self.address}/value")
        page.get_by_label(self.say("An hour of a worker")).fill("3600")
        page.get_by_label(self.say("An hour of a reviewer")).fill("40")
        page.get_by_label(self.say("Currency")).fill("EUR")
        self.press("Declare")
        figure = page.locator(".figure", has_text=self.say("per accepted asset"))
        figure.filter(has_text="EUR").wait_for()
        assert float(figure.locator("b").inner_text().split()[0].replace(",", "")) > 0
        page.get_by_text(self.say("accepted"), exact=True).wait_for()
