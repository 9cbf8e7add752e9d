"""Writes schemas/http/openapi.json from the routes: `python -m tidemark.api.openapi`, part of `make reference`."""

from __future__ import annotations

import json
from pathlib import Path

from tidemark.api.app import build, document_of

FILE = Path(__file__).parents[2] / "schemas" / "http" / "openapi.json"


def text() -> str:
    """The document as it is stored."""
    return json.dumps(document_of(build()), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8")
