"""Volume of tenants: which alarms start, go on and end, given figures of the stored usage. Nothing is dropped."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import get_args

from udfs.alerts.pipeline import Rule

RULES: tuple[Rule, ...] = get_args(Rule)
# An alarm ends when there was no news for this long: a whole hour bucket has then passed without an excess.
QUIET = timedelta(hours=1)
# What an hour over its bound must grow by to be news again, as a share of the bound: stragglers, which may come until
# grace ends, would otherwise keep an alarm for days or start it again.
NEWS_DIVISOR = 100
# Hours an alarm keeps, the latest of event time: more than grace and redrive window together can be (62 days).
MAX_HOURS = 1_500

Key = tuple[str, Rule]


@dataclass(frozen=True, slots=True)
class Reading:
    """One figure of one tenant.

    Parameters
    ----------
    tenant, rule:
        Whose, and which bound it is compared with.
    value:
        Measurements or series of one hour, which only grow; or unique values of open periods, which may fall.
    hour:
        Start of the hour of event time, UTC; None for unique values.

    """

    tenant: str
    rule: Rule
    value: int
    hour: datetime | None = None


@dataclass(frozen=True, slots=True)
class Alarm:
    """One time that a tenant was over a bound; one per tenant and rule runs at a time.

    Parameters
    ----------
    tenant, rule:
        Whose, and over which bound.
    since:
        When it was first seen; names the alarm together with tenant and rule.
    bound, value, hour:
        The bound, the greatest value seen, and the hour it was in.
    seen_at:
        When there was news last.
    hours:
        Value of each hour over the bound when it was news last; of the latest MAX_HOURS hours.
    resolved_at:
        When it ended; None while it runs.

    """

    tenant: str
    rule: Rule
    since: datetime
    bound: int
    value: int
    hour: datetime | None
    seen_at: datetime
    hours: Mapping[datetime, int] = field(default_factory=dict)
    resolved_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """Alarms that start, that go on with new figures, and that end; all others stay as they are."""

    begun: tuple[Alarm, ...]
    grown: tuple[Alarm, ...]
    ended: tuple[Alarm, ...]


def decide(
    readings: Iterable[Reading],
    alarms: Iterable[Alarm],
    bounds: Mapping[Rule, int],
    now: datetime,
    quiet: timedelta = QUIET,
) -> Decision:
    """Compare readings with bounds.

    Parameters
    ----------
    readings:
        Figures of every tenant and hour that may have changed since the last decision; those under the bound may be
        left out.
    alarms:
        All that run, and those that ended while their hours can still get usage.
    bounds:
        Greatest value of each rule that raises no alarm.
    now:
        One clock for all decisions.
    quiet:
        How long there must be no news before an alarm ends.

    """
    read: dict[Key, list[Reading]] = defaultdict(list)
    for reading in readings:
        read[reading.tenant, reading.rule].append(reading)
    known: dict[Key, list[Alarm]] = defaultdict(list)
    for alarm in alarms:
        known[alarm.tenant, alarm.rule].append(alarm)
    begun, grown, ended = [], [], []
    for key in sorted(read.keys() | known.keys()):
        recorded = _recorded(known[key])
        fresh = [reading for reading in read[key] if is_news(reading, bounds[key[1]], recorded)]
        running = next((alarm for alarm in known[key] if alarm.resolved_at is None), None)
        if running is None and fresh:
            begun.append(_start(fresh, bounds[key[1]], now))
        elif running is not None and fresh:
            grown.append(_grow(running, fresh, bounds[key[1]], now))
        elif running is not None and now - running.seen_at >= quiet:
            ended.append(replace(running, resolved_at=now))
    return Decision(tuple(begun), tuple(grown), tuple(ended))


def is_news(reading: Reading, bound: int, recorded: Mapping[datetime, int]) -> bool:
    """Whether a reading is over its bound, and an hour notably more so than when it was news last."""
    if reading.value <= bound:
        return False
    before = recorded.get(reading.hour, 0) if reading.hour is not None else 0
    return (reading.value - before) * NEWS_DIVISOR > bound


def _recorded(alarms: Sequence[Alarm]) -> dict[datetime, int]:
    """Greatest value of each hour that was news, in any alarm."""
    recorded: dict[datetime, int] = {}
    for alarm in alarms:
        for hour, value in alarm.hours.items():
            recorded[hour] = max(value, recorded.get(hour, 0))
    return recorded


def _start(fresh: Sequence[Reading], bound: int, now: datetime) -> Alarm:
    worst = max(fresh, key=_size)
    hours = {reading.hour: reading.value for reading in fresh if reading.hour is not None}
    return Alarm(worst.tenant, worst.rule, now, bound, worst.value, worst.hour, now, _latest(hours))


def _grow(running: Alarm, fresh: Sequence[Reading], bound: int, now: datetime) -> Alarm:
    grown = _start(fresh, bound, now)
    hours = _latest({**running.hours, **grown.hours})
    worst = grown if grown.value > running.value else running
    return replace(running, bound=bound, value=worst.value, hour=worst.hour, seen_at=now, hours=hours)


def _latest(hours: Mapping[datetime, int]) -> dict[datetime, int]:
    return {hour: hours[hour] for hour in sorted(hours)[-MAX_HOURS:]}


def _size(reading: Reading) -> tuple[int, float]:
    # Of two hours of one size the earlier: the order of the rows must not decide.
    return reading.value, -reading.hour.timestamp() if reading.hour is not None else 0.0
