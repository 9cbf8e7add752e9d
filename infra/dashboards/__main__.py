"""`python -m infra.dashboards`: write the JSON files of the live run; a test says whether they are up to date."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from infra.dashboards.finance import accuracy, usage
from infra.dashboards.panels import Dashboard, document
from infra.dashboards.pipeline import PIPELINE
from tidemark.core.names import Names

FOLDER = Path(__file__).parent


def dashboards(names: Names) -> Sequence[Dashboard]:
    """All of them, over the schemas of a run."""
    return PIPELINE, accuracy(names), usage(names)


def files() -> dict[Path, str]:
    """The files and their texts."""
    made = dashboards(Names())
    return {FOLDER / f"{one.uid}.json": json.dumps(document(one), indent=1, ensure_ascii=False) + "\n" for one in made}


if __name__ == "__main__":
    for path, text in files().items():
        path.write_text(text, encoding="utf-8")
