"""`tidemark catalog`: tenants, customers, calendars and meters."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from jobs import catalog_tool
from jobs.cli.output import Json, emit, say
from jobs.settings import load


def register(app: typer.Typer) -> None:
    """Add the commands to the `tidemark` app."""
    group = typer.Typer(help="Tenants, customers, calendars and meters.", no_args_is_help=True)
    group.command("apply")(apply)
    group.command("show")(show)
    app.add_typer(group, name="catalog")


def apply(
    file: Annotated[Path, typer.Argument(help="YAML file; see schemas/catalog/example.yaml.")], as_json: Json = False
) -> None:
    """Make the catalog say what FILE says; what it does not name stays as it is."""
    settings = load()
    say(f"applying {file} …")
    outcome = catalog_tool.apply(settings, file)
    lines = [
        f"{change.kind} {change.table} {'/'.join(part or '*' for part in change.key)}" for change in outcome.changes
    ]
    summary = f"revision {outcome.revision}: {len(lines)} changed, {outcome.unchanged} unchanged"
    emit(
        {
            "revision": outcome.revision,
            "changes": [{"table": c.table, "key": list(c.key), "kind": c.kind} for c in outcome.changes],
            "unchanged": outcome.unchanged,
        },
        "\n".join([*lines, summary]),
        as_json=as_json,
    )


def show(as_json: Json = False) -> None:
    """Print what the catalog says now."""
    document: dict[str, Any] = catalog_tool.show(load())
    emit(
        document,
        yaml.safe_dump(document, sort_keys=False, default_flow_style=None, width=1_000).rstrip(),
        as_json=as_json,
    )
