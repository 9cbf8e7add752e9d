"""State of the alert router in Postgres: alerts are written at once, notifications and budgets after a batch."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import LiteralString

import psycopg
from psycopg.types.json import Jsonb

from tidemark.alerts.notification import LISTED, Notification
from tidemark.alerts.router import Budget, Earlier
from tidemark.alerts.stored_events import events_of
from udfs.alerts.event import Alert, Severity, to_event
from udfs.values import instant, total_of

_RECORD: LiteralString = """
INSERT INTO alert (alert_id, source, fingerprint, type, status, severity, impact_severity, tenant_id, customer_id,
                   meter, value, threshold, period_start, period_end, rule, rule_version, at, event, group_key,
                   suppressed_by)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
ON CONFLICT DO NOTHING
"""
_SUPPRESS: LiteralString = "UPDATE alert SET suppressed_by = %s WHERE alert_id = %s AND source = %s"
_EARLIER: LiteralString = """
SELECT alert_id, status, (extract(epoch FROM at) * 1000)::bigint, group_key, suppressed_by
FROM alert
WHERE fingerprint = %s
ORDER BY at
"""
_STILL_FIRING: LiteralString = """
SELECT count(*)
FROM alert begun
WHERE alert_id = ANY(%(alert_ids)s) AND status = 'firing' AND (period_end IS NULL OR period_end > %(at)s)
  AND NOT EXISTS (
      SELECT FROM alert ended
      WHERE ended.fingerprint = begun.fingerprint AND ended.status = 'resolved' AND ended.at >= begun.at
  )
"""
# A notification that is about to be due is left alone: its sender may lock it as long as a receiver takes to answer.
_FIND: LiteralString = """
SELECT receiver, kind, alert_ids, alert_sources, body, (extract(epoch FROM due_at) * 1000)::bigint,
       attempts > 0 OR delivered_at IS NOT NULL OR due_at <= clock_timestamp() + interval '100 ms',
       dead_at IS NOT NULL
FROM notification
WHERE notification_id = %s
"""
_LOCK: LiteralString = f"{_FIND} FOR UPDATE"
_CONTAINING: LiteralString = "SELECT notification_id FROM notification WHERE alert_ids @> ARRAY[%s] ORDER BY 1"
_PUT: LiteralString = """
INSERT INTO notification (notification_id, receiver, kind, alert_ids, alert_sources, body, due_at)
VALUES (%s, %s, %s, %s, %s, %s, %s)
ON CONFLICT (notification_id) DO UPDATE
SET alert_ids = EXCLUDED.alert_ids, alert_sources = EXCLUDED.alert_sources, body = EXCLUDED.body
"""
_BUDGET: LiteralString = "SELECT sent, digested FROM notification_budget WHERE receiver = %s AND day = %s"
_SPEND: LiteralString = """
INSERT INTO notification_budget (receiver, day, sent, digested) VALUES (%s, %s, %s, %s)
ON CONFLICT (receiver, day) DO UPDATE SET sent = EXCLUDED.sent, digested = EXCLUDED.digested
"""


class PostgresAlertStore:
    """The `AlertStore` of one transaction of `connection`; `write` stores notifications and budgets."""

    def __init__(self, connection: psycopg.Connection) -> None:
        self._connection = connection
        self._known: dict[str, Notification | None] = {}
        self._changed: set[str] = set()
        self._containing: defaultdict[str, set[str]] = defaultdict(set)
        self._budgets: dict[tuple[str, int], Budget] = {}

    def record(self, alert: Alert, severity: Severity, key: str, suppressed_by: str | None) -> bool:
        """Store an alert; False where it was stored before.

        Raises
        ------
        psycopg.Error
            It does not fit the table; the transaction can go on.

        """
        period = alert.period_ms or (None, None)
        row = (
            alert.id, alert.source, alert.fingerprint, alert.type, alert.status, alert.severity, severity,
            alert.tenant_id, alert.customer_id, alert.meter, total_of(alert.value), total_of(alert.threshold),
            *map(_instant, period), alert.rule, alert.rule_version, _instant(alert.at_ms), Jsonb(to_event(alert)), key,
            suppressed_by,
        )  # fmt: skip
        with self._connection.transaction():
            return self._connection.execute(_RECORD, row).rowcount == 1

    def suppress(self, alert: Alert, suppressed_by: str) -> None:
        """Record what suppressed a stored alert."""
        self._connection.execute(_SUPPRESS, [suppressed_by, alert.id, alert.source])

    def earlier(self, fingerprint: str) -> Sequence[Earlier]:
        """Stored alerts with this fingerprint, by time."""
        return [Earlier(*row) for row in self._connection.execute(_EARLIER, [fingerprint])]

    def still_firing(self, alert_ids: Sequence[str], at_ms: int) -> int:
        """How many of these have no end yet, and a period that has not ended at an instant."""
        given = {"alert_ids": [*alert_ids], "at": _instant(at_ms)}
        return int(self._connection.execute(_STILL_FIRING, given).fetchall()[0][0])

    def find(self, notification_id: str) -> Notification | None:
        """The notification of this id, locked if it is open."""
        if notification_id not in self._known:
            notification = self._read(_FIND, notification_id)
            if notification is not None and not notification.closed:
                notification = self._read(_LOCK, notification_id)
            self._known[notification_id] = notification
        return self._known[notification_id]

    def containing(self, alert_id: str) -> Sequence[Notification]:
        """All notifications that contain an alert, by id."""
        stored = {row[0] for row in self._connection.execute(_CONTAINING, [alert_id])}
        notifications = (self.find(name) for name in sorted(stored | self._containing[alert_id]))
        return [notification for notification in notifications if notification is not None]

    def put(self, notification: Notification) -> None:
        """Note a notification that is new or has one more alert; `write` stores it."""
        self._known[notification.notification_id] = notification
        self._changed.add(notification.notification_id)
        self._containing[notification.alert_ids[-1]].add(notification.notification_id)

    def changed(self) -> Iterable[Notification]:
        """Notifications that were put and are not written yet, by id."""
        return [notification for name in sorted(self._changed) if (notification := self._known[name]) is not None]

    def budget(self, receiver: str, day_ms: int) -> Budget:
        """The budget of a receiver and day, to be changed in place."""
        if (receiver, day_ms) not in self._budgets:
            row = self._connection.execute(_BUDGET, [receiver, _instant(day_ms)]).fetchone()
            self._budgets[receiver, day_ms] = Budget(*row) if row else Budget()
        return self._budgets[receiver, day_ms]

    def write(self) -> int:
        """Put notifications and budgets into the tables; returns how many notifications are new or changed."""
        changed = [*self.changed()]
        with self._connection.cursor() as cursor:
            cursor.executemany(_PUT, [_row(entry) for entry in changed])
            spent = [
                (who, _instant(day), entry.sent, entry.digested) for (who, day), entry in sorted(self._budgets.items())
            ]
            cursor.executemany(_SPEND, spent)
        self._changed.clear()
        return len(changed)

    def _read(self, query: LiteralString, notification_id: str) -> Notification | None:
        row = self._connection.execute(query, [notification_id]).fetchone()
        if row is None:
            return None
        receiver, kind, alert_ids, sources, body, due_ms, closed, dead = row
        # Only an open notification gets more alerts, and a summary of all of them.
        events = [] if closed or dead else events_of(self._connection, notification_id, LISTED)
        return Notification(
            notification_id, receiver, kind, body["status"], body["group_key"], due_ms, body["severity"], alert_ids,
            sources, events, digest=body["digest"], closed=closed, dead=dead,
        )  # fmt: skip


def _row(notification: Notification) -> tuple[object, ...]:
    due = _instant(notification.due_ms)
    body = Jsonb(notification.body())
    return (
        notification.notification_id, notification.receiver, notification.kind, notification.alert_ids,
        notification.sources, body, due,
    )  # fmt: skip


def _instant(at_ms: int | None) -> datetime | None:
    return None if at_ms is None else instant(at_ms)
