"""Admin: who may come in and do what, the keys of programs, the policy of the house, and every call that was made."""

import asyncio
import time

from nicegui import ui

from karat.faces.studio import parts
from karat.faces.studio.parts import block, careful, heading, section, tag
from karat.faces.studio.policing import show_policy
from karat.faces.studio.visit import Visit

ROLES = ("creator", "reviewer", "trainer", "admin")
SCOPES = ("generate", "review", "train", "admin")
CALLS = 50


async def build(visit: Visit) -> None:
    """Show people, keys and the audit log."""
    heading(visit("Admin"))
    with block("half"):
        await _people(visit)
        await _keys(visit)
    await show_policy(visit)
    await _calls(visit)


async def _people(visit: Visit) -> None:
    people = visit.service.people
    with section(visit("People")):
        for person in await asyncio.to_thread(people.all):
            with block("line apart"):
                with block("stack tight"):
                    tag("span", person.name)
                    tag("span", visit("has left") if person.left else visit(person.role), "soft small")
                if person.name != visit.caller.name:

                    @careful
                    async def leave(name: str = person.name, left: bool = person.left is None) -> None:
                        await asyncio.to_thread(people.change, name, left=left)
                        visit.note(f"people/{name}")
                        ui.navigate.reload()

                    parts.bare(visit("Let them back in") if person.left else visit("Send away"), leave)
        _password(visit)
        with ui.expansion(visit("Add a person")).props("dense"), block("stack"):
            name = ui.input(visit("Name")).props("outlined dense autocomplete=off")
            password = ui.input(visit("Password, ten characters or more"), password=True).props("outlined dense autocomplete=new-password")
            role = ui.select({each: visit(each) for each in ROLES}, value="creator", label=visit("Role")).props("outlined dense")

            @careful
            async def add() -> None:
                await asyncio.to_thread(people.add, name.value, password.value, role.value)
                visit.note(f"people/{name.value}")
                ui.navigate.reload()

            parts.plain(visit("Add"), add)


def _password(visit: Visit) -> None:
    people = visit.service.people
    with ui.expansion(visit("Change a password")).props("dense"), block("stack"):
        name = ui.select([person.name for person in people.all()], label=visit("Name")).props("outlined dense")
        password = ui.input(visit("New password"), password=True).props("outlined dense autocomplete=new-password")

        @careful
        async def change() -> None:
            await asyncio.to_thread(people.change, name.value or "", password=password.value)
            visit.note(f"people/{name.value}/password")
            parts.done(visit("Changed. Who was signed in with the old one is signed out."))

        parts.plain(visit("Change it"), change)


async def _keys(visit: Visit) -> None:
    keys = visit.service.keys
    with section(visit("Keys"), visit("For programs. A key is shown once.")):
        now = time.time()
        for key in await asyncio.to_thread(keys.all):
            over = key.revoked is not None or (key.expires is not None and key.expires <= now)
            with block("line apart"):
                with block("stack tight"):
                    tag("span", key.name)
                    tag("span", visit("ended") if over else ", ".join(visit(scope) for scope in key.scopes), "soft small")
                if not over:

                    @careful
                    async def revoke(id: str = key.id) -> None:
                        await asyncio.to_thread(keys.revoke, id)
                        visit.note(f"keys/{id}/revoke")
                        ui.navigate.reload()

                    parts.bare(visit("Revoke"), revoke)
        with ui.expansion(visit("Make a key")).props("dense"), block("stack"):
            name = ui.input(visit("Who uses it")).props("outlined dense autocomplete=off")
            scopes = ui.select({each: visit(each) for each in SCOPES}, value=["generate"], multiple=True, label=visit("It may"))
            scopes.props("outlined dense use-chips")
            days = ui.number(visit("Days that it holds"), value=90, min=1, precision=0).props("outlined dense clearable")
            budget = ui.number(visit("Budget"), min=0).props("outlined dense clearable")
            shown = tag("p", "", "card prose").props('role="status"')
            shown.set_visibility(False)

            @careful
            async def make() -> None:
                seconds = float(days.value) * 86400 if days.value else None
                made = await asyncio.to_thread(keys.make, name.value, scopes.value, seconds=seconds, budget=budget.value)
                visit.note(f"keys/{made.key.id}")
                shown.text = visit("Copy it now, it is not shown again: {secret}", secret=made.secret)
                shown.set_visibility(True)

            parts.plain(visit("Make"), make)


async def _calls(visit: Visit) -> None:
    with section(visit("Calls"), visit("The last {n}, newest first.", n=CALLS)):
        lines = []
        for call in await asyncio.to_thread(visit.service.store.calls.latest, limit=CALLS):
            at = time.strftime("%Y-%m-%d\u00a0%H:%M:%S", time.localtime(call.at))
            lines.append([at, call.who or "", f"{call.method} {call.path}", str(call.status), f"{1000 * call.seconds:,.0f}\u00a0ms"])
        parts.rows([visit("When"), visit("Who"), visit("What"), visit("Answer"), visit("Time")], lines)
