"""`tidemark send`: sends events from a file to Kafka, one per line."""

from __future__ import annotations

import sys
from typing import Annotated

import typer
from rich.progress import Progress, TextColumn, TimeElapsedColumn

from tidemark.cli.output import Json, emit, progress
from tidemark.core import send as core_send
from tidemark.core.settings import load


def register(app: typer.Typer) -> None:
    """Add the command to the `tidemark` app."""
    app.command("send")(send)


def send(
    file: Annotated[str, typer.Argument(help="File with one event a line; - is standard input.")],
    topic: Annotated[str | None, typer.Option(help="Topic; the source topic of the settings by default.")] = None,
    rate: Annotated[float | None, typer.Option(help="Lines a second; as fast as possible by default.")] = None,
    as_json: Json = False,
) -> None:
    """Send each line of a file as one event, unchanged; an invalid line is sent too and becomes a dead letter."""
    settings = load()
    columns = (TextColumn("sending"), TextColumn("{task.completed:,.0f} events"), TimeElapsedColumn())
    with core_send.open_lines(file, sys.stdin.buffer) as lines, Progress(*columns, console=progress) as bar:
        task = bar.add_task("", total=None)
        sent = core_send.send_lines(settings, lines, topic, rate, lambda count: bar.advance(task, count))
    name = topic or settings.topics.events
    emit({"sent": sent, "topic": name}, f"sent {sent:,} events to {name}", as_json=as_json)
