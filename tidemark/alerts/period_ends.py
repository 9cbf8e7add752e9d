"""Ends of conditions whose billing period has ended: nobody announces them, and some receivers keep incidents open."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import LiteralString

import psycopg

from tidemark.alerts.policy import ReceiverKind
from udfs.alerts.event import Alert, Severity, fingerprint, from_event
from udfs.values import rfc3339

# Alertmanager gets the end of the period with the alert, Slack opens nothing, and a webhook reads `period.end`.
KEEP_OPEN: frozenset[ReceiverKind] = frozenset({"pagerduty"})
# In one transaction, as many as the intake takes from the topic.
MOST = 500
# Those that were taken since this long; before that somebody has closed them.
_SINCE: LiteralString = "interval '62 days'"
_ENDED: LiteralString = f"""
SELECT event, impact_severity
FROM alert begun
WHERE status = 'firing' AND suppressed_by IS NULL AND period_end <= now() AND period_end > now() - {_SINCE}
  AND NOT EXISTS (
      SELECT FROM alert ended
      WHERE ended.fingerprint = begun.fingerprint AND ended.status = 'resolved' AND ended.at >= begun.at
  )
  AND EXISTS (
      SELECT FROM notification n
      WHERE n.alert_ids @> ARRAY[begun.alert_id] AND n.kind = ANY(%s) AND n.dead_at IS NULL
        AND NOT (n.body -> 'digest')::boolean
  )
ORDER BY period_end, alert_id
LIMIT {MOST}
"""


def ended(connection: psycopg.Connection) -> Sequence[tuple[Alert, Severity]]:
    """Ends of the conditions that receivers keep open although their period has ended, with their severity."""
    rows = connection.execute(_ENDED, [sorted(KEEP_OPEN)]).fetchall()
    return [(end_of(from_event(event)), severity) for event, severity in rows]


def end_of(alert: Alert) -> Alert:
    """The end of a condition with its billing period; its id is the same whenever it is made again.

    Raises
    ------
    ValueError
        The alert belongs to no period.
    """
    if alert.period_ms is None:
        raise ValueError("an alert without a period does not end with one")
    end_ms = alert.period_ms[1]
    return replace(
        alert,
        type="limit.resolved" if alert.type.startswith("limit.") else alert.type,
        status="resolved",
        summary=f"The billing period ended at {rfc3339(end_ms)}: {alert.summary}",
        suggested_action="Lift what was done when it began.",
        # What was seen after the end of the period, since events may be late, ends at once.
        at_ms=max(end_ms, alert.at_ms),
        id=fingerprint("period ended", alert.source, alert.id),
    )
