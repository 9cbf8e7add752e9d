"""`tidemark db`: the database."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from tidemark.backup import recount
from tidemark.cli.by import By
from tidemark.cli.output import Json, emit, say
from tidemark.cli.run_id import RunId
from tidemark.core import migrate as core_migrate
from tidemark.core.errors import UsageError
from tidemark.core.settings import load


def register(app: typer.Typer) -> None:
    """Add the commands to the `tidemark` app."""
    group = typer.Typer(help="The database.", no_args_is_help=True)
    group.command("migrate")(migrate)
    group.command("clear-rollups")(clear_rollups)
    app.add_typer(group, name="db")


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


def clear_rollups(
    yes: Annotated[bool, typer.Option("--yes", help="Do it; without, say what would be emptied.")] = False,
    by: By = "",
    run_id: RunId = None,
    as_json: Json = False,
) -> None:
    """Empty the rollups of a run and its live counters, to be counted again from the beginning of its topics."""
    settings = load(run_id=run_id)
    if not yes:
        raise UsageError(
            f"the rollups of {settings.names.usage_schema} and the counters {settings.names.redis_prefix}… would go.",
            "back them up (`tidemark backup run`), then add --yes.",
        )
    done = recount.clear(settings, by)
    text = f"emptied: {done.periods:,} rows of usage_period and those they are made of, {done.counters:,} counters"
    emit(asdict(done), text, as_json=as_json)
