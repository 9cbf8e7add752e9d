"""Reads the dead-letter topic: what was not counted, and why."""

from __future__ import annotations

import base64
import json
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from typing import Any

from jobs.kafka_io import dump
from jobs.settings import Settings

PREVIEW_CHARS = 120


def dead_letters(settings: Settings) -> Iterator[dict[str, Any]]:
    """Dead-letter records of the run as a `read_committed` consumer sees them, in order per partition."""
    for record in dump(settings, settings.names.dlq):
        if record.value is not None:
            yield json.loads(record.value)


def select(
    records: Iterable[dict[str, Any]], reason: str | None = None, tenant: str | None = None, limit: int | None = None
) -> list[dict[str, Any]]:
    """Keep the last `limit` records with that reason and tenant; None means any, or all."""
    matching = (
        record
        for record in records
        if (reason is None or record["reason"] == reason) and (tenant is None or record.get("tenant_id") == tenant)
    )
    return list(deque(matching, maxlen=limit))


def count_by_reason(records: Iterable[dict[str, Any]]) -> dict[str, int]:
    """Count records by reason, most frequent first."""
    return dict(Counter(record["reason"] for record in records).most_common())


def preview(record: dict[str, Any]) -> str:
    """Show the original bytes as text fit for a terminal: at most PREVIEW_CHARS, escaped where not printable."""
    if record["raw"] is None:
        return "(null)"
    raw = base64.b64decode(record["raw"])
    text = raw[: PREVIEW_CHARS * 4].decode("utf-8", "backslashreplace")
    safe = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return safe if len(safe) <= PREVIEW_CHARS else safe[: PREVIEW_CHARS - 1] + "…"
