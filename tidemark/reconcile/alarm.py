"""Sends one alert when unexplained drift begins, and one when no difference is open any more."""

from __future__ import annotations

import psycopg

from tidemark.billing.ledger_alarm import ledger_alarm
from tidemark.core.names import Names
from tidemark.core.settings import Settings
from tidemark.reconcile import drift_store
from udfs.alerts import pipeline as alerts

_ALARM = ledger_alarm("reconcile_alarm", alerts.RECONCILE, alerts.reconcile, {"open": 0})


def follow(connection: psycopg.Connection, names: Names) -> None:
    """Start or end the alarm by the open differences; in the transaction that changed them. Nothing is sent yet."""
    counts = drift_store.open_counts(connection, names)
    if counts:
        _ALARM.begin(connection, names, {"open": sum(counts.values()), "by_check": counts})
    else:
        _ALARM.end(connection, names)


def announce(connection: psycopg.Connection, settings: Settings) -> int:
    """Send the alerts that are stored and not sent yet; returns how many. Raises UnavailableError if Kafka is down."""
    return _ALARM.announce(connection, settings)
