"""Tells `usage.alerts` once when unexplained drift begins, and once when nothing is open any more."""

from __future__ import annotations

import psycopg

from jobs.alarm import Alarm
from tidemark.core.names import Names
from tidemark.core.settings import Settings
from tidemark.reconcile import drift_store
from udfs.alerts import pipeline as alerts

_ALARM = Alarm("reconcile_alarm", alerts.RECONCILE, alerts.reconcile, {"open": 0})


def follow(connection: psycopg.Connection, names: Names) -> None:
    """Begin or end the alarm as what is open says; in the transaction that changed it. Nothing is sent yet."""
    counts = drift_store.open_counts(connection, names)
    _ALARM.follow(connection, names, {"open": sum(counts.values()), "by_check": counts} if counts else None)


def announce(connection: psycopg.Connection, settings: Settings) -> int:
    """Send what is stored and not told, and say how many; raises UnavailableError when Kafka is away."""
    return _ALARM.announce(connection, settings)
