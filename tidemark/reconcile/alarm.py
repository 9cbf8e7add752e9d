"""Tells `usage.alerts` once when unexplained drift begins, and once when nothing is open any more."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from tidemark.core.kafka import Sender
from tidemark.core.names import Names
from tidemark.core.settings import Settings
from tidemark.reconcile import drift_store
from udfs.alerts import pipeline as alerts
from udfs.alerts.event import Status, rfc3339, to_json

# A broker restart takes about 10 s; what could not be sent by then is sent by the next run.
SEND_STALL_S = 20.0
_BEGIN = """
INSERT INTO {table} (since, evidence) VALUES (clock_timestamp(), %s) ON CONFLICT DO NOTHING
"""
_END = "UPDATE {table} SET resolved_at = clock_timestamp() WHERE resolved_at IS NULL"
_UNANNOUNCED = """
SELECT since, evidence, announced_at IS NOT NULL, resolved_at FROM {table}
WHERE announced_at IS NULL OR (resolved_at IS NOT NULL AND resolved_announced_at IS NULL)
ORDER BY since
"""
_ANNOUNCED = """
UPDATE {table} SET announced_at = coalesce(announced_at, clock_timestamp()),
    resolved_announced_at = CASE WHEN resolved_at IS NOT NULL
        THEN coalesce(resolved_announced_at, clock_timestamp()) END
WHERE since = %s AND resolved_at IS NOT DISTINCT FROM %s
"""


def follow(connection: psycopg.Connection, names: Names) -> None:
    """Begin or end the alarm as what is open says; in the transaction that changed it. Nothing is sent yet."""
    counts = drift_store.open_counts(connection, names)
    if counts:
        evidence = {"open": sum(counts.values()), "by_check": counts}
        connection.execute(_sql(_BEGIN, names), [Jsonb(evidence)])
    else:
        connection.execute(_sql(_END, names))


def announce(connection: psycopg.Connection, settings: Settings) -> int:
    """Send what is stored and not told, from before a crash too: the same row makes the same alert. How many.

    Raises
    ------
    UnavailableError
        Kafka is away; it is told by the next run.
    """
    rows = connection.execute(_sql(_UNANNOUNCED, settings.names)).fetchall()
    texts = [text for row in rows for text in _texts(settings, *row)]
    if texts:
        with Sender(settings, SEND_STALL_S) as sender:
            for text in texts:
                sender.send(settings.names.alerts, text.encode(), key=alerts.RECONCILE.encode())
    for since, _, _, resolved_at in rows:
        connection.execute(_sql(_ANNOUNCED, settings.names), [since, resolved_at])
    return len(texts)


def _texts(
    settings: Settings, since: datetime, evidence: Mapping[str, Any], announced: bool, resolved_at: datetime | None
) -> list[str]:
    found = [] if announced else [_alert(settings, since, "firing", since, evidence)]
    if resolved_at is not None:
        shown = {"open": 0, "since": rfc3339(_ms(since))}
        found.append(_alert(settings, since, "resolved", resolved_at, shown))
    return found


def _alert(settings: Settings, since: datetime, status: Status, at: datetime, evidence: Mapping[str, Any]) -> str:
    name = json.dumps([settings.names.alerts, alerts.RECONCILE, since.astimezone(UTC).isoformat(), status])
    event_id = str(uuid.uuid5(uuid.NAMESPACE_URL, name))
    return to_json(alerts.reconcile(status, evidence=evidence, at_ms=_ms(at), event_id=event_id))


def _ms(at: datetime) -> int:
    return int(at.timestamp() * 1_000)


def _sql(statement: str, names: Names) -> sql.Composed:
    return sql.SQL(statement).format(table=sql.Identifier(names.billing_schema, "reconcile_alarm"))
