"""A settings file as it is written: sections by name, not yet checked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from tidemark.core.errors import UsageError
from tidemark.core.yaml_errors import not_yaml

_KINDS = {list: "a list", str: "a text", int: "a number", float: "a number", bool: "yes or no"}


def read(path: Path) -> dict[str, Any]:
    """Sections by name; none of an empty file.

    Raises
    ------
    UsageError
        It cannot be read, is no YAML, or has something else than sections.
    """
    try:
        content = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {error}.", "name a readable UTF-8 file.") from error
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise not_yaml(path, error) from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        kind = _KINDS.get(type(content), "something else")
        raise UsageError(f"{path} has no sections, but {kind}.", "write sections, as `kafka: {bootstrap: host:9092}`.")
    return {str(name): section for name, section in content.items()}
