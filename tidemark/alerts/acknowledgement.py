"""Acknowledgements of alerts by people, and statistics of the rules."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Literal, LiteralString

import psycopg
from psycopg.rows import class_row

from tidemark.core import audit
from tidemark.core.errors import UsageError
from tidemark.core.postgres import run_once
from tidemark.core.settings import Settings

Outcome = Literal["acted", "ignored"]

# `stats` may count every stored alert.
STATEMENT_TIMEOUT_MS = 30_000

# The id of an end acknowledges its start; a fingerprint acknowledges its newest start.
_ACK: LiteralString = """
WITH meant AS (
    SELECT alert_id, source FROM alert WHERE alert_id = %(name)s AND status = 'firing'
    UNION
    (
        SELECT DISTINCT ON (fingerprint) alert_id, source
        FROM alert
        WHERE status = 'firing' AND fingerprint IN (
            SELECT %(name)s UNION SELECT fingerprint FROM alert WHERE alert_id = %(name)s AND status = 'resolved'
        )
        ORDER BY fingerprint, at DESC
    )
)
UPDATE alert
SET acknowledged_at = coalesce(acknowledged_at, now()),
    acknowledged_by = coalesce(acknowledged_by, %(by)s),
    outcome         = coalesce(%(outcome)s, outcome),
    outcome_at      = CASE WHEN %(outcome)s IS NULL THEN outcome_at ELSE now() END,
    outcome_by      = CASE WHEN %(outcome)s IS NULL THEN outcome_by ELSE %(by)s END,
    note            = coalesce(%(note)s, note)
FROM meant
WHERE alert.alert_id = meant.alert_id AND alert.source = meant.source
RETURNING alert.alert_id, type, at, coalesce(tenant_id, '') AS tenant_id, coalesce(customer_id, '') AS customer_id,
          event #>> '{data,summary}' AS summary, acknowledged_at, acknowledged_by, outcome, outcome_by, note
"""
_STATS: LiteralString = """
SELECT type, rule, fired, suppressed, acknowledged, acted, ignored, action_ratio
FROM alert_stats(coalesce(now() - %s * interval '1 day', '-infinity'))
ORDER BY fired DESC, type, rule
"""


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """An acknowledged alert, as it is now."""

    alert_id: str
    type: str
    at: datetime
    tenant_id: str
    customer_id: str
    summary: str
    acknowledged_at: datetime
    acknowledged_by: str
    outcome: Outcome | None
    outcome_by: str | None
    note: str | None


@dataclass(frozen=True, slots=True)
class RuleStats:
    """What became of the alerts of one rule; `action_ratio` is acted over those that were not suppressed."""

    type: str
    rule: str
    fired: int
    suppressed: int
    acknowledged: int
    acted: int
    ignored: int
    action_ratio: Decimal | None


def acknowledge(
    settings: Settings, name: str, *, by: str, outcome: Outcome | None = None, note: str | None = None
) -> list[Acknowledged]:
    """Acknowledge an alert and record its outcome; the first acknowledgement stays, the last outcome counts.

    Parameters
    ----------
    settings:
        Postgres and run.
    name:
        Id of an alert, or fingerprint of a condition.
    by:
        Who says so.
    outcome, note:
        Whether something was done because of it, and words about it; what is None stays as it is.

    Raises
    ------
    UsageError
        There is no such alert.
    UnavailableError
        Postgres cannot be reached.

    """
    given = {"name": name, "by": by, "outcome": outcome, "note": note}

    def updated(connection: psycopg.Connection) -> list[Acknowledged]:
        with connection.transaction(), connection.cursor(row_factory=class_row(Acknowledged)) as cursor:
            alerts = cursor.execute(_ACK, given).fetchall()
            for alert in alerts:
                said = {"outcome": outcome, "note": note}
                audit.record(connection, settings.run_id, "alerts.acknowledge", alert.alert_id, by=by, **said)
            return alerts

    acknowledged = run_once(settings.postgres.ops, "alerts", updated, settings.names.usage_schema)
    if not acknowledged:
        raise UsageError(f"there is no alert with id or fingerprint {name!r}.", "`tidemark alerts tail` shows ids.")
    return acknowledged


def stats(settings: Settings, days: int | None = None) -> list[RuleStats]:
    """What became of the alerts of each rule, of the last days or of all time; most fired first.

    Raises
    ------
    UnavailableError
        Postgres cannot be reached.

    """

    def counted(connection: psycopg.Connection) -> list[RuleStats]:
        with connection.cursor(row_factory=class_row(RuleStats)) as cursor:
            return cursor.execute(_STATS, [days]).fetchall()

    return run_once(
        settings.postgres.ops, "alerts", counted, settings.names.usage_schema, timeout_ms=STATEMENT_TIMEOUT_MS
    )
