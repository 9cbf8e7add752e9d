"""Tells `usage.alerts` once when closing needs somebody's yes, and once when it does not any more."""

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
# Refusals that hold until a person has decided; the others end by themselves, or have an alert of their own.
NEEDS_YES = frozenset({"watermark_jump", "max_periods"})


def follow(connection: psycopg.Connection, names: Names, refused: Iterable[Refusal]) -> None:
    """Begin or end the alarm as the refusals of a close of everybody say. Nothing is sent yet."""
    mine = [one for one in refused if one.cause in NEEDS_YES]
    counts: Counter[str] = Counter()
    for one in mine:
        counts[one.cause] += len(one.periods)
    evidence = {"periods": counts.total(), "by_cause": counts, "detail": " | ".join(one.detail for one in mine)}
    _ALARM.follow(connection, names, evidence if mine else None)


def announce(connection: psycopg.Connection, settings: Settings) -> int:
    """Send what is stored and not told, and say how many; raises UnavailableError when Kafka is away."""
    return _ALARM.announce(connection, settings)
