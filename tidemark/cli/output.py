"""What commands print: results on stdout (text, or one JSON document), progress on stderr."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer
from rich.console import Console

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]

console = Console(soft_wrap=True)
progress = Console(stderr=True, soft_wrap=True)


def say(text: str) -> None:
    """Progress, on stderr."""
    progress.print(text, highlight=False, markup=False)


def emit(document: Any, text: Any, *, as_json: bool) -> None:
    """The result: `document` as JSON, or `text` (plain, or anything rich can draw)."""
    if as_json:
        typer.echo(json.dumps(document, default=str, ensure_ascii=False))
    else:
        console.print(text, highlight=False, markup=False)
