"""Gallery: everything that was made, found by words, release and verdict; and the whole story of one asset."""

from nicegui import ui

from karat.app.assets import AssetLine, Wanted, search
from karat.app.assets import file_of as file_of_asset
from karat.app.policy import given_out
from karat.app.provenance import Story, story
from karat.app.verdicts import states
from karat.faces.studio import parts
from karat.faces.studio.judging import decide, gold_choice
from karat.faces.studio.parts import block, careful, heading, section, tag
from karat.faces.studio.visit import Visit, address

PAGE = 60
STATES = ("accepted", "edited", "rejected", "disputed")


async def build(visit: Visit) -> None:
    """Show the wall, or one asset."""
    if "asset" in visit.query:
        await _one(visit, await visit.of(story, visit.query["asset"]))
    else:
        await _Wall(visit).show()


class _Wall:
    """The newest first; more come on request."""

    def __init__(self, visit: Visit) -> None:
        self.visit = visit
        self.before: int | None = None

    async def show(self) -> None:
        visit = self.visit
        with heading(visit("Gallery")):
            self.words = ui.input(placeholder=visit("Search"), value=visit.query.get("words", ""))
            self.words.props(f'outlined dense clearable debounce=300 type=search aria-label="{visit("Search")}"').classes("search")
            named = await visit.of(lambda store: visit.service.catalog.all())
            releases = {"": visit("All releases"), **{each.offer.id: each.offer.title for each in named}}
            start = visit.query.get("release", "")
            self.release = ui.select(releases, value=start if start in releases else "").props("outlined dense")
            self.release.props(f'aria-label="{visit("Release")}"')
            self.state = ui.select({"": visit("All verdicts"), "open": visit("open"), **{each: visit(each) for each in STATES}}, value="")
            self.state.props(f'outlined dense aria-label="{visit("Verdict")}"')
        for field in (self.words, self.release, self.state):
            field.on_value_change(self._again)
        self.wall = parts.wall(side=148)
        self.more = parts.plain(visit("Show more"), careful(self._more))
        self.none = block("stack")
        await self._again()

    async def _again(self) -> None:
        self.before = None
        self.wall.clear()
        self.none.clear()
        await self._more()

    async def _more(self) -> None:
        visit = self.visit
        judged = await visit.of(states)
        wanted = Wanted(words=self.words.value or "", release=self.release.value or None, before=self.before)
        shown, next_page = 0, self.before
        for _ in range(20):  # of a rare verdict, several pages are looked through at a time
            found = await visit.of(search, wanted, limit=PAGE)
            lines = [line for line in found.data if self.state.value in ("", judged.get(line.id, "open"))]
            with self.wall:
                for line in lines:
                    await _tile(visit, line, judged.get(line.id, ""))
            shown, next_page = shown + len(lines), found.next
            if shown >= PAGE // 2 or next_page is None:
                break
            wanted = wanted.changed(before=next_page)
        self.before = next_page
        self.more.set_visibility(next_page is not None)
        if not shown and not self.wall.default_slot.children:
            with self.none:
                parts.empty(visit("Nothing here yet"), visit("What you create appears here."), visit("Create"), "/create")


async def _tile(visit: Visit, line: AssetLine, state: str) -> None:
    words = _words(line) or visit("Asset")
    target = address("/gallery", asset=line.id)
    if line.media_type.startswith("image/"):
        parts.tile(f"/studio/assets/{line.id}/thumb", words, target, mark=state)
    else:
        content, _ = await visit.of(file_of_asset, line.id)
        parts.text_tile(content.decode("utf-8", "replace"), words, target, mark=state)


def _words(line: AssetLine) -> str:
    given = [str(value) for value in line.request.get("given", {}).values()]
    return ", ".join([*given, f"seed {line.request.get('seed')}"])


async def _one(visit: Visit, told: Story) -> None:
    line, request = told.line, told.line.request
    with heading(_words(line), told.title):
        parts.plain(visit("Download"), careful(lambda: visit.take(given_out, line.id, f"/studio/assets/{line.id}/download")))
        if line.media_type.startswith("image/"):
            parts.plain(visit("Edit this picture"), lambda: ui.navigate.to(address("/create", edit=line.id)))
        parts.primary(visit("Use these settings"), lambda: ui.navigate.to(address("/create", like=line.id)))
    with block("half"):
        with block("stack"):
            if line.media_type.startswith("image/"):
                with block("big"):
                    parts.picture(f"/studio/assets/{line.id}/file", _words(line))
            elif told.blob:
                content, _ = await visit.of(file_of_asset, line.id)
                tag("div", content.decode("utf-8", "replace"), "card prose")
            if visit.may("review"):
                _judge(visit, line.id)
            if visit.may("admin"):
                await gold_choice(visit, line.id)
            for verdict in told.verdicts:
                words = [visit(verdict.judgement), *verdict.tags, verdict.note, verdict.by, parts.day(verdict.at)]
                tag("span", " · ".join(word for word in words if word), "soft small")
        with block("stack wide"):
            with section(visit("Settings")):
                rows = [(visit(name), str(value)) for name, value in request.get("given", {}).items()]
                rows += [(visit("Seed"), str(request.get("seed"))), (visit("Index"), str(request.get("first")))]
                if "to" in request:
                    rows.append((visit("To the seed"), str(request["to"])))
                if "strength" in request:
                    rows.append((visit("How much of it is lost"), f"{request['strength']:g}"))
                rows += [(visit(name), str(value)) for name, value in request.get("sampling", {}).items()]
                rows += [(visit("Made"), parts.day(line.at)), (visit("Asset"), line.id[:16])]
                parts.facts(rows)
            _proof(visit, told)
            with section(visit("Where it comes from")):
                for each in told.came_from:
                    with block("line"):
                        tag("span", visit(each.kind), "pill")
                        tag("span", each.about or each.id[:12], "small grow")


def _judge(visit: Visit, id: str) -> None:
    tags = ui.input(visit("Tags, apart by commas")).props("outlined dense").style("width:100%")
    with block("line"):
        for judgement in ("accept", "edit", "reject"):

            @careful
            async def say(judgement: str = judgement) -> None:
                await decide(visit, [id], judgement, tags=[each.strip() for each in tags.value.split(",") if each.strip()])
                ui.navigate.reload()

            parts.plain(visit(judgement.capitalize()), say)


def _proof(visit: Visit, told: Story) -> None:
    """Say what the file carries, and which training sample it comes nearest to."""
    with section(visit("Label and originality")):
        with block("line"):
            words = visit("Its file says that it was generated") if told.labelled else visit("Its file carries no label")
            tag("span", words, "pill good" if told.labelled else "pill")
            if told.copied is not None:
                copied = visit("Suspiciously near a training sample") if told.copied else visit("No copy of a training sample")
                tag("span", copied, "pill bad" if told.copied else "pill good")
        if told.shared:
            with block("stack tight"):
                tag("span", visit("Nearest training sample"), "small")
                tag("div", told.shared, "card prose small")
                tag("span", told.nearest or "", "soft small")
        if told.nearest_blob:
            with block("line"):
                with block("tile").style("width:84px"):
                    parts.picture(parts.thumb(told.nearest_blob), told.nearest or "")
                with block("stack tight grow"):
                    tag("span", visit("Nearest training sample"), "small")
                    tag("span", told.nearest or "", "soft small")
