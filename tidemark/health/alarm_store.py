"""Alarms about the pipeline: what a decision begins and ends, and the alerts of it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC
from typing import Any, cast

import psycopg

from tidemark.core.alarms import Alarms, Stored
from tidemark.core.names import Names
from tidemark.health.rules import Finding, Key
from tidemark.health.transitions import Decision
from udfs.alerts import pipeline as alerts
from udfs.alerts.event import Alert, Status, id_of
from udfs.alerts.pipeline import Trouble
from udfs.values import epoch_ms, rfc3339


def store(connection: psycopg.Connection, names: Names, decision: Decision) -> None:
    """Write what begins and ends, not announced yet; in a transaction of the caller."""
    for finding in decision.begun:
        ALARMS.begin(connection, names, evidence_of(finding), finding.key)
    for key in decision.ended:
        ALARMS.end(connection, names, key)


def evidence_of(finding: Finding) -> dict[str, Any]:
    """What an alert says of its finding; figures are plain decimals as text."""
    return {
        "subject": finding.subject,
        "detail": finding.detail,
        "value": _plain(finding.value),
        "threshold": _plain(finding.threshold),
        **finding.evidence,
    }


def keys(alarms: Iterable[Stored]) -> set[Key]:
    """What they are about."""
    return {key_of(alarm) for alarm in alarms}


def key_of(alarm: Stored) -> Key:
    """What one is about: what is wrong, and with which job, role or folder."""
    trouble, subject = alarm.key
    return cast("Trouble", trouble), subject


def _alert(topic: str, stored: Stored, status: Status) -> Alert:
    trouble, subject = key_of(stored)
    shown, at = {**stored.evidence, "subject": subject}, stored.since
    if status == "resolved":
        shown, at = {**shown, "since": rfc3339(stored.since)}, stored.resolved_at or stored.since
    event_id = id_of(topic, trouble, subject, stored.since.astimezone(UTC).isoformat(), status)
    return alerts.health(trouble, status, evidence=shown, at_ms=epoch_ms(at), event_id=event_id)


def _plain(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


ALARMS = Alarms("pipeline_alarm", lambda names: names.usage_schema, _alert, ("trouble", "subject"))
