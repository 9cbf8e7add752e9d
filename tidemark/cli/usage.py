"""`tidemark usage` and `tidemark top`: what one customer has used, live and stored; who used most in the last hour."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.table import Table

from tidemark.cli.output import Json, emit, say
from tidemark.core.errors import UnavailableError
from tidemark.core.settings import load
from tidemark.live import leaderboard
from tidemark.live import usage as live_usage
from udfs.decimals import plain

RunId = Annotated[str | None, typer.Option("--run-id", help="A run with topics, schema and keys of its own.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the `tidemark` app."""
    app.command("usage")(usage)
    app.command("top")(top)


def usage(tenant: str, customer: str, run_id: RunId = None, as_json: Json = False) -> None:
    """Print live counter and stored total of the latest period of each meter, side by side."""
    found = live_usage.usage(load(run_id=run_id), tenant, customer)
    for reason in found.unavailable.values():
        say(reason)
    emit(found.document(), _text(found), as_json=as_json)
    if found.unavailable:
        raise typer.Exit(UnavailableError.exit_code)


def top(tenant: str, meter: str, run_id: RunId = None, as_json: Json = False) -> None:
    """Print the customers with the greatest totals of a meter in the latest complete hour, from the leaderboard."""
    found = leaderboard.top(load(run_id=run_id), tenant, meter)
    if found is None:
        emit(
            {"tenant_id": tenant, "meter": meter, "customers": []},
            f"no leaderboard of {tenant}, {meter}",
            as_json=as_json,
        )
        return
    customers = [{"customer_id": customer, "total": plain(total)} for customer, total in found.totals]
    start, end = (
        at.isoformat(timespec="seconds").replace("+00:00", "Z") for at in (found.window_start, found.window_end)
    )
    document = {"tenant_id": tenant, "meter": meter, "window_start": start, "window_end": end, "customers": customers}
    table = Table("place", "customer", "total", title=f"{start} - {end}")
    for place, row in enumerate(customers, 1):
        table.add_row(str(place), row["customer_id"], row["total"])
    emit(document, table, as_json=as_json)


def _text(found: live_usage.Usage) -> Any:
    if not found.meters:
        return f"no usage of {found.tenant}/{found.customer}"
    table = Table("meter", "side", "period", "samples", "value", "equal")
    for meter in found.meters:
        for side, total in (("live", meter.live), ("stored", meter.stored)):
            cells = (
                ("-", "-", "-")
                if total is None
                else (f"{total.period_start} - {total.period_end}", str(total.samples), total.value)
            )
            table.add_row(meter.meter, side, *cells, ("yes" if meter.equal else "no") if meter.has_counter else "-")
    return table
