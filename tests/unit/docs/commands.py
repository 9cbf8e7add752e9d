"""Whether what a page calls a command is one."""

from __future__ import annotations

import typer

from tidemark.cli.main import app


def assert_is_command(line: str) -> None:
    """The words after `tidemark` are a command with options that it has."""
    group, words = typer.main.get_command(app), line.split()
    while words and words[0] in getattr(group, "commands", {}):
        group = group.commands[words.pop(0)]
        group = group.load() if hasattr(group, "load") else group
    options = {option for parameter in group.params for option in parameter.opts}
    assert not hasattr(group, "commands"), line
    assert {word for word in words if word.startswith("-") and word != "-"} <= options, line
