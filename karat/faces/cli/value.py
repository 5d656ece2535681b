"""`karat verdict`, `karat value` and `karat prices`."""

import getpass
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from karat.faces.cli.face import face_of, table
from karat.words.errors import SpecError

if TYPE_CHECKING:
    from karat.app.costs import Estimate, Value

STATES = ("accepted", "edited", "rejected", "disputed", "open")


def register(app: typer.Typer) -> None:
    app.command(epilog="karat verdict 3fa9c1d2 --accept\n\nkarat verdict 3fa9c1d2 --reject --tag blurred --note 'Two heads.'")(verdict)
    app.command(epilog="karat value digits:live\n\nkarat value")(value)
    app.command(epilog="karat prices --device-hour 0.9 --reviewer-hour 40 --currency EUR")(prices)


def verdict(
    context: typer.Context,
    asset: Annotated[str, typer.Argument(metavar="ASSET", help="The asset's id, or the start of it.")],
    accept: Annotated[bool, typer.Option("--accept", help="It can be used as it is.")] = False,
    reject: Annotated[bool, typer.Option("--reject", help="It cannot be used.")] = False,
    edit: Annotated[bool, typer.Option("--edit", help="It can be used once it was edited.")] = False,
    tag: Annotated[list[str] | None, typer.Option(help="What is to be noticed about it. May be repeated.")] = None,
    note: Annotated[str, typer.Option(help="The reason, in words.")] = "",
    by: Annotated[str | None, typer.Option(help="Who says so; the name of the account if not given.")] = None,
    seconds: Annotated[float | None, typer.Option(min=0, help="How long it took, for the costs.")] = None,
) -> None:
    """Say whether an asset can be used. The last word of each person counts."""
    from karat.app import verdicts

    chosen = [name for name, given in (("accept", accept), ("reject", reject), ("edit", edit)) if given]
    if len(chosen) > 1 or not (chosen or tag):
        raise SpecError("This is no verdict.", repair="Give one of --accept, --reject and --edit, or --tag alone.")
    face = face_of(context)
    store = face.store()
    said = verdicts.Verdict(
        judgement=chosen[0] if chosen else "tags",
        by=by or getpass.getuser(),
        at=time.time(),
        seconds=seconds,
        tags=tuple(tag or ()),
        note=note,
    )
    made = store.get(verdicts.judge(store, [asset], said))
    face.tell(made, [f"Verdict {made.id[:12]}. Next: karat value"])


def value(
    context: typer.Context,
    release: Annotated[str | None, typer.Argument(metavar="RELEASE", help="A release; without one, all assets.")] = None,
) -> None:
    """Say what assets cost, each and each accepted one, and where the cost comes from."""
    from karat.app.costs import value as value_of

    face = face_of(context)
    found = value_of(face.store(), release)
    face.tell(found, _lines(found))


def prices(
    context: typer.Context,
    device_hour: Annotated[float | None, typer.Option(min=0, help="What an hour of a worker costs.")] = None,
    reviewer_hour: Annotated[float | None, typer.Option(min=0, help="What an hour of a reviewer costs.")] = None,
    currency: Annotated[str | None, typer.Option(help="In which currency.")] = None,
) -> None:
    """Show the prices that costs are counted at, or declare them from now on."""
    from karat.app import costs

    face = face_of(context)
    store = face.store()
    changes = {"device_hour": device_hour, "reviewer_hour": reviewer_hour, "currency": currency}
    given = {name: change for name, change in changes.items() if change is not None}
    held = costs.prices(store)
    if given:
        held = costs.declare(store, held.changed(**given, since=time.time()))
    lines = [("device hour", f"{held.device_hour:g} {held.currency}"), ("reviewer hour", f"{held.reviewer_hour:g} {held.currency}")]
    face.tell(held, table(lines))


def _lines(found: "Value") -> Iterator[str]:
    counts = ", ".join(f"{found.states[name]:,} {name}" for name in STATES if name in found.states)
    yield f"{found.assets:,} assets{f': {counts}' if counts else ''}"
    rows = [("cost", _money(found.cost, found.currency))]
    rows += [(f"  {part}", _money(amount, found.currency)) for part, amount in sorted(found.parts.items(), key=lambda each: -each[1])]
    rows += [("per asset", _estimate(found.per_asset, found.currency))]
    rows += [("per accepted asset", _estimate(found.per_accepted, found.currency))]
    rows += [("without assets yet", _money(found.unallocated, found.currency))]
    rows += [("device", f"{found.device_hours:,.2f} hours"), ("review", f"{found.reviewer_minutes:,.1f} minutes")]
    yield from table(rows, indent="  ")


def _money(amount: float, currency: str) -> str:
    return f"{amount:,.4g} {currency}".rstrip()


def _estimate(found: "Estimate | None", currency: str) -> str:
    if found is None:
        return "not known yet: none were accepted"
    high = "?" if found.high is None else f"{found.high:,.4g}"
    return f"{_money(found.value, currency)} ({found.low:,.4g} to {high})"
