"""What contestants share: where things are, the mark of the first record, what counts, and the statements of the sink.

Runs in environments of the contestants: standard library only.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tests.bench.events import GRACE_MS, TYPES, second

BOOTSTRAP, TOPIC, GROUP = (os.environ[f"CONTEST_{name}"] for name in ("BOOTSTRAP", "TOPIC", "GROUP"))
POSTGRES, REDIS, SCHEMA = (os.environ[f"CONTEST_{name}"] for name in ("POSTGRES", "REDIS", "SCHEMA"))
WORK = Path(os.environ["CONTEST_WORK"])
# How many events there are, for those that must know the end.
EVENTS = int(os.environ["CONTEST_EVENTS"])
PROCESS = os.environ.get("CONTEST_PROCESS", "0")

Totals = dict[tuple[str, str, str], tuple[int, float]]


class Counted(NamedTuple):
    """An event that counts."""

    id: str
    customer: str
    meter: str
    at: str
    minute: str
    period: str
    quantity: float


def mark_first() -> None:
    """Say once when the first record was consumed; the first process of several decides."""
    file = WORK / "first"
    if not file.exists():
        file.write_text(str(time.time()))


def counted(loads: Callable[[bytes], Any], payload: bytes, arrival_ms: int) -> Counted | None:
    """The event, or None for one that is invalid or late."""
    try:
        event = loads(payload)
        at = event["timestamp"]
    except (ValueError, KeyError):
        return None
    if event["event_type"] not in TYPES or at < oldest(arrival_ms):
        return None
    return Counted(
        event["event_id"], event["customer_id"], event["event_type"], at, at[:16] + ":00Z", at[:7] + "-01T00:00:00Z",
        event["quantity"],
    )  # fmt: skip


def oldest(arrival_ms: int) -> str:
    """Earliest event time that is not late: texts of one form compare as times do."""
    seconds, ms = divmod(arrival_ms - GRACE_MS, 1_000)
    return f"{second(seconds)}.{ms:03d}Z"


def add(totals: Totals, key: tuple[str, str, str], n: int, quantity: float) -> tuple[int, float]:
    """Add to a total; what it is now."""
    before = totals.get(key, (0, 0.0))
    totals[key] = now = before[0] + n, before[1] + quantity
    return now


def columns(totals: Mapping[tuple[str, str, str], tuple[int, float]]) -> list[list[Any]]:
    """Customers, meters, buckets, counts and totals, ordered by key: two writers cannot lock each other out."""
    rows = [(*key, *value) for key, value in sorted(totals.items())]
    return [list(column) for column in zip(*rows, strict=True)] or [[]] * 5


def _statement(table: str, update: str) -> str:
    return (
        f"INSERT INTO {SCHEMA}.{table} AS stored SELECT * FROM unnest(%s::text[], %s::text[], %s::timestamptz[],"
        f" %s::bigint[], %s::numeric[]) ON CONFLICT (customer, meter, bucket) DO UPDATE SET {update}"
    )


# The value as it is now, written as often as one likes; or an amount, which must be written once.
_NOW, _MORE = (
    "n = excluded.n, total = excluded.total",
    "n = stored.n + excluded.n, total = stored.total + excluded.total",
)
UPSERT_MINUTE, UPSERT_PERIOD = _statement("minute", _NOW), _statement("period", _NOW)
ADD_MINUTE, ADD_PERIOD = _statement("minute", _MORE), _statement("period", _MORE)
