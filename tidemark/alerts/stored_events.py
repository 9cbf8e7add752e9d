"""Alerts of notifications: the CloudEvents that the table `alert` holds, once for all notifications."""

from __future__ import annotations

from typing import Any, LiteralString

import psycopg

_EVENTS: LiteralString = """
SELECT alert.event
FROM notification
CROSS JOIN LATERAL unnest(alert_ids, alert_sources) WITH ORDINALITY AS listed (alert_id, source, place)
JOIN alert ON alert.alert_id = listed.alert_id AND alert.source = listed.source
WHERE notification_id = %s AND place <= %s
ORDER BY place
"""


def events_of(connection: psycopg.Connection, notification_id: str, limit: int) -> list[dict[str, Any]]:
    """CloudEvents of the first `limit` alerts of a stored notification, in the order they joined it."""
    return [row[0] for row in connection.execute(_EVENTS, [notification_id, limit])]
