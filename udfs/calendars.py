"""Billing calendars: the period and local day an instant belongs to, from anchor + ISO 8601 interval + time zone."""

from __future__ import annotations

import importlib.resources
import re
from calendar import monthrange
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Any, Literal
from zoneinfo import ZoneInfo

Unit = Literal["H", "D", "W", "M", "Y"]

# Instants a calendar is asked about: 1970-01-01 up to, not including, 2101-01-01 (UTC, epoch ms).
MIN_MS = 0
MAX_MS = 4_133_980_800_000
MINUTE_MS = 60_000
HOUR_MS = 3_600_000
# Between the fields of a stamp, as of a whole series. Control characters are rejected in ids and escaped in dims.
SEPARATOR = "\x1f"

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_INTERVAL = re.compile(r"P(?:(?P<n>[1-9]\d{0,4})(?P<unit>[DWMY])|T(?P<hours>[1-9]\d{0,4})H)", re.ASCII)
_ZONE_KEY = re.compile(r"[A-Za-z0-9_+-]+(?:/[A-Za-z0-9_+-]+)*")
# Ten years in each unit: longer periods would outlive the state that holds their totals.
_MOST: dict[str, int] = {"H": 87_600, "D": 3_650, "W": 520, "M": 120, "Y": 10}
_MONTHS: dict[str, int] = {"M": 1, "Y": 12}
_DAYS: dict[str, int] = {"D": 1, "W": 7}

# Hours whose local day a calendar remembers: three months, so that history is loaded at the same speed.
_DAYS_KEPT = 2_160
# Minutes whose stamp a calendar remembers: live events are close together, and there may be a calendar per customer.
_STAMPS_KEPT = 128


class CalendarError(ValueError):
    """An anchor, interval or time zone that no calendar can be made of."""


@dataclass(frozen=True, slots=True)
class Period:
    """Half-open interval [start_ms, end_ms), UTC epoch milliseconds; never empty."""

    start_ms: int
    end_ms: int


@dataclass(frozen=True, slots=True)
class Interval:
    """Length of a period: `count` units of hours (elapsed time), days, weeks, months or years (local calendar)."""

    count: int
    unit: Unit


@dataclass(frozen=True)
class Calendar:
    """Periods that tile all time from a local anchor.

    Boundary k is the anchor plus k intervals, always counted from the anchor, so a month end it was clamped to does not
    stick (Jan 31, Feb 28, Mar 31). A boundary in a skipped local hour moves forward by the gap; in a repeated one it
    takes the first. Hours are elapsed time: `PT1H` periods are one hour long on every day of the year.

    Parameters
    ----------
    anchor:
        Naive local wall-clock time at which one of the periods begins.
    interval:
        Length of a period.
    timezone:
        IANA name, resolved from the pinned tzdata package.
    """

    anchor: datetime
    interval: Interval
    timezone: str
    # Last period that was asked for: events come close together in time.
    _last: list[Period] = field(default_factory=list, init=False, repr=False, compare=False)
    # Local day by UTC hour since the epoch.
    _days: dict[int, str] = field(default_factory=dict, init=False, repr=False, compare=False)
    # Stamp by begin of the UTC minute, for minutes that lie within one day and one period.
    _stamps: dict[int, str] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __reduce__(self) -> tuple[Any, ...]:
        return Calendar, (self.anchor, self.interval, self.timezone)

    def period_at(self, ms: int) -> Period:
        """The period that holds an instant, UTC epoch ms from MIN_MS up to MAX_MS."""
        if self._last:
            last = self._last[0]
            if last.start_ms <= ms < last.end_ms:
                return last
        k = self._index(ms)
        period = Period(self.boundary(k), self.boundary(k + 1))
        self._last[:] = (period,)
        return period

    def day_at(self, ms: int) -> str:
        """The local date of an instant (UTC epoch ms), as ISO text."""
        hour = ms // HOUR_MS
        day = self._days.get(hour)
        if day is None:
            day = self._local(ms).date().isoformat()
            first, last = self._local(hour * HOUR_MS), self._local((hour + 1) * HOUR_MS - 1)
            # Only an hour within one local day: some offsets are no whole hours. Equal ends are not enough where the
            # clock goes back in between: in St. John's it was tomorrow for one minute, then today again.
            if first.day == last.day and first.utcoffset() == last.utcoffset():
                if len(self._days) >= _DAYS_KEPT:
                    self._days.clear()
                self._days[hour] = day
        return day

    def stamp_at(self, ms: int) -> str:
        """Begin of the UTC minute (ms), local day, begin and end of the period (ms), with SEPARATOR between them."""
        minute_ms = ms - ms % MINUTE_MS
        stamp = self._stamps.get(minute_ms)
        if stamp is None:
            period, day = self.period_at(ms), self.day_at(ms)
            stamp = f"{minute_ms}{SEPARATOR}{day}{SEPARATOR}{period.start_ms}{SEPARATOR}{period.end_ms}"
            # Anchors and old offsets may have seconds: a minute that a period or a day ends in has two stamps.
            in_period = period.start_ms <= minute_ms and minute_ms + MINUTE_MS <= period.end_ms
            if in_period and ms // HOUR_MS in self._days:
                if len(self._stamps) >= _STAMPS_KEPT:
                    self._stamps.clear()
                self._stamps[minute_ms] = stamp
        return stamp

    def boundary(self, k: int) -> int:
        """Begin of period k, UTC epoch ms; period 0 begins at the anchor."""
        count, unit = self.interval.count * k, self.interval.unit
        if unit == "H":
            return self._instant(self.anchor) + count * HOUR_MS
        if unit in _DAYS:
            return self._instant(self.anchor + timedelta(days=count * _DAYS[unit]))
        return self._instant(_add_months(self.anchor, count * _MONTHS[unit]))

    def _index(self, ms: int) -> int:
        """The largest k whose boundary is not after `ms`: of two boundaries that a gap makes one, the later."""
        k = self._estimate(ms)
        while self.boundary(k) > ms:
            k -= 1
        while self.boundary(k + 1) <= ms:
            k += 1
        return k

    def _estimate(self, ms: int) -> int:
        """K by arithmetic on local dates; at most a step or two off, because of clamping and offsets."""
        count, unit = self.interval.count, self.interval.unit
        if unit == "H":
            return (ms - self._instant(self.anchor)) // (count * HOUR_MS)
        local = self._local(ms)
        if unit in _DAYS:
            return (local.date() - self.anchor.date()).days // (count * _DAYS[unit])
        months = (local.year - self.anchor.year) * 12 + local.month - self.anchor.month
        return months // (count * _MONTHS[unit])

    def _local(self, ms: int) -> datetime:
        return datetime.fromtimestamp(ms // 1_000, zone(self.timezone))

    def _instant(self, local: datetime) -> int:
        # fold=0 is the rule itself: the earlier of two readings, and the offset before a gap, which moves it forward.
        return (local.replace(tzinfo=zone(self.timezone), fold=0) - _EPOCH) // _MILLISECOND


def _add_months(anchor: datetime, months: int) -> datetime:
    year, month0 = divmod(anchor.year * 12 + anchor.month - 1 + months, 12)
    return anchor.replace(year=year, month=month0 + 1, day=min(anchor.day, monthrange(year, month0 + 1)[1]))


@lru_cache(maxsize=1_024)
def zone(name: str) -> ZoneInfo:
    """Time zone from the pinned tzdata package, not from the machine, so that every worker bills by the same rules.

    Raises
    ------
    CalendarError
        The package has no zone of this name.
    """
    if not _ZONE_KEY.fullmatch(name):
        raise CalendarError(f"time zone {name[:80]!r} is not an IANA name such as America/New_York.")
    try:
        with importlib.resources.files("tzdata.zoneinfo").joinpath(*name.split("/")).open("rb") as file:
            return ZoneInfo.from_file(file, key=name)
    except (OSError, ValueError):
        raise CalendarError(f"time zone {name[:80]!r} is not in the pinned tzdata package.") from None


def parse_interval(text: str) -> Interval:
    """An ISO 8601 duration of one unit: P{n}D, P{n}W, P{n}M, P{n}Y or PT{n}H, at most ten years long.

    Raises
    ------
    CalendarError
        Any other text.
    """
    match = _INTERVAL.fullmatch(text)
    if match is None:
        raise CalendarError(f"interval {text[:80]!r} is none of P{{n}}D, P{{n}}W, P{{n}}M, P{{n}}Y, PT{{n}}H.")
    unit: Any = match["unit"] or "H"
    count = int(match["n"] or match["hours"])
    if count > _MOST[unit]:
        raise CalendarError(f"interval {text!r} is over ten years ({_MOST[unit]} of its unit).")
    return Interval(count, unit)


def parse_calendar(anchor: str, interval: str, timezone: str) -> Calendar:
    """A calendar from text.

    Parameters
    ----------
    anchor:
        Local date or date-time without zone, 1970 to 2100: `2023-01-31` or `2023-01-31T06:30:00`.
    interval:
        See `parse_interval`.
    timezone:
        IANA name, for example America/New_York.

    Raises
    ------
    CalendarError
        One of the three is wrong.
    """
    try:
        local = datetime.fromisoformat(anchor)
    except ValueError:
        raise CalendarError(f"anchor {anchor[:80]!r} is not an ISO date or date-time.") from None
    if local.tzinfo is not None or local.microsecond % 1_000:
        raise CalendarError(
            f"anchor {anchor[:80]!r} must have no zone of its own and no part finer than a millisecond."
        )
    if not date(1970, 1, 1) <= local.date() <= date(2100, 12, 31):
        raise CalendarError(f"anchor {anchor[:80]!r} is outside the years 1970 to 2100.")
    zone(timezone)
    return Calendar(local, parse_interval(interval), timezone)


# Calendar month in UTC: what a tenant without a calendar bills by.
UTC_MONTH = Calendar(datetime(2000, 1, 1), Interval(1, "M"), "UTC")  # noqa: DTZ001 - an anchor is local by definition
