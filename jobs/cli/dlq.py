"""`tidemark dlq`: what was not counted, and why."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Group
from rich.table import Table
from rich.text import Text

from jobs.cli.output import Json, emit, say
from jobs.dlq import count_by_reason, dead_letters, preview, select
from jobs.settings import load


def register(app: typer.Typer) -> None:
    """Add the command group to the `tidemark` app."""
    group = typer.Typer(help="Events that were not counted.", no_args_is_help=True)
    group.callback()(_group)
    group.command("list")(list_)
    app.add_typer(group, name="dlq")


def _group() -> None:
    """Events that were not counted."""


def list_(
    reason: Annotated[str | None, typer.Option(help="Only this reason code.")] = None,
    tenant: Annotated[str | None, typer.Option(help="Only this tenant.")] = None,
    limit: Annotated[int, typer.Option(min=0, help="Records shown, the newest of each partition last.")] = 20,
    run_id: Annotated[str | None, typer.Option("--run-id", help="Dead letters of this run.")] = None,
    as_json: Json = False,
) -> None:
    """List dead letters with their original bytes, and how many there are by reason."""
    settings = load(run_id=run_id)
    say(f"reading {settings.names.dlq} …")
    chosen = select(dead_letters(settings), reason, tenant)
    shown = chosen[len(chosen) - min(limit, len(chosen)) :]
    counts = count_by_reason(chosen)
    emit({"total": len(chosen), "by_reason": counts, "records": shown}, _drawn(shown, counts), as_json=as_json)


def _drawn(records: list[dict[str, object]], counts: dict[str, int]) -> Group:
    table = Table("partition:offset", "arrival", "reason", "detail", "original")
    for record in records:
        position = f"{record['partition']}:{record['offset']}"
        cells = (position, record["arrival"], record["reason"], record["detail"], preview(record))
        # Text, not markup: the original is somebody's data and may hold brackets.
        table.add_row(*(Text(str(cell)) for cell in cells))
    totals = Table("reason", "records")
    for reason, count in counts.items():
        totals.add_row(reason, f"{count:,}")
    return Group(table, totals)
