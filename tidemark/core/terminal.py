"""Printing: results on stdout, progress on stderr; ids are printed as they are.

Names of tenants, customers and properties are user data. They are never read as markup or emoji codes, and a character
that would move the cursor or change the direction of text is escaped, so that a row stays on one line.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import typer
from rich import table as rich_table
from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.text import Text

from tidemark.core.escape import CONTROLS, escaped

__all__ = ["Console", "Group", "Table", "console", "draw", "one_line", "printable", "progress", "put", "say"]

# Width of a pipe or file: table rows are not folded there.
_PIPE_WIDTH = 1_000_000


class _Results(Console):
    """A console without markup, as wide as its rows where it is not a terminal."""

    @property
    def options(self) -> ConsoleOptions:
        options = super().options
        return options if self.file.isatty() else options.update_width(_PIPE_WIDTH)


console = _Results(soft_wrap=True, markup=False, emoji=False, highlight=False)
progress = Console(stderr=True, soft_wrap=True, markup=False, emoji=False, highlight=False)

_CONTROL_IN_LINE = re.compile(f"(?!\n)[{CONTROLS}]")


def printable(text: str) -> str:
    r"""Text for one line: control characters as in Python source (`\n`, `\x1b`, `\u2028`), all others unchanged."""
    return escaped(text, _unicode)


def one_line(text: str, style: str = "") -> Text:
    """One line that rich can draw, printable."""
    return Text(printable(text), style=style)


class Table(rich_table.Table):
    """A table of plain text: cells fold on a narrow terminal and are never cut; its title is a line of its own."""

    def __init__(self, *headers: str, title: str = "", caption: str = "", **options: Any) -> None:
        super().__init__(*headers, caption=one_line(caption) if caption else None, **options)
        self._heading = title

    def add_column(self, header: Any = "", footer: Any = "", **options: Any) -> None:
        """Add a column that folds."""
        super().add_column(_cell(header), _cell(footer), overflow="fold", **options)

    def add_row(self, *cells: Any, **options: Any) -> None:
        """Add a row; text is taken as it is."""
        super().add_row(*map(_cell, cells), **options)

    def __rich_console__(self, to: Console, options: ConsoleOptions) -> RenderResult:
        """The title, never folded, then the table."""
        if self._heading:
            yield one_line(self._heading)
        yield from super().__rich_console__(to, options)


def say(text: str) -> None:
    """Progress, on stderr."""
    typer.echo(_lines(text), err=True)


def put(text: str) -> None:
    """A line of a continuing result, on stdout at once: text, or a JSON document."""
    typer.echo(printable(text))


def draw(text: Any) -> None:
    """Text, rows (a sequence of str, each of one line), or anything that rich can draw, on stdout."""
    if isinstance(text, str):
        typer.echo(_lines(text))
    elif isinstance(text, Sequence):
        typer.echo("\n".join(map(printable, text)))
    else:
        console.print(text)


def _cell(value: Any) -> Any:
    return one_line(value) if isinstance(value, str) else value


def _lines(text: str) -> str:
    return _CONTROL_IN_LINE.sub(_escaped, text)


def _escaped(match: re.Match[str]) -> str:
    return _unicode(match[0])


def _unicode(character: str) -> str:
    return character.encode("unicode_escape").decode()
