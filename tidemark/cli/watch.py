"""`tidemark watch`: which tenants are over a bound of volume, series or unique values, once or all the time."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

import typer

from tidemark.cli.output import Json, Table, emit
from tidemark.cli.until_stopped import until_stopped
from tidemark.core.settings import load
from tidemark.quotas import daemon
from udfs.values import rfc3339

RunId = Annotated[str | None, typer.Option("--run-id", help="A run with topics, schema and keys of its own.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the `tidemark` app."""
    group = typer.Typer(help="Volume, series and unique values of tenants.", no_args_is_help=True)
    group.command("run")(run)
    group.command("check")(check)
    app.add_typer(group, name="watch")


def run(run_id: RunId = None) -> None:
    """Raise and end alarms over tenants, until SIGTERM or Ctrl-C; logs JSON lines to stderr, drops nothing."""
    settings = load(run_id=run_id)
    daemon.run(settings, until_stopped())


def check(run_id: RunId = None, as_json: Json = False) -> None:
    """Print which tenants are over a bound and how far the biggest ones are; exit code 0 either way."""
    found = daemon.check(load(run_id=run_id))
    emit(_document(found), _text(found), as_json=as_json)


def _document(found: daemon.Check) -> dict[str, Any]:
    running = [
        {
            "tenant_id": alarm.tenant,
            "rule": alarm.rule,
            "since": rfc3339(alarm.since),
            "value": alarm.value,
            "bound": alarm.bound,
            "hour": rfc3339(alarm.hour) if alarm.hour else "",
        }
        for alarm in found.running
    ]
    return {"tenants": [{**asdict(one), "over": one.over} for one in found.standings], "firing": running}


def _text(found: daemon.Check) -> Any:
    if not found.standings:
        return "no usage was written lately"
    firing = {(alarm.tenant, alarm.rule) for alarm in found.running}
    table = Table("tenant", "rule", "value", "bound", "share", "hour", "")
    for one in found.standings:
        state = "firing" if (one.tenant_id, one.rule) in firing else "over" if one.over else ""
        share = f"{one.value / one.bound:.1%}"
        table.add_row(one.tenant_id, one.rule, f"{one.value:,}", f"{one.bound:,}", share, one.hour, state)
    return table
