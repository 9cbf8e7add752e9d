"""The option that names a run, of every command that takes any."""

from __future__ import annotations

from typing import Annotated

import typer

RunId = Annotated[str | None, typer.Option("--run-id", help="A run with topics, schema and keys of its own.")]
