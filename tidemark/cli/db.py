"""`tidemark db`: the database."""

from __future__ import annotations

from typing import Annotated

import typer

from tidemark.cli.output import Json, emit, say
from tidemark.core import migrate as core_migrate
from tidemark.core.settings import load

RunId = Annotated[str | None, typer.Option("--run-id", help="A run with topics, schema and keys of its own.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the `tidemark` app."""
    group = typer.Typer(help="The database.", no_args_is_help=True)
    group.callback()(_group)
    group.command("migrate")(migrate)
    app.add_typer(group, name="db")


def _group() -> None:
    """Keep `migrate` a sub-command although it is the only one."""


def migrate(run_id: RunId = None, as_json: Json = False) -> None:
    """Bring tables and catalog up to date; migrations that were applied are skipped."""
    settings = load(run_id=run_id)
    say(f"migrating {settings.postgres.owner.url} …")
    applied = core_migrate.migrate(settings)
    lines = [f"{migration.schema}: {migration.name}" for migration in applied]
    emit(
        {"applied": [{"schema": migration.schema, "name": migration.name} for migration in applied]},
        ["applied:", *lines] if lines else "the database is up to date",
        as_json=as_json,
    )
