"""`tidemark settings`: lists every setting with its value and meaning, or checks them."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from tidemark.cli.output import Json, Table, emit
from tidemark.core.settings import ENV_PREFIX, every_setting, flat, load, settings_file

Check = Annotated[bool, typer.Option("--check", help="Only check whether they are valid; exit code 2 if not.")]


def register(app: typer.Typer) -> None:
    """Add the command to the `tidemark` app."""
    app.command("settings")(settings)


def settings(check: Check = False, as_json: Json = False) -> None:
    """Show every setting, its value (secrets masked) and its meaning."""
    loaded = load()
    source = str(settings_file() or "no file")
    if check:
        emit({"ok": True, "file": source}, f"settings are valid ({source}, {ENV_PREFIX}*)", as_json=as_json)
        return
    values = loaded.model_dump(mode="json")
    emit({"file": source, "settings": values}, _table(flat(values)), as_json=as_json)


def _table(values: dict[str, Any]) -> Table:
    table = Table("setting", "value", "meaning", box=None, pad_edge=False)
    for name, about in every_setting():
        value = values[name]
        table.add_row(name, "" if value is None else str(value), about.description or "")
    return table
