"""Five days of usage for the tests of `anomaly`: a spike, a drop, a silence, bad events, and the expected alerts.

day     1 . . . 2 . . . 3 . . . 4 . . . 5 . . . |close
acme    ================================^^^=====      customer c-1 six times its usage for two hours, on day 5
beta    ================================   =====      nothing at all for three hours
gamma   ================================___=====      a tenth for two hours, and bad events for one
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from random import Random
from typing import Any

from tidemark.core.kafka import Sender
from tidemark.core.settings import Settings
from udfs.anomaly.alerts import AlertRow, row_of
from udfs.anomaly.detector import replay
from udfs.anomaly.series import Minute, Series
from udfs.anomaly.tuning import HOUR_MS, MINUTE_MS, Tuning
from udfs.values import rfc3339

BEGIN_MS = int(datetime(2024, 3, 4, tzinfo=UTC).timestamp()) * 1_000
DAYS = 5
FAULT_MS = BEGIN_MS + 4 * 24 * HOUR_MS + 10 * HOUR_MS
END_MS = BEGIN_MS + DAYS * 24 * HOUR_MS
# Not a whole step behind the end, so that the last step does not hang on a millisecond of the watermark.
CLOSE_MS = END_MS + 2 * HOUR_MS + 3 * MINUTE_MS
CLOSING = "closing"
DISORDER_S = 600
EVERY_MS = 5 * MINUTE_MS
USUAL = 10


@dataclass(frozen=True, slots=True)
class Usage:
    """So many events of a customer in one minute, or so many dead letters."""

    at_ms: int
    tenant: str
    customer: str
    n: int
    rejected: bool = False

    @property
    def total(self) -> Decimal:
        return self.n * Decimal("1.5")


def usage(seed: int = 1) -> list[Usage]:
    """The whole stream, in order of event time."""
    rng = Random(seed)
    made: list[Usage] = []
    for at_ms in range(BEGIN_MS, END_MS, EVERY_MS):
        for tenant, customer in (("acme", "c-1"), ("acme", "c-2"), ("beta", "c-1"), ("gamma", "c-1")):
            n = round(USUAL * _factor(tenant, customer, at_ms) * rng.uniform(0.8, 1.2))
            if n:
                made.append(Usage(at_ms + rng.randrange(5) * MINUTE_MS, tenant, customer, n))
        if FAULT_MS <= at_ms < FAULT_MS + HOUR_MS:
            made += [Usage(at_ms, "gamma", "", 1, rejected=True)] * 8
    closing = [Usage(CLOSE_MS, CLOSING, "", 1, rejected=rejected) for rejected in (False, True)]
    return sorted(made, key=lambda one: one.at_ms) + closing


def _factor(tenant: str, customer: str, at_ms: int) -> float:
    since_ms = at_ms - FAULT_MS
    if (tenant, customer) == ("acme", "c-1") and 0 <= since_ms < 2 * HOUR_MS:
        return 6
    if tenant == "beta" and 0 <= since_ms < 3 * HOUR_MS:
        return 0
    return 0.1 if tenant == "gamma" and 0 <= since_ms < 2 * HOUR_MS else 1


def expected(stream: Iterable[Usage]) -> list[AlertRow]:
    """Alerts of the pure detectors about the stream."""
    minutes: dict[Series, dict[int, list[Any]]] = defaultdict(lambda: defaultdict(lambda: [0, Decimal(0)]))
    for one in stream:
        if one.rejected:
            minutes[Series("tenant", one.tenant)][one.at_ms][1] += one.n
            continue
        minutes[Series("tenant", one.tenant)][one.at_ms][0] += one.n
        for series in (Series("meter", one.tenant, "", "calls"), Series("customer", one.tenant, one.customer, "calls")):
            minutes[series][one.at_ms][0] += one.n
            minutes[series][one.at_ms][1] += one.total
    until_ms = CLOSE_MS - DISORDER_S * 1_000
    return [
        row_of(series, change)
        for series, sums in sorted(minutes.items())
        for change in replay(series, [Minute(at_ms, *sums[at_ms]) for at_ms in sorted(sums)], until_ms, Tuning())
    ]


def send(settings: Settings, stream: Iterable[Usage]) -> None:
    """Write it where `meter` would; the last records go to every partition, so that each has a watermark."""
    partitions = settings.topics.partitions
    with Sender(settings.kafka) as sender:
        for index, one in enumerate(stream):
            topic = settings.names.dlq if one.rejected else settings.names.deltas
            value = json.dumps(_dead_letter(one) if one.rejected else delta(one)).encode()
            for partition in range(partitions) if one.tenant == CLOSING else [index % partitions]:
                sender.send(topic, value, partition=partition)


def delta(one: Usage) -> dict[str, Any]:
    """A record of usage.deltas."""
    at = rfc3339(one.at_ms)
    total = str(one.total)
    return {
        "tenant_id": one.tenant, "customer_id": one.customer, "meter": "calls", "dims": "", "part": "", "minute": at,
        "day": at[:10], "period_start": "2024-03-01T00:00:00Z", "period_end": "2024-04-01T00:00:00Z", "n": one.n,
        "samples": one.n, "total": total, "lo": None, "hi": None, "latest": None, "events": one.n,
        "source_topic": "test", "source_partition": 0, "first_offset": 0, "last_offset": 0,
    }  # fmt: skip


def _dead_letter(one: Usage) -> dict[str, Any]:
    return {
        "reason": "unreadable", "detail": "no JSON", "raw": "eA==", "topic": "test", "partition": 0, "offset": 0,
        "arrival": rfc3339(one.at_ms), "tenant_id": one.tenant, "customer_id": None, "event_id": None,
    }  # fmt: skip
