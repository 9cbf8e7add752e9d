"""Writes docs/reference.md from the code: settings, commands, reason codes; `--check` fails when it has drifted."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import typer

from tidemark.core.settings import ENV_PREFIX, Settings
from udfs.events.reasons import Reason

PAGE = Path(__file__).parents[2] / "docs" / "reference.md"


def settings_table() -> Iterator[str]:
    """One row per setting, in the order of the class."""
    yield "| setting | default | meaning |"
    yield "|---|---|---|"
    for name, field in Settings.model_fields.items():
        default = "" if field.default in (None, "") else f"`{field.default}`"
        yield f"| `{name}` (`{ENV_PREFIX}{name.upper()}`) | {default} | {field.description} |"


def commands(group: Any, path: tuple[str, ...]) -> Iterator[str]:
    """One row per command of the `tidemark` app, sub-commands by their whole path."""
    for name, command in sorted(group.commands.items()):
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
        "Exit codes: 0 ok, 1 failure, 2 wrong call, file or setting, 3 a service does not answer, 4 numbers differ.",
        "`--json` prints one JSON document on stdout; progress goes to stderr.",
        "",
        "| command | options | what it does |",
        "|---|---|---|",
        *commands(typer.main.get_command(app), ("tidemark",)),
        "",
        "## Settings",
        "",
        "From flags, then the environment, then the YAML file that `TIDEMARK_CONFIG` names (else the local stack's).",
        "",
        *settings_table(),
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
