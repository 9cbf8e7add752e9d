"""`tidemark live`: the live counters in Redis."""

from __future__ import annotations

from dataclasses import asdict

import typer

from tidemark.cli.by import By
from tidemark.cli.output import Json, emit, say
from tidemark.cli.run_id import RunId
from tidemark.core import audit
from tidemark.core.settings import load
from tidemark.live import counters


def register(app: typer.Typer) -> None:
    """Add the commands to the `tidemark` app."""
    group = typer.Typer(help="Live counters in Redis.", no_args_is_help=True)
    group.command("refresh")(refresh)
    app.add_typer(group, name="live")


def refresh(by: By = "", run_id: RunId = None, as_json: Json = False) -> None:
    """Write all stored totals into Redis once; newer counters there stay."""
    settings = load(run_id=run_id)
    say(f"refreshing {settings.redis.url} …")
    audit.record_before(settings, "live.refresh", settings.redis.url, by=by)
    done = counters.refresh(settings)
    text = f"{done.read} counters: {done.written} written, {done.refused} already as new, {done.failed} failed"
    emit(asdict(done), text, as_json=as_json)
    if done.failed:
        raise typer.Exit(1)
