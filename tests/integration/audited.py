"""What the audit has of a run, for tests of whatever is written there."""

from __future__ import annotations

from tidemark.core import audit
from tidemark.core.audit import Entry, Filter
from tidemark.core.postgres import run_once
from tidemark.core.settings import Settings


def entries(settings: Settings, action: str, subject: str | None = None) -> list[Entry]:
    """Entries of a run of an action, or of a group of them, the oldest first."""
    wanted = Filter(action, subject, run_id=settings.run_id)
    return run_once(settings.postgres.ops, "test", lambda connection: audit.newest(connection, wanted, 1_000))
