"""The policy on the page Admin: what the house demands, declared from now on, and what was declared before."""

import time

from nicegui import ui

from karat.app.policy import Policy, declare_policy, policy, policy_history
from karat.faces.studio import parts
from karat.faces.studio.data import LICENCES
from karat.faces.studio.parts import block, careful, section, tag
from karat.faces.studio.visit import Visit

DEMANDS = {
    "reviewed": "Files leave only after reviewers have accepted them",
    "labelled": "Files leave only with a label that says they were generated",
    "original": "Files leave only with the verdict that they copy no training sample",
}
ALLOWED = "Licences that a release may have; all, if none is named"
NAMES = {
    **DEMANDS,
    "licences": ALLOWED,
    "calls_days": "Days for which calls are kept; for good if empty",
    "uploads_days": "Days for which uploads that nobody imported are kept",
}


async def show_policy(visit: Visit) -> None:
    """Show the policy that holds, let another be declared, and say what was changed by whom."""
    held = await visit.of(policy)
    with section(visit("Policy"), visit("What the house demands. The server, every release and every export keep to it.")):
        switches = {name: ui.switch(visit(words), value=getattr(held, name)) for name, words in DEMANDS.items()}
        known = sorted({each for each in LICENCES if each} | {"unknown", *held.licences})
        licences = ui.select(known, value=list(held.licences), multiple=True, new_value_mode="add-unique", label=visit(ALLOWED))
        licences.props("outlined dense use-chips").style("width:100%")
        with block("line"):
            days = {
                name: ui.number(visit(NAMES[name]), value=getattr(held, name), min=1, precision=0).props("outlined dense").classes("grow")
                for name in ("calls_days", "uploads_days")
            }

        @careful
        async def declare() -> None:
            visit.caller.need("admin")
            wanted = {name: switch.value for name, switch in switches.items()} | {name: field.value for name, field in days.items()}
            said = {**wanted, "licences": tuple(licences.value), "by": visit.caller.name, "since": time.time()}
            await visit.of(declare_policy, Policy.from_values({name: each for name, each in said.items() if each is not None}))
            visit.note("policy")
            ui.navigate.reload()

        parts.plain(visit("Declare"), declare)
        lines = [
            [f"{parts.day(each.at)} {each.by}", visit(NAMES[each.name]), f"{_told(visit, each.before)} → {_told(visit, each.after)}"]
            for each in await visit.of(policy_history)
        ]
        if lines:
            tag("h3", visit("What was changed"))
            parts.rows([visit("Who"), visit("What"), ""], lines[:20])


def _told(visit: Visit, value: object) -> str:
    if isinstance(value, bool):
        return visit("yes") if value else visit("no")
    if isinstance(value, float):
        return f"{value:g}"
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) and value else "–"
