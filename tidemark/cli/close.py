"""`tidemark close`: closes what is due, corrects what changed, tells Kafka; once or all the time."""

from __future__ import annotations

import getpass
from typing import Annotated, Any

import typer
from rich.table import Table

from tidemark.billing import close as billing_close
from tidemark.billing.lines import rfc3339
from tidemark.cli.output import Json, emit, say
from tidemark.cli.until_stopped import until_stopped
from tidemark.core.errors import UsageError
from tidemark.core.settings import load
from tidemark.reconcile import run
from udfs.catalog.model import Pair

RunId = Annotated[str | None, typer.Option("--run-id", help="A run with topics, schemas and keys of its own.")]
By = Annotated[str | None, typer.Option(help="Who closes, for the record; the user of this machine when left out.")]


def register(app: typer.Typer) -> None:
    """Add the command to the `tidemark` app."""
    app.command("close")(close)


def close(
    watch: Annotated[bool, typer.Option("--watch", help="Go on until SIGTERM or Ctrl-C; logs JSON lines.")] = False,
    accept_dead_letters: Annotated[
        list[str] | None, typer.Option(help="TENANT/CUSTOMER: close in spite of its dead letters; repeatable.")
    ] = None,
    reconcile: Annotated[
        bool, typer.Option("--reconcile", help="Reconcile before and after; exit code 4 when a difference is open.")
    ] = False,
    by: By = None,
    run_id: RunId = None,
    as_json: Json = False,
) -> None:
    """Close every period whose end + grace lies behind the arrival watermark; exit code 1 when one is refused."""
    settings = load(run_id=run_id)
    accepted = [_pair(text) for text in accept_dead_letters or ()]
    if watch:
        if accepted or reconcile:
            raise UsageError(
                "what is accepted, and reconciling, are of one close.",
                "leave out --watch, or --accept-dead-letters and --reconcile; `tidemark reconcile watch` is daily.",
            )
        billing_close.watch(settings, by or f"close --watch by {user()}", until_stopped())
        return
    # What is found before is refused below; what is found after names a close that must not be signed.
    checked = [run.run(settings, run.Request(), say)] if reconcile else []
    found = billing_close.close(settings, by or user(), accept=accepted, progress=say)
    checked += [run.run(settings, run.Request(), say)] if reconcile else []
    emit(_document(found), _text(found), as_json=as_json)
    for report in checked[1:]:
        report.raise_if_open()
    if found.refused:
        raise typer.Exit(1)


def user() -> str:
    """Who runs this, as the system knows."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"


def _pair(text: str) -> Pair:
    tenant, slash, customer = text.partition("/")
    if not (tenant and slash and customer):
        raise UsageError(f"{text!r} names no customer.", "write TENANT/CUSTOMER.")
    return tenant, customer


def _document(found: billing_close.Closed) -> dict[str, Any]:
    refused = [
        {
            "cause": one.cause,
            "detail": one.detail,
            "periods": [
                {
                    "tenant_id": key.tenant_id,
                    "customer_id": key.customer_id,
                    "period_start": rfc3339(key.start),
                    "period_end": rfc3339(key.end),
                }
                for key in one.periods
            ],
        }
        for one in found.refused
    ]
    return {
        "watermark": None if found.watermark is None else rfc3339(found.watermark),
        "closes": found.closes,
        "corrections": found.corrections,
        "told": found.told,
        "refused": refused,
    }


def _text(found: billing_close.Closed) -> Any:
    at = "not known" if found.watermark is None else rfc3339(found.watermark)
    line = f"arrival watermark {at}: closed {found.closes:,} periods, made {found.corrections:,} corrections"
    if not found.refused:
        return line
    table = Table("refused", "periods", "why", title=line, title_justify="left")
    for one in found.refused:
        table.add_row(one.cause, f"{len(one.periods):,}", one.detail)
    return table
