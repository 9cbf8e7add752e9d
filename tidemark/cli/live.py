"""`tidemark live`: keep the live counters in Redis in sync with the stored totals."""

from __future__ import annotations

import threading
from dataclasses import asdict
from typing import Annotated

import typer

from tidemark.cli.output import Json, emit, say
from tidemark.cli.until_stopped import until_stopped
from tidemark.core.settings import load
from tidemark.live import counters, leaderboard, limits

# A step that waits for a service at a stop is left behind.
STOP_WITHIN_S = 5.0

RunId = Annotated[str | None, typer.Option("--run-id", help="A run with topics, schema and keys of its own.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the `tidemark` app."""
    group = typer.Typer(help="Live counters in Redis.", no_args_is_help=True)
    group.command("watch")(watch)
    group.command("refresh")(refresh)
    app.add_typer(group, name="live")


def watch(run_id: RunId = None) -> None:
    """Keep counters, limits and leaderboards in Redis in sync, until SIGTERM or Ctrl-C; logs JSON lines to stderr."""
    settings = load(run_id=run_id)
    stop = until_stopped()
    # Threads of their own: an unreachable Kafka must not delay what Redis gets from Postgres.
    syncs = (limits.watch, leaderboard.watch)
    others = [threading.Thread(target=sync, args=(settings, stop), daemon=True) for sync in syncs]
    for thread in others:
        thread.start()
    counters.watch(settings, stop)
    for thread in others:
        thread.join(STOP_WITHIN_S)


def refresh(run_id: RunId = None, as_json: Json = False) -> None:
    """Write all stored totals into Redis once; newer counters there stay."""
    settings = load(run_id=run_id)
    say(f"refreshing {settings.redis.url} …")
    done = counters.refresh(settings)
    text = f"{done.read} counters: {done.written} written, {done.refused} already as new, {done.failed} failed"
    emit(asdict(done), text, as_json=as_json)
    if done.failed:
        raise typer.Exit(1)
