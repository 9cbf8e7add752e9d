"""Sends one alert when closing needs an approval, and one when it no longer does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import psycopg

from tidemark.billing.ledger_alarm import ledger_alarm
from tidemark.billing.refusals import Refusal
from tidemark.core.names import Names
from tidemark.core.settings import Settings
from udfs.alerts import pipeline as alerts

_ALARM = ledger_alarm("close_alarm", alerts.CLOSE, alerts.close, {"periods": 0})
# Refusals that last until a person decides; the others end by themselves, or have an alert of their own.
NEEDS_APPROVAL = frozenset({"watermark_jump", "max_periods"})


def follow(connection: psycopg.Connection, names: Names, refused: Iterable[Refusal]) -> None:
    """Start or end the alarm by the refusals of a close of all customers. Nothing is sent yet."""
    waiting = [refusal for refusal in refused if refusal.cause in NEEDS_APPROVAL]
    if not waiting:
        return _ALARM.end(connection, names)
    counts: Counter[str] = Counter()
    for refusal in waiting:
        counts[refusal.cause] += len(refusal.periods)
    detail = " | ".join(refusal.detail for refusal in waiting)
    return _ALARM.begin(connection, names, {"periods": counts.total(), "by_cause": counts, "detail": detail})


def announce(connection: psycopg.Connection, settings: Settings) -> int:
    """Send the alerts that are stored and not sent yet; returns how many. Raises UnavailableError if Kafka is down."""
    return _ALARM.announce(connection, settings)
