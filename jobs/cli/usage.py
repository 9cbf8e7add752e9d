"""`tidemark usage`: what one customer has used, live and stored."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.table import Table

from jobs import usage as jobs_usage
from jobs.cli.output import Json, emit, say
from jobs.errors import UnavailableError
from jobs.settings import load

RunId = Annotated[str | None, typer.Option("--run-id", help="A run with topics, schema and keys of its own.")]


def register(app: typer.Typer) -> None:
    """Add the command to the `tidemark` app."""
    app.command("usage")(usage)


def usage(tenant: str, customer: str, run_id: RunId = None, as_json: Json = False) -> None:
    """Print live counter and stored total of the latest period of each meter, side by side."""
    found = jobs_usage.usage(load(run_id=run_id), tenant, customer)
    for reason in found.unavailable.values():
        say(reason)
    emit(found.document(), _text(found), as_json=as_json)
    if found.unavailable:
        raise typer.Exit(UnavailableError.exit_code)


def _text(found: jobs_usage.Usage) -> Any:
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
