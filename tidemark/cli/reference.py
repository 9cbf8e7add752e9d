"""Writes docs/reference.md from the code: settings, commands, metrics, reasons; `--check` fails when it has drifted."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import typer

from tidemark.cli import rights_tables
from tidemark.core.settings import every_setting, variable_of
from tidemark.serve import figures
from udfs.events.reasons import Reason

PAGE = Path(__file__).parents[2] / "docs" / "reference.md"

OUTPUT = r"""Exit codes: 0 ok, 1 failure, 2 wrong call, file or setting, 3 a service does not answer, 4 numbers differ.
`--json` prints one JSON document on stdout. Progress and errors go to stderr as text, with `--json` too: a line
`error: …`, mostly one `fix: …`, and the exit code says the kind.

Ids are printed as they are. Control characters, and those that turn the direction of text, are escaped (`\n`, `\x1b`,
`\u202e`), so that a row is one row. Tables fold on a terminal and are never cut; off a terminal each row is one line,
however long. `tidemark --version` prints the version; `-h` is `--help`, of every command; `tidemark
--install-completion` lets the shell complete commands and options (bash, zsh, fish, PowerShell)."""

SOURCES = """Settings have sections. A file nests them (`kafka: {bootstrap: …}`), a variable has `__` between section
and key; a list there is JSON. Read from flags, then the environment, then the YAML file that `TIDEMARK_CONFIG` names
(else the local stack's).
All faults are named at once, each with what was meant: a key of the file or a variable `TIDEMARK_…` that is no setting,
a URL without its scheme (`redis://…`), a broker without its port. `tidemark settings --check` does no more; every
command that reads settings begins with it."""

METRICS = """What `/metrics` of `tidemark serve` shows (`serve.listen`). No label grows with customers or tenants. What
waits for a role is read every 15 s beside scrapes, and absent while it cannot be read: a scrape waits for nothing."""


def settings_table() -> Iterator[str]:
    """One row per setting, in the order of the sections."""
    yield "| setting | default | meaning |"
    yield "|---|---|---|"
    for name, field in every_setting():
        default = "" if field.default in (None, "", ()) else f"`{field.default}`"
        yield f"| `{name}` (`{variable_of(name)}`) | {default} | {field.description} |"


def commands(group: Any, path: tuple[str, ...]) -> Iterator[str]:
    """One row per command of the `tidemark` app, sub-commands by their whole path."""
    for name, lazy in sorted(group.commands.items()):
        command = lazy.load() if hasattr(lazy, "load") else lazy
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))
            continue
        words = [*path, name]
        options = []
        for parameter in command.params:
            if parameter.param_type_name == "argument":
                words.append(parameter.name.upper())
            else:
                options.append(f"`{parameter.opts[-1]}`")
        text = (command.help or "").split("\n")[0]
        yield f"| `{' '.join(words)}` | {', '.join(options)} | {text} |"


def reasons_table() -> Iterator[str]:
    """One row per reason code of the dead-letter queue."""
    yield "| reason | meaning |"
    yield "|---|---|"
    for reason in Reason:
        yield f"| `{reason.value}` | {reason.meaning} |"


def page() -> str:
    """The whole page."""
    from tidemark.cli.main import app  # noqa: PLC0415  the commands import everything else

    lines = [
        "# Reference",
        "",
        "Written by `python -m tidemark.cli.reference`; do not edit.",
        "",
        "## Commands",
        "",
        *OUTPUT.splitlines(),
        "",
        "| command | options | what it does |",
        "|---|---|---|",
        *commands(typer.main.get_command(app), ("tidemark",)),
        "",
        "## Settings",
        "",
        *SOURCES.splitlines(),
        "",
        *settings_table(),
        "",
        "## Metrics",
        "",
        *METRICS.splitlines(),
        "",
        *figures.table(),
        "",
        "## Rights",
        "",
        *rights_tables.ABOUT.splitlines(),
        "",
        *rights_tables.tables(),
        "",
        "## Reasons in the dead-letter queue",
        "",
        *reasons_table(),
        "",
    ]
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Write the page, or compare it; returns the exit code."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--check", action="store_true")
    text = page()
    if not parser.parse_args(argv).check:
        PAGE.write_text(text, encoding="utf-8")
        return 0
    if PAGE.read_text(encoding="utf-8") == text:
        return 0
    sys.stderr.write(f"{PAGE.name} is not what the code says. Fix: run `python -m tidemark.cli.reference`.\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
