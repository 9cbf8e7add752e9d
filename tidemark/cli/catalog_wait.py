"""Commands wait here until the workers count by the newest catalog."""

from __future__ import annotations

import time

from tidemark.catalog.workers import settle_in_s
from tidemark.cli.output import say
from tidemark.core.settings import Settings


def await_workers(settings: Settings) -> None:
    """Sleep until every worker has the newest catalog, and say so; raises UnavailableError without Postgres."""
    pause_s = settle_in_s(settings)
    if pause_s > 0:
        say(f"the catalog was changed a moment ago: waiting {pause_s:.0f} s until every worker has it …")
        time.sleep(pause_s)
