"""`tidemark topics`: the Kafka topics."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from tidemark.cli.output import Json, emit, say
from tidemark.core import topics
from tidemark.core.settings import load

RunId = Annotated[str | None, typer.Option("--run-id", help="A run with topics, schema and keys of its own.")]
CreateTime = Annotated[
    bool, typer.Option("--create-time", help="For loading history: arrival is the timestamp the producer sets.")
]


def register(app: typer.Typer) -> None:
    """Add the commands to the `tidemark` app."""
    group = typer.Typer(help="Kafka topics.", no_args_is_help=True)
    group.callback()(_group)
    group.command("apply")(apply)
    app.add_typer(group, name="topics")


def _group() -> None:
    """Keep `apply` a sub-command although it is the only one."""


def apply(create_time: CreateTime = False, run_id: RunId = None, as_json: Json = False) -> None:
    """Create the topics that are missing; existing topics are left alone."""
    settings = load(run_id=run_id)
    say(f"checking topics of {settings.kafka.bootstrap} …")
    applied = topics.apply(settings, create_time=create_time)
    lines = [f"{result.topic}: {'created' if result.created else 'unchanged'}" for result in applied]
    emit({"topics": [asdict(result) for result in applied]}, lines, as_json=as_json)
