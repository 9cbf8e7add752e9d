"""What a process of `tidemark serve` logs about its roles, without its endpoint and the libraries it uses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def role_lines(log: Path) -> list[dict[str, Any]]:
    """Lines of its roles and of its own start and stop, in their order."""
    every = map(json.loads, log.read_text().splitlines())
    return [
        line
        for line in every
        if line["event"] != "logged" and (line.get("role") != "serve" or line["component"] == "serve")
    ]
