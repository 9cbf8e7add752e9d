"""How a file that is not YAML is named."""

from __future__ import annotations

from pathlib import Path

from tidemark.core.errors import UsageError


def not_yaml(path: Path, error: Exception) -> UsageError:
    """The error of a file, with the line where the parser says one."""
    mark = getattr(error, "problem_mark", None)
    where = str(path) if mark is None else f"{path}, line {mark.line + 1},"
    return UsageError(f"{where} is not YAML: {getattr(error, 'problem', None) or error}", "correct the file.")
