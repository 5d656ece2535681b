"""Review: one asset after the other by the keyboard, or two beside each other of which nobody says which model made them.

What all reviewers say together stands on a page of its own, since it would tell a reviewer what to say.
"""

import time
from collections.abc import Sequence

from nicegui import events, ui

from karat.app.assets import asset as asset_line
from karat.app.assets import file_of
from karat.app.verdicts import Pair, agreed, agreed_on_pairs, gold, pairs, preferred, to_review
from karat.faces.studio import parts
from karat.faces.studio.judging import decide
from karat.faces.studio.parts import block, careful, heading, section, tag
from karat.faces.studio.visit import Visit, address, is_chinese
from karat.faces.studio.words import wrong
from karat.words.errors import KaratError

KEYS = {"a": "accept", "r": "reject", "e": "edit"}
SIDES = {"1": "first", "2": "second", "0": "tie", "ArrowLeft": "first", "ArrowRight": "second", "ArrowDown": "tie"}
WAYS = {"": "One by one", "pairs": "Blind pairs", "together": "What all say"}
ABOUT = {
    "": "Can it be used?",
    "pairs": "Which is better? Nobody says who made them.",
    "together": "How far reviewers agree, and what they prefer.",
}
AGREED = {
    "Krippendorff's alpha, {low} to {high}; {n} assets judged by two or more": agreed,
    "on blind pairs: Krippendorff's alpha, {low} to {high}; {n} pairs judged by two or more": agreed_on_pairs,
}
TAGS = ("blurred", "deformed", "off topic", "wrong colour", "cut off", "duplicate", "unsafe", "text in it", "other")
LONGEST = 300.0
"""Seconds after which a reviewer is taken to have left the desk; longer looks count as this."""


async def build(visit: Visit) -> None:
    """Show the queue, blind pairs, or what all reviewers say together."""
    named = await visit.of(lambda store: visit.service.catalog.all())
    releases = {each.offer.id: each.offer.title for each in named}
    mode = visit.query.get("mode", "")
    with heading(visit("Review"), visit(ABOUT.get(mode, ABOUT[""]))):
        for other, words in WAYS.items():
            if other != mode:
                way = parts.link(visit(words), address("/review", mode=other), "q-btn plain")
                way.style("display:inline-flex;align-items:center")
    if mode == "together":
        await _together(visit, releases)
    elif mode == "pairs":
        await _Pairs(visit, releases).show()
    else:
        await _Queue(visit).show()


class _Desk:
    """What a reviewer looks at, since when, and which of how many it is."""

    def __init__(self, visit: Visit) -> None:
        self.visit, self.place, self.since = visit, 0, time.monotonic()
        self.busy = False

    def took(self) -> float:
        return min(LONGEST, time.monotonic() - self.since)

    async def written(self, id: str) -> str | None:
        """Text that the asset is, or None when it is a picture; read before anything is drawn, since what is seen can be judged at once."""
        line = await self.visit.of(asset_line, id)
        return None if line.media_type.startswith("image/") else (await self.visit.of(file_of, id))[0].decode("utf-8", "replace")

    def show_asset(self, id: str, text: str | None) -> None:
        if text is not None:
            tag("div", text, "card prose")
            return
        with block("big"):
            parts.picture(f"/studio/assets/{id}/file", self.visit("The asset to be judged"))


class _Queue(_Desk):
    """One asset after the other."""

    async def show(self) -> None:
        self.assets = await self.visit.of(to_review, self.visit.caller.name, release=self.visit.query.get("release"))
        self.tags: set[str] = set()
        self.box = block("stack").props('aria-live="polite"')
        ui.keyboard(on_key=self._key)
        await self._draw()

    async def _draw(self) -> None:
        visit = self.visit
        self.box.clear()
        self.tags.clear()
        if self.place >= len(self.assets):
            with self.box:
                parts.empty(visit("Nothing to review"), visit("Everything that was made has your verdict."), visit("Gallery"), "/gallery")
            return
        id = self.assets[self.place]
        text = await self.written(id)
        with self.box:
            tag("span", visit("{n} of {total}", n=self.place + 1, total=len(self.assets)), "soft small num place")
            with block("half"):
                with block("stack"):
                    self.show_asset(id, text)
                with block("stack"):
                    with block("line"):
                        for key, judgement in KEYS.items():
                            button = parts.plain(visit(judgement.capitalize()), careful(lambda judgement=judgement: self._say(judgement)))
                            button.classes(f"say-{judgement}")
                            with button:
                                tag("kbd", key).style("margin-left:10px")
                    tag("span", visit("Tags"), "soft small")
                    with block("line"):
                        self.chips = [self._chip(number, name) for number, name in enumerate(TAGS, 1)]
        self.since = time.monotonic()

    def _chip(self, number: int, name: str) -> ui.button:
        chip = parts.plain(self.visit(name), lambda: self._tick(name)).props('dense aria-pressed="false"')
        with chip:
            tag("kbd", str(number)).style("margin-left:8px")
        return chip

    def _tick(self, name: str) -> None:
        self.tags ^= {name}
        chip = self.chips[TAGS.index(name)]
        chip.classes(add="on") if name in self.tags else chip.classes(remove="on")
        chip.props(f'aria-pressed="{str(name in self.tags).lower()}"')

    async def _key(self, event: events.KeyEventArguments) -> None:
        if not event.action.keydown or event.action.repeat or event.modifiers.ctrl or event.modifiers.meta or event.modifiers.alt:
            return
        key = event.key.name.lower()
        if key in KEYS:
            await careful(self._say)(KEYS[key])
        elif key in "123456789" and self.place < len(self.assets):
            self._tick(TAGS[int(key) - 1])

    async def _say(self, judgement: str) -> None:
        if self.busy or self.place >= len(self.assets):
            return
        self.busy = True
        try:
            tags = [name for name in TAGS if name in self.tags]
            await decide(self.visit, [self.assets[self.place]], judgement, tags=tags, seconds=self.took(), position=self.place)
            self.place += 1
            await self._draw()
        finally:
            self.busy = False


class _Pairs(_Desk):
    """Two assets of the same request by two releases."""

    def __init__(self, visit: Visit, releases: dict[str, str]) -> None:
        super().__init__(visit)
        self.releases = releases
        self.pairs: Sequence[Pair] = ()

    async def show(self) -> None:
        visit, ids = self.visit, list(self.releases)
        if len(ids) < 2:
            parts.empty(visit("Two releases are needed"), visit("Pairs compare what two releases made."), visit("Releases"), "/releases")
            return
        with ui.expansion(visit("Whose work is compared")).props("dense"), block("line"):
            self.sides = [ui.select(self.releases, value=id).props("outlined dense").classes("grow") for id in ids[:2]]
        for side, words in zip(self.sides, (visit("One release"), visit("The other release")), strict=True):
            side.props(f'aria-label="{words}"').on_value_change(careful(self._begin))
        self.box = block("stack").props('aria-live="polite"')
        ui.keyboard(on_key=self._key)
        await careful(self._begin)()

    async def _begin(self, *_: object) -> None:
        self.box.clear()
        one, other = (side.value for side in self.sides)
        self.pairs, self.place = await self.visit.of(pairs, self.visit.caller.name, (one, other)), 0
        await self._draw()

    async def _draw(self) -> None:
        visit = self.visit
        self.box.clear()
        if self.place >= len(self.pairs):
            about = visit("Let both releases make something from the same seeds.")
            with self.box:
                parts.empty(visit("No pairs left"), about, visit("Create"), "/create")
            return
        pair = self.pairs[self.place]
        texts = [await self.written(id) for id in (pair.first, pair.second)]
        with self.box:
            tag("span", visit("{n} of {total}", n=self.place + 1, total=len(self.pairs)), "soft small num place")
            with block("half"):
                sides = ((pair.first, "← 1", "This one"), (pair.second, "→ 2", "That one"))
                for (id, key, name), text in zip(sides, texts, strict=True):
                    with block("stack"):
                        self.show_asset(id, text)
                        self._choice(key, visit(name))
            self._choice("↓ 0", visit("No difference"))
        self.since = time.monotonic()

    def _choice(self, key: str, words: str) -> None:
        with parts.plain(words, careful(lambda: self._say(SIDES[key[-1]]))):
            tag("kbd", key).style("margin-left:10px")

    async def _key(self, event: events.KeyEventArguments) -> None:
        if event.action.keydown and not event.action.repeat and event.key.name in SIDES:
            await careful(self._say)(SIDES[event.key.name])

    async def _say(self, prefers: str) -> None:
        if self.busy or self.place >= len(self.pairs):
            return
        self.busy = True
        try:
            pair = self.pairs[self.place]
            took = self.took()
            await decide(self.visit, [pair.first, pair.second], "prefer", prefers=prefers, seconds=took, position=self.place)
            self.place += 1
            await self._draw()
        finally:
            self.busy = False


async def _together(visit: Visit, releases: dict[str, str]) -> None:
    """Say what all reviewers say together: agreement, preferences and, to administrators, how they judged the gold items."""
    with block("half"):
        with section(visit("Agreement between reviewers")):
            missing = []
            for words, of in AGREED.items():
                try:
                    found = await visit.of(of)
                    parts.figure(f"{found.alpha:.2f}", visit(words, low=f"{found.low:.2f}", high=f"{found.high:.2f}", n=found.units))
                except KaratError as error:
                    missing.append(wrong(error, chinese=is_chinese())[0])
            if len(missing) == len(AGREED):
                tag("p", missing[0], "soft small")
        with section(visit("Preference")):
            try:
                standing = await visit.of(preferred)
                heads = [visit("Release"), visit("Strength"), visit("from"), visit("to"), visit("Compared")]
                parts.rows(
                    heads,
                    [
                        [releases.get(s.name, s.name[:8]), f"{s.strength:+.2f}", f"{s.low:+.2f}", f"{s.high:+.2f}", str(s.compared)]
                        for s in standing
                    ],
                )
            except KaratError as error:
                tag("p", wrong(error, chinese=is_chinese())[0], "soft small")
    if visit.may("admin"):
        about = visit("Assets whose right verdict is known stand unmarked among the others. Mark some in the gallery.")
        with section(visit("Gold items"), about):
            lines = [[line.by, str(line.judged), str(line.right), f"{line.right / line.judged:.0%}"] for line in await visit.of(gold)]
            heads = [visit("Reviewer"), visit("Judged"), visit("As expected"), ""]
            parts.rows(heads, lines) if lines else tag("p", visit("Nobody has judged a gold item yet."), "soft small")
