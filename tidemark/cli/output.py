"""The result of a command: text, or one JSON document with `--json`; and the printing functions of commands."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from tidemark.core.escape import safe_json
from tidemark.core.terminal import Group, Table, draw, one_line, printable, progress, put, say

__all__ = [
    "Group",
    "Json",
    "Table",
    "as_document",
    "draw",
    "emit",
    "one_line",
    "printable",
    "progress",
    "put",
    "safe_json",
    "say",
]

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]


def emit(document: Any, text: Any, *, as_json: bool) -> None:
    """The result: `document` as JSON, or `text` as `draw` takes it."""
    if as_json:
        put(as_document(document))
    else:
        draw(text)


def as_document(document: Any) -> str:
    """A document as JSON on one line, with control characters escaped."""
    return safe_json(json.dumps(document, default=str, ensure_ascii=False))
