"""Data: bring files, see what is wrong with them, decide, and make a snapshot to train on."""

import asyncio
import io

from nicegui import events, ui

from karat.app.checking import Checkup, FindingGroup, checkup
from karat.app.data import overview
from karat.app.library import Shelf, library, shelf
from karat.app.serving.service import Job
from karat.faces.studio import parts
from karat.faces.studio.parts import block, careful, heading, section, tag
from karat.faces.studio.underway import UnderWay
from karat.faces.studio.visit import Visit, address

LICENCES = ("", "CC0-1.0", "CC-BY-4.0", "CC-BY-SA-4.0", "CC-BY-NC-4.0", "proprietary")
SPLITS = ("train", "validation", "test", "judge")


async def build(visit: Visit) -> None:
    """Show all data, or one source or snapshot."""
    if "of" in visit.query:
        await _one(visit, visit.query["of"])
        return
    heading(visit("Data"), visit("What your models learn from. Nothing leaves this machine."))

    async def ended(job: Job) -> None:
        if job.state == "done" and job.kind in ("import", "snapshot"):
            ui.navigate.to(address("/data", of=job.result["id"]))

    under = UnderWay(visit, ("import", "check", "snapshot"), ended)
    _bring(visit, under)
    snapshots, sources = await visit.of(library, "snapshot"), await visit.of(library, "source")
    for title, shelves in ((visit("Snapshots"), snapshots), (visit("Sources"), sources)):
        if shelves:
            with section(title), block("cards"):
                for each in shelves:
                    _card(visit, each)
    if not sources:
        parts.empty(visit("No data yet"), visit("Drop pictures or texts above, or a zip file whose folders name what is in them."))


def _bring(visit: Visit, under: UnderWay) -> None:
    """Put the place where files are dropped."""
    with block("stack"):
        with block("line"):
            name = ui.input(visit("Name")).props("outlined dense").classes("grow name")
            label = ui.input(visit("Label of these files")).props("outlined dense").classes("grow")
            licence = ui.select({each: each or visit("unknown") for each in LICENCES}, value="", label=visit("Licence"))
            licence.props("outlined dense").classes("grow")

        @careful
        async def bring(files: events.MultiUploadEventArguments) -> None:
            lots = visit.service.lots
            lot = await asyncio.to_thread(lots.new)
            for file in files.files:
                place = f"{label.value.strip()}/{file.name}" if label.value.strip() else file.name
                await asyncio.to_thread(lots.put, lot, place, io.BytesIO(await file.read()))
            options = {"name": name.value or None, "licence": licence.value or None, "origin": visit.caller.name}
            await visit.ask("import", {"upload": lot, "options": options})
            drop.reset()
            await under.look()

        title = visit("Drop pictures, texts or a zip file here")
        drop = ui.upload(multiple=True, auto_upload=True, label=title, on_multi_upload=bring)
        drop.props(f'flat batch aria-label="{title}" max-file-size={visit.service.settings.most_bytes}').classes("drop")
        drop.on("rejected", lambda: ui.notify(visit("A file is too large, or of no kind that can be read."), type="negative"))


def _card(visit: Visit, each: Shelf) -> None:
    with block("card", "a") as card:
        card._props["href"] = address("/data", of=each.id)
        _strip(each)
        with block("stack tight"):
            tag("h3", each.name)
            tag("span", _counts(visit, each), "soft small num")


def _strip(each: Shelf) -> None:
    with block("strip"):
        for piece in each.pieces:
            if piece.text is None:
                parts.picture(parts.thumb(piece.blob), piece.words or piece.name)
    texts = [piece.text for piece in each.pieces if piece.text is not None]
    if texts:
        tag("p", " ".join(texts[0].split())[:140], "small soft")


def _counts(visit: Visit, each: Shelf) -> str:
    if each.kind == "source":
        return visit("{n} samples", n=f"{each.counts['all']:,}") + (f" · {each.licence[:24]}" if each.licence else "")
    return " · ".join(f"{each.counts[split]:,} {visit(split)}" for split in SPLITS if each.counts.get(split))


async def _one(visit: Visit, ref: str) -> None:
    one = await visit.of(shelf, ref)
    with heading(one.name, _counts(visit, one)):
        if one.kind == "snapshot" and visit.may("train"):
            parts.primary(visit("Train on this"), lambda: ui.navigate.to(address("/train", on=one.id)))
        if one.kind == "source" and visit.may("train"):
            parts.remover(visit, one.id, "/data")
    with section(visit("Contact sheet")), parts.wall(side=96):
        for piece in one.pieces:
            if piece.text is None:
                parts.tile(parts.thumb(piece.blob), piece.words or piece.name).tooltip(f"{piece.name} {piece.words}".strip())
            else:
                parts.text_tile(piece.text, piece.name, "#")
    if one.kind == "source":
        await _findings(visit, one)
    await _about(visit, one)


async def _about(visit: Visit, one: Shelf) -> None:
    seen = await visit.of(overview, one.id)
    with block("half"):
        with section(visit("Origin")):
            lines = [(visit("From"), ", ".join(seen.names)), (visit("Origin"), ", ".join(seen.origins))]
            lines += [(visit("Licences"), ", ".join(seen.licences))]
            lines += [(visit("{column}: captions", column=column), f"{count:,}") for column, count in seen.captions.items()]
            lines += [(visit("Left out: {check}", check=visit(check)), f"{count:,}") for check, count in seen.left_out.items()]
            parts.facts(lines)
        labels = sorted({label for of in seen.labels.values() for label in of})
        if labels:
            with section(visit("Labels")):
                table = [[label, *(f"{seen.labels[part].get(label, 0):,}" for part in seen.counts)] for label in labels[:30]]
                parts.rows(["", *(visit(part) for part in seen.counts)], table)


async def _findings(visit: Visit, one: Shelf) -> None:
    """Show what the checks found, let each kind be kept or left out, and make the snapshot."""
    found: Checkup | None = await visit.of(checkup, one.id)
    decided: dict[str, bool] = {}

    async def ended(job: Job) -> None:
        if job.state != "done":
            return
        ui.navigate.to(address("/data", of=job.result["id"] if job.kind == "snapshot" else one.id))

    under = UnderWay(visit, ("check", "snapshot"), ended)
    with section(visit("Findings"), visit("Nothing is dropped unless you say so here.")):
        if found is None:

            @careful
            async def start() -> None:
                await visit.ask("check", {"refs": [one.id]}, soon=True)
                await under.look()

            parts.plain(visit("Look for problems"), start)
        elif not found.groups:
            tag("p", visit("{n} samples were checked, and nothing was found.", n=f"{found.samples:,}"), "soft")
        for group in found.groups if found else ():
            _group(visit, group, decided)
    _snapshot(visit, one, decided, under)


def _group(visit: Visit, group: FindingGroup, decided: dict[str, bool]) -> None:
    decided[group.check] = group.drops
    with block("card"):
        with block("line apart"):
            with block("line"):
                tag("h3", visit(group.check))
                tag("span", f"{group.count:,}", "pill num")
            choice = ui.toggle({True: visit("Leave out"), False: visit("Keep")}, value=group.drops).props("no-caps dense unelevated")
            choice.on_value_change(lambda change: decided.update({group.check: change.value}))
        tag("p", visit(group.repair), "soft small")
        with parts.wall(side=72):
            for example in group.examples:
                if example.blob and example.modality == "image" and group.check not in ("unreadable", "empty", "bomb", "truncated"):
                    parts.tile(parts.thumb(example.blob), f"{example.sample}: {example.message}").tooltip(
                        f"{example.sample}: {example.message}"
                    )
        for example in [each for each in group.examples if each.modality != "image" or not each.blob][:4]:
            tag("p", f"{example.sample}: {example.message}", "small soft")


def _snapshot(visit: Visit, one: Shelf, decided: dict[str, bool], under: UnderWay) -> None:
    about = visit("A snapshot is cleaned, split and never changes. Models are trained on snapshots.")
    with section(visit("Snapshot"), about), block("line"):
        name = ui.input(visit("Name"), value=one.name.replace(" ", "-")[:40]).props("outlined dense").classes("grow")
        test = ui.number(visit("Held out for the test, %"), value=18, min=5, max=50, step=1).props("outlined dense").style("width:210px")

        @careful
        async def make() -> None:
            share = float(test.value or 18) / 100
            fractions = {"train": round(0.8 - share, 4), "test": share}
            drop, keep = ([check for check, out in decided.items() if out is wanted] for wanted in (True, False))
            wish = {"drop": drop, "keep": keep, "fractions": fractions}
            await visit.ask("snapshot", {"refs": [one.id], "wish": wish, "alias": name.value.strip() or None}, soon=True)
            await under.look()

        parts.primary(visit("Make the snapshot"), make)
