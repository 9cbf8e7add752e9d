"""`tidemark quotas`: which tenants are over a bound of volume, series or unique values."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import typer

from tidemark.cli.output import Json, Table, emit, say
from tidemark.cli.run_id import RunId
from tidemark.core.settings import load
from tidemark.quotas import daemon
from udfs.values import rfc3339


def register(app: typer.Typer) -> None:
    """Add the commands to the `tidemark` app."""
    group = typer.Typer(help="Volume, series and unique values of tenants.", no_args_is_help=True)
    group.command("check")(check)
    app.add_typer(group, name="quotas")


def check(run_id: RunId = None, as_json: Json = False) -> None:
    """Print which tenants are over a bound and how far the biggest ones are; exit code 0 either way."""
    result = daemon.check(load(run_id=run_id))
    for replay in result.promoted:
        say(f"people read run {replay}, which has figures of its own: `tidemark quotas check --run-id {replay}`")
    emit(_document(result), _text(result), as_json=as_json)


def _document(result: daemon.Check) -> dict[str, Any]:
    running = [
        {
            "tenant_id": alarm.tenant,
            "rule": alarm.rule,
            "since": rfc3339(alarm.since),
            "value": alarm.value,
            "bound": alarm.bound,
            "hour": rfc3339(alarm.hour) if alarm.hour else "",
        }
        for alarm in result.running
    ]
    tenants = [{**asdict(rank), "over": rank.over} for rank in result.ranks]
    return {"tenants": tenants, "firing": running, "promoted": list(result.promoted)}


def _text(result: daemon.Check) -> Any:
    if not result.ranks:
        return "no usage was written lately"
    firing = {(alarm.tenant, alarm.rule) for alarm in result.running}
    table = Table("tenant", "rule", "value", "bound", "share", "hour", "")
    for rank in result.ranks:
        state = "firing" if (rank.tenant_id, rank.rule) in firing else "over" if rank.over else ""
        share = f"{rank.value / rank.bound:.1%}"
        table.add_row(rank.tenant_id, rank.rule, f"{rank.value:,}", f"{rank.bound:,}", share, rank.hour, state)
    return table
