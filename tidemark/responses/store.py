"""Responses in Postgres: what was begun because of which alert, what undid it, and how far a handler has read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import LiteralString

import psycopg

from udfs.alerts.event import Alert
from udfs.values import instant

_OFFSETS: LiteralString = "SELECT partition, next_offset FROM response_offset WHERE handler = %s AND topic = %s"
_REMEMBER: LiteralString = """
INSERT INTO response_offset (handler, topic, partition, next_offset) VALUES (%s, %s, %s, %s)
ON CONFLICT (handler, topic, partition) DO UPDATE SET next_offset = EXCLUDED.next_offset
"""
# A condition ends with its period, also unannounced.
_LAPSE: LiteralString = """
UPDATE response SET ended_at = until, ended_by = 'end of the period'
WHERE handler = %s AND fingerprint = %s AND ended_at IS NULL AND until <= %s
"""
# Nothing happens where the alert has a response, or its condition has an active one.
_BEGIN: LiteralString = """
INSERT INTO response (handler, source, alert_id, fingerprint, begun_at, until) VALUES (%s, %s, %s, %s, %s, %s)
ON CONFLICT DO NOTHING
"""
# An end that is older than the response belongs to an earlier start of the condition.
_END: LiteralString = """
UPDATE response SET ended_at = %(at)s, ended_by = %(by)s
WHERE handler = %(handler)s AND fingerprint = %(fingerprint)s AND ended_at IS NULL AND begun_at <= %(at)s
"""
_END_BY_HAND: LiteralString = """
UPDATE response SET ended_at = clock_timestamp(), ended_by = %s
WHERE handler = %s AND fingerprint = ANY(%s) AND ended_at IS NULL
"""


def offsets(connection: psycopg.Connection, handler: str, topic: str) -> dict[int, int]:
    """Next offset by partition; empty for a handler that has never read."""
    return dict(connection.execute(_OFFSETS, [handler, topic]).fetchall())


def remember(connection: psycopg.Connection, handler: str, topic: str, ends: Mapping[int, int]) -> None:
    """Keep how far a handler has read."""
    with connection.cursor() as cursor:
        cursor.executemany(_REMEMBER, [(handler, topic, part, offset) for part, offset in sorted(ends.items())])


def begin(connection: psycopg.Connection, handler: str, alert: Alert) -> bool:
    """Store a response to an alert; False where it has one, or its condition has an active one."""
    at, until = instant(alert.at_ms), instant(alert.period_ms[1]) if alert.period_ms else None
    connection.execute(_LAPSE, [handler, alert.fingerprint, at])
    row = [handler, alert.source, alert.id, alert.fingerprint, at, until]
    return connection.execute(_BEGIN, row).rowcount == 1


def end(connection: psycopg.Connection, handler: str, alert: Alert) -> bool:
    """Store that the response to a condition is undone; False where there is no response."""
    given = {"at": instant(alert.at_ms), "by": alert.type, "handler": handler, "fingerprint": alert.fingerprint}
    return connection.execute(_END, given).rowcount == 1


def end_by_hand(connection: psycopg.Connection, handler: str, fingerprints: Sequence[str], by: str) -> None:
    """Store that a person undid the responses to some conditions."""
    connection.execute(_END_BY_HAND, [by, handler, list(fingerprints)])
