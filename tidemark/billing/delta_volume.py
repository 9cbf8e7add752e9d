"""Events and deltas of each tenant by month, for charge-back; the index of deltas counts them as it takes them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime

from tidemark.core.deltas import Delta

ADD = """
INSERT INTO {schema}.delta_volume AS v (deltas_topic, tenant_id, month, events, deltas) VALUES (%s, %s, %s, %s, %s)
ON CONFLICT (deltas_topic, tenant_id, month) DO UPDATE SET
    events = v.events + EXCLUDED.events, deltas = v.deltas + EXCLUDED.deltas
"""
FORGET = "DELETE FROM {schema}.delta_volume WHERE deltas_topic = %s"


def volumes(deltas: Iterable[Delta]) -> dict[tuple[str, date], list[int]]:
    """Events and deltas by tenant and first day of the month of event time, UTC."""
    counts: dict[tuple[str, date], list[int]] = {}
    for delta in deltas:
        month = datetime.fromisoformat(delta.minute).date().replace(day=1)
        count = counts.setdefault((delta.tenant_id, month), [0, 0])
        count[0] += delta.events
        count[1] += 1
    return counts
