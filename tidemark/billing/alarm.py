"""Sends one alert when closing needs an approval, and one when it no longer does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import psycopg

from jobs.alarm import Alarm
from tidemark.billing.refusals import Refusal
from tidemark.core.names import Names
from tidemark.core.settings import Settings
from udfs.alerts import pipeline as alerts

_ALARM = Alarm("close_alarm", alerts.CLOSE, alerts.close, {"periods": 0})
# Refusals that last until a person decides; the others end by themselves, or have an alert of their own.
NEEDS_APPROVAL = frozenset({"watermark_jump", "max_periods"})


def follow(connection: psycopg.Connection, names: Names, refused: Iterable[Refusal]) -> None:
    """Start or end the alarm by the refusals of a close of all customers. Nothing is sent yet."""
    waiting = [refusal for refusal in refused if refusal.cause in NEEDS_APPROVAL]
    counts: Counter[str] = Counter()
    for refusal in waiting:
        counts[refusal.cause] += len(refusal.periods)
    evidence = {
        "periods": counts.total(),
        "by_cause": counts,
        "detail": " | ".join(refusal.detail for refusal in waiting),
    }
    _ALARM.follow(connection, names, evidence if waiting else None)


def announce(connection: psycopg.Connection, settings: Settings) -> int:
    """Send the alerts that are stored and not sent yet; returns how many. Raises UnavailableError if Kafka is down."""
    return _ALARM.announce(connection, settings)
