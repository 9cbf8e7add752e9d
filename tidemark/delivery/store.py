"""Notifications in Postgres: the next one that is due, leased to a worker; what became of it; dead ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, LiteralString

import psycopg
from psycopg.rows import class_row

from tidemark.alerts.notification import LISTED
from tidemark.alerts.stored_events import events_of
from tidemark.core import audit
from tidemark.delivery.outcome import Dead, Delivered, Outcome

_WAITING: LiteralString = "delivered_at IS NULL AND dead_at IS NULL"
# A leased notification stays due, so these are all the leases that there are.
_RECEIVERS: LiteralString = f"""
SELECT receiver FROM notification WHERE {_WAITING} AND due_at <= now() GROUP BY receiver
HAVING coalesce(max(leased_until) <= now(), true)
ORDER BY min(due_at), receiver
"""
_LOCK: LiteralString = "SELECT pg_try_advisory_xact_lock(hashtextextended(%s, 0))"
# A start that waits for its next attempt delays the end of the same group (whose key is that of the start, or begins
# with it): sent in the other order, the receiver would keep an incident for ever.
_NEXT: LiteralString = f"""
SELECT notification_id, receiver, body, attempts + 1, last_error, gen_random_uuid()::text
FROM notification AS due
WHERE receiver = %(receiver)s AND {_WAITING} AND due_at <= now() AND NOT EXISTS (
    SELECT FROM notification AS sent
    WHERE sent.receiver = %(receiver)s AND sent.leased_until > now() AND sent.due_at <= now()
      AND sent.delivered_at IS NULL AND sent.dead_at IS NULL
) AND NOT EXISTS (
    SELECT FROM notification AS earlier
    WHERE earlier.receiver = due.receiver AND earlier.delivered_at IS NULL AND earlier.dead_at IS NULL
      AND (earlier.created_at, earlier.notification_id) < (due.created_at, due.notification_id)
      AND starts_with(due.body ->> 'group_key', earlier.body ->> 'group_key')
)
ORDER BY due_at, created_at, notification_id
LIMIT 1
FOR UPDATE OF due SKIP LOCKED
"""
_LEASE: LiteralString = """
UPDATE notification SET attempts = %s, lease = %s, leased_until = clock_timestamp() + %s WHERE notification_id = %s
"""
_DELIVERED: LiteralString = """
UPDATE notification SET lease = NULL, leased_until = NULL, last_error = NULL, delivered_at = clock_timestamp()
WHERE notification_id = %s AND lease = %s
"""
_LATER: LiteralString = """
UPDATE notification SET lease = NULL, leased_until = NULL, last_error = %s, due_at = clock_timestamp() + %s
WHERE notification_id = %s AND lease = %s
"""
_DEAD: LiteralString = """
UPDATE notification SET lease = NULL, leased_until = NULL, last_error = %s, dead_at = clock_timestamp()
WHERE notification_id = %s AND lease = %s
"""
_LIST_DEAD: LiteralString = """
SELECT notification_id, receiver, kind, body ->> 'summary' AS summary, attempts, last_error, created_at, dead_at
FROM notification
WHERE dead_at IS NOT NULL AND (%(receiver)s::text IS NULL OR receiver = %(receiver)s)
ORDER BY dead_at DESC, notification_id
LIMIT %(limit)s
"""
_REVIVE: LiteralString = """
UPDATE notification SET dead_at = NULL, attempts = 0, due_at = clock_timestamp()
WHERE notification_id = ANY(%s) AND dead_at IS NOT NULL
RETURNING notification_id
"""


@dataclass(frozen=True, slots=True)
class Due:
    """A notification to be sent now by whoever took it.

    Parameters
    ----------
    notification_id, receiver, body:
        What is sent, and to whom.
    attempt:
        Which attempt this is, from 1; it is stored already.
    last_error:
        Why the one before failed; None where nothing was recorded.
    lease:
        Names this attempt.
    """

    notification_id: str
    receiver: str
    body: Mapping[str, Any]
    attempt: int
    last_error: str | None
    lease: str


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A notification that was given up, and why."""

    notification_id: str
    receiver: str
    kind: str
    summary: str
    attempts: int
    last_error: str
    created_at: datetime
    dead_at: datetime


def take(connection: psycopg.Connection, schema: str, lease_for: timedelta) -> Due | None:
    """The next due notification of a receiver that no other worker is sending to, leased.

    The attempt is counted here, before anything is sent: a worker that dies, or a database that does, makes no attempt
    that was not counted. A receiver is sent one notification at a time: a slow one delays its own notifications and one
    thread.
    """
    for (receiver,) in connection.execute(_RECEIVERS).fetchall():
        with connection.transaction():
            due = _next(connection, schema, receiver)
            if due is not None:
                connection.execute(_LEASE, [due.attempt, due.lease, lease_for, due.notification_id])
                return due
    return None


def record_outcome(connection: psycopg.Connection, due: Due, outcome: Outcome) -> bool:
    """Write what became of an attempt; False where its lease has ended, and another attempt has begun since."""
    key = [due.notification_id, due.lease]
    if isinstance(outcome, Delivered):
        cursor = connection.execute(_DELIVERED, key)
    elif isinstance(outcome, Dead):
        cursor = connection.execute(_DEAD, [outcome.error, *key])
    else:
        cursor = connection.execute(_LATER, [outcome.error, outcome.pause, *key])
    return cursor.rowcount == 1


def dead(connection: psycopg.Connection, receiver: str | None, limit: int) -> list[DeadLetter]:
    """Dead notifications, newest first, of one receiver or of all."""
    with connection.cursor(row_factory=class_row(DeadLetter)) as cursor:
        return cursor.execute(_LIST_DEAD, {"receiver": receiver, "limit": limit}).fetchall()


def revive(connection: psycopg.Connection, run_id: str, ids: Sequence[str], by: str = "") -> list[str]:
    """Make dead notifications due now, with all their attempts before them; returns those that were dead."""
    with connection.transaction():
        revived = [row[0] for row in connection.execute(_REVIVE, [list(ids)])]
        for notification in revived:
            audit.record(connection, run_id, "deliver.retry", notification, by=by)
    return revived


def _next(connection: psycopg.Connection, schema: str, receiver: str) -> Due | None:
    lock = connection.execute(_LOCK, [f"tidemark deliver {schema} {receiver}"]).fetchone()
    if lock is None or not lock[0]:
        return None
    row = connection.execute(_NEXT, {"receiver": receiver}).fetchone()
    if row is None:
        return None
    due = Due(*row)
    if "alerts" in due.body:
        return due
    return replace(due, body={**due.body, "alerts": events_of(connection, due.notification_id, LISTED)})
