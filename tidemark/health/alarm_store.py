"""Alarms about the pipeline in Postgres: stored first, announced then, so that none is lost or sent twice."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

from jobs.alarm import SEND_STALL_S
from tidemark.core.kafka import Sender
from tidemark.core.settings import Settings
from tidemark.health.rules import Finding, Key
from tidemark.health.transitions import Decision
from udfs.alerts import pipeline as alerts
from udfs.alerts.event import Alert, Status, id_of, to_json
from udfs.alerts.pipeline import Trouble
from udfs.values import epoch_ms, rfc3339

_FIRING = "SELECT trouble, subject, since, evidence FROM pipeline_alarm WHERE resolved_at IS NULL ORDER BY since"
_BEGIN = """
INSERT INTO pipeline_alarm (trouble, subject, since, evidence) VALUES (%s, %s, clock_timestamp(), %s)
ON CONFLICT DO NOTHING
"""
_END = """
UPDATE pipeline_alarm SET resolved_at = clock_timestamp() WHERE trouble = %s AND subject = %s AND resolved_at IS NULL
"""
_UNANNOUNCED = """
SELECT trouble, subject, since, evidence, announced_at IS NOT NULL, resolved_at FROM pipeline_alarm
WHERE announced_at IS NULL OR (resolved_at IS NOT NULL AND resolved_announced_at IS NULL)
ORDER BY since, trouble, subject
"""
_ANNOUNCED = """
UPDATE pipeline_alarm SET announced_at = coalesce(announced_at, clock_timestamp()),
    resolved_announced_at = CASE WHEN resolved_at IS NOT NULL
        THEN coalesce(resolved_announced_at, clock_timestamp()) END
WHERE trouble = %s AND subject = %s AND since = %s AND resolved_at IS NOT DISTINCT FROM %s
"""


@dataclass(frozen=True, slots=True)
class Stored:
    """An alarm whose start or end is still to be announced; `resolved_at` None: it runs."""

    trouble: Trouble
    subject: str
    since: datetime
    evidence: Mapping[str, Any]
    announced: bool
    resolved_at: datetime | None


@dataclass(frozen=True, slots=True)
class Firing:
    """An alarm that runs."""

    trouble: Trouble
    subject: str
    since: datetime
    evidence: Mapping[str, Any]


def firing(connection: psycopg.Connection) -> list[Firing]:
    """Alarms that run, the oldest first."""
    return [Firing(*row) for row in connection.execute(_FIRING)]


def store(connection: psycopg.Connection, decision: Decision) -> None:
    """Write what begins and ends, not announced yet; in a transaction of the caller."""
    for finding in decision.begun:
        connection.execute(_BEGIN, [*finding.key, Jsonb(evidence_of(finding))])
    for key in decision.ended:
        connection.execute(_END, list(key))


def announce(connection: psycopg.Connection, settings: Settings) -> int:
    """Send what is stored and not announced, from before a crash too: the same row makes the same alert. How many.

    Raises
    ------
    UnavailableError
        Kafka is down; the next call sends it.
    """
    waiting = [Stored(*row) for row in connection.execute(_UNANNOUNCED)]
    made = [alert for stored in waiting for alert in alerts_of(settings.names.alerts, stored)]
    if made:
        with Sender(settings.kafka, SEND_STALL_S) as sender:
            for alert in made:
                sender.send(settings.names.alerts, to_json(alert).encode(), key=alert.type.encode())
    for stored in waiting:
        connection.execute(_ANNOUNCED, [stored.trouble, stored.subject, stored.since, stored.resolved_at])
    return len(made)


def alerts_of(topic: str, stored: Stored) -> list[Alert]:
    """Alerts of an alarm that are still to be sent, in their order."""
    made = [] if stored.announced else [_alert(topic, stored, "firing", stored.since, stored.evidence)]
    if stored.resolved_at is not None:
        shown = {**stored.evidence, "since": rfc3339(stored.since)}
        made.append(_alert(topic, stored, "resolved", stored.resolved_at, shown))
    return made


def evidence_of(finding: Finding) -> dict[str, Any]:
    """What an alert says of its finding; figures are plain decimals as text."""
    return {
        "subject": finding.subject,
        "detail": finding.detail,
        "value": _plain(finding.value),
        "threshold": _plain(finding.threshold),
        **finding.evidence,
    }


def keys(alarms: Iterable[Firing]) -> set[Key]:
    """What they are about."""
    return {(alarm.trouble, alarm.subject) for alarm in alarms}


def _alert(topic: str, stored: Stored, status: Status, at: datetime, evidence: Mapping[str, Any]) -> Alert:
    since = stored.since.astimezone(UTC).isoformat()
    event_id = id_of(topic, stored.trouble, stored.subject, since, status)
    shown = {**evidence, "subject": stored.subject}
    return alerts.health(stored.trouble, status, evidence=shown, at_ms=epoch_ms(at), event_id=event_id)


def _plain(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
