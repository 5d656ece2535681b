"""Releases: what a model can do and how well, beside the one before; its names, its report, its card, its file."""

from collections.abc import Mapping, Sequence

from nicegui import ui

from karat.app import aliasing
from karat.app.assets import AssetLine, Wanted, search
from karat.app.comparing import before, changes, read_part
from karat.app.policy import check_release
from karat.app.serving.catalog import Named, Offer
from karat.faces.studio import parts
from karat.faces.studio.parts import block, careful, heading, section, tag
from karat.faces.studio.visit import Visit, address, is_chinese
from karat.faces.studio.words import wrong
from karat.words.errors import KaratError

SHOWN = 6


async def build(visit: Visit) -> None:
    """Show all releases, or one."""
    named: Sequence[Named] = await visit.of(lambda store: visit.service.catalog.all())
    offers = {each.offer.id: each.offer for each in named}
    names: dict[str, list[str]] = {}
    for each in named:
        names.setdefault(each.offer.id, [])
        if each.name != each.offer.id:
            names[each.offer.id].append(each.name)
    if "of" in visit.query:
        offer = await visit.service.offer(visit.query["of"])
        await _one(visit, offer, names.get(offer.id, []))
        return
    heading(visit("Releases"), visit("What your team can make things with. Each is signed and whole: anyone can run it."))
    if not offers:
        parts.empty(visit("No release yet"), visit("Train a model, then measure and release it."), visit("Train"), "/train")
    with block("cards"):
        for offer in sorted(offers.values(), key=lambda each: -each.at):
            await _card(visit, offer, names)


async def _made(visit: Visit, release: str, count: int) -> tuple[AssetLine, ...]:
    return (await visit.of(search, Wanted(release=release), limit=count)).data


async def _card(visit: Visit, offer: Offer, names: Mapping[str, Sequence[str]]) -> None:
    made = await _made(visit, offer.id, SHOWN)  # a card that waits would be shown without its name
    with block("card", "a") as card:
        card._props["href"] = address("/releases", of=offer.id)
        with block("strip"):
            for asset in made:
                if asset.media_type.startswith("image/"):
                    parts.picture(f"/studio/assets/{asset.id}/thumb", "")
        with block("line apart"):
            tag("h3", offer.title)
            with block("line"):
                for name in names.get(offer.id, ()):
                    tag("span", name, "pill accent")
        tag("span", _about(visit, offer), "soft small")


def _about(visit: Visit, offer: Offer) -> str:
    size = f" {offer.width} × {offer.height}" if offer.width else ""
    told = ", ".join(offer.given) or visit("nothing")
    return f"{visit(offer.family)} · {visit(offer.makes)}{size} · {visit('told: {what}', what=told)}"


async def _one(visit: Visit, offer: Offer, names: Sequence[str]) -> None:
    with heading(offer.title, _about(visit, offer)):
        parts.plain(visit("Download"), careful(lambda: visit.take(check_release, offer.id, f"/studio/releases/{offer.id}/file")))
        parts.primary(visit("Create with it"), lambda: ui.navigate.to(address("/create", **{"with": offer.id})))
    made = await _made(visit, offer.id, 24)
    if made:
        with parts.wall(side=104):
            for asset in made:
                if asset.media_type.startswith("image/"):
                    parts.tile(f"/studio/assets/{asset.id}/thumb", visit("Asset"), address("/gallery", asset=asset.id))
    with block("half"):
        await _scores(visit, offer)
        with block("stack wide"):
            await _names(visit, offer, names)
            await _card_text(visit, offer)
    try:
        await visit.of(read_part, offer.id, "report.html")
    except KaratError:
        return
    with section(visit("Report")):
        source = f"/studio/releases/{offer.id}/report.html"
        frame = block("page", "iframe").props(f'src="{source}" title="{visit("Report")}" loading="lazy"')
        frame._props["sandbox"] = ""  # nothing in a report runs


async def _scores(visit: Visit, offer: Offer) -> None:
    older = await visit.of(before, offer.id)
    with section(visit("Scores"), visit("Beside the release before, and beside real data.") if older else visit("Beside real data.")):
        try:
            found = await visit.of(changes, offer.id, older)
        except KaratError as error:
            tag("p", " ".join(wrong(error, chinese=is_chinese())), "soft")
            return
        lines = []
        for change in found:
            score, word = change.score, {True: "↑ " + visit("better"), False: "↓ " + visit("worse"), None: ""}[change.better]
            old = f"{change.before.value:.3g}" if change.before else ""
            real = "" if score.real is None else f"{score.real:.3g}"
            lines.append([f"{visit(score.title)} · {visit(score.space)}", f"{score.value:.3g}", real, *([old, word] if older else [])])
        parts.rows(["", visit("This one"), visit("Real"), *([visit("Before"), ""] if older else [])], lines)


async def _names(visit: Visit, offer: Offer, names: Sequence[str]) -> None:
    """Show the names of a release, let it have another one, and let a name go back to what it meant before."""
    with section(visit("Names"), visit("Clients ask for a name. What it means can change without them noticing.")):
        for name in names:
            history = await visit.of(aliasing.history, name)
            with block("line apart"):
                tag("span", name, "pill accent")
                if len(history) > 1 and visit.may("admin"):

                    @careful
                    async def back(name: str = name) -> None:
                        told = await visit.of(aliasing.roll_back, name)
                        visit.note(f"alias/{name}/back")
                        parts.done(visit("{name} is now {title}.", name=name, title=told.about or told.record[:8]))
                        ui.navigate.to(address("/releases", of=told.record))

                    parts.bare(visit("Roll back"), back)
        if visit.may("train"):
            with block("line"):
                wanted = ui.input(visit("Another name"), placeholder="digits:live").props("outlined dense").classes("grow")

                @careful
                async def point() -> None:
                    await visit.of(aliasing.point, wanted.value.strip(), offer.id)
                    visit.note(f"alias/{wanted.value.strip()}")
                    ui.navigate.reload()

                parts.plain(visit("Give it"), point)


async def _card_text(visit: Visit, offer: Offer) -> None:
    card = (await visit.of(read_part, offer.id, "card.md")).decode("utf-8", "replace")
    body = card.split("---", 2)[-1] if card.startswith("---") else card
    with ui.expansion(visit("Card")):
        ui.markdown(body, extras=["tables"])
