"""Billing calendars: the period and local day an instant belongs to, from anchor + ISO 8601 interval + time zone."""

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Literal

from udfs.calendars.boundaries import BoundaryCalendar
from udfs.calendars.localtime import (
    HOUR_MS,
    MAX_MS,
    MIN_MS,
    MINUTE_MS,
    BillingCalendar,
    CalendarError,
    LocalCalendar,
    NoPeriodError,
    Period,
    instant_of,
    local_at,
    zone,
)

Unit = Literal["H", "D", "W", "M", "Y"]

_INTERVAL = re.compile(
    r"P(?:(?P<n>[1-9]\d{0,4})(?P<unit>[DWMY])|(?P<years>[1-9]\d?)Y(?P<months>[1-9]\d{0,2})M|T(?P<hours>[1-9]\d{0,4})H)",
    re.ASCII,
)
# Ten years in each unit: longer periods would outlive the state that holds their totals.
_MOST: dict[str, int] = {"H": 87_600, "D": 3_650, "W": 520, "M": 120, "Y": 10}
_MONTHS: dict[str, int] = {"M": 1, "Y": 12}
_DAYS: dict[str, int] = {"D": 1, "W": 7}
_USUAL_FIX = "write for example P1M or PT6H"
# What may be written instead, and what to write: the first that matches is named.
_FIXES = (
    (r"(?=.*[a-z])(?i:P[T0-9DWMYH]+)", "write it in capitals, for example P1M"),
    (r"P.*[.,].*", "write a whole number of a smaller unit, for example PT36H for a day and a half"),
    (r"PT([0-9]+H)?[0-9]+[MS].*", "write whole hours, for example PT1H; no billing period is finer"),
    (r"P[0-9]+H", "write a T before hours, for example PT1H"),
    (r"PT?[0+-].*", "write a number from 1 on, without a sign and without zeros in front"),
    (r"P([0-9]+[YMWD])+T.*|P([0-9]+[YMWD]){2,}", "write one unit, or years and months such as P1Y6M"),
)


@dataclass(frozen=True, slots=True)
class Interval:
    """Length of a period: `count` units of hours (elapsed time), days, weeks, months or years (local calendar)."""

    count: int
    unit: Unit


@dataclass(frozen=True)
class Calendar(LocalCalendar):
    """Periods that tile all time from a local anchor.

    Boundary k is the anchor plus k intervals, always counted from the anchor, so a month end it was clamped to does not
    stick (Jan 31, Feb 28, Mar 31). A boundary in a skipped local hour moves forward by the gap; in a repeated one it
    takes the first. Hours are elapsed time: `PT1H` periods are one hour long on every day of the year.

    Parameters
    ----------
    anchor:
        Naive local wall-clock time at which one of the periods begins. Its `fold` tells hours alone, which count from
        an instant, that the second reading of a repeated time is meant.
    interval:
        Length of a period.
    timezone:
        IANA name, resolved from the pinned tzdata package.
    """

    anchor: datetime
    interval: Interval
    timezone: str

    def __reduce__(self) -> tuple[Any, ...]:
        return Calendar, (self.anchor, self.interval, self.timezone)

    def boundary(self, k: int) -> int:
        """Begin of period k, UTC epoch ms; period 0 begins at the anchor."""
        if self.interval.unit == "H":
            return self._origin() + k * self.interval.count * HOUR_MS
        return instant_of(self.wall_clock(k), self.timezone)

    def wall_clock(self, k: int) -> datetime:
        """Naive local time that the rule gives to boundary k, which the clock may skip or repeat; not for hours."""
        count, unit = self.interval.count * k, self.interval.unit
        if unit in _DAYS:
            return self.anchor + timedelta(days=count * _DAYS[unit])
        return _add_months(self.anchor, count * _MONTHS[unit])

    def index_at(self, ms: int) -> int:
        """The largest k whose boundary is not after `ms`: of two boundaries that a gap makes one, the later."""
        k = self._estimate(ms)
        while self.boundary(k) > ms:
            k -= 1
        while self.boundary(k + 1) <= ms:
            k += 1
        return k

    def _origin(self) -> int:
        return instant_of(self.anchor, self.timezone, self.anchor.fold)

    def _estimate(self, ms: int) -> int:
        """K by arithmetic on local dates; at most a step or two off, because of clamping and offsets."""
        count, unit = self.interval.count, self.interval.unit
        if unit == "H":
            return (ms - self._origin()) // (count * HOUR_MS)
        local = local_at(ms, self.timezone)
        if unit in _DAYS:
            return (local.date() - self.anchor.date()).days // (count * _DAYS[unit])
        months = (local.year - self.anchor.year) * 12 + local.month - self.anchor.month
        return months // (count * _MONTHS[unit])


def _add_months(anchor: datetime, months: int) -> datetime:
    year, month0 = divmod(anchor.year * 12 + anchor.month - 1 + months, 12)
    return anchor.replace(year=year, month=month0 + 1, day=min(anchor.day, monthrange(year, month0 + 1)[1]))


def parse_interval(text: str) -> Interval:
    """An ISO 8601 duration of one unit, at most ten years long: P{n}D, P{n}W, P{n}M, P{n}Y, PT{n}H; or P{y}Y{m}M.

    Raises
    ------
    CalendarError
        Any other text; says what to write instead.
    """
    match = _INTERVAL.fullmatch(text)
    if match is None:
        fix = next((fix for pattern, fix in _FIXES if re.fullmatch(pattern, text)), _USUAL_FIX)
        raise CalendarError(
            f"interval {text[:80]!r} is not one of P{{n}}D, P{{n}}W, P{{n}}M, P{{n}}Y, P{{y}}Y{{m}}M, PT{{n}}H: {fix}."
        )
    unit: Any = match["unit"] or ("M" if match["years"] else "H")
    count = int(match["years"]) * 12 + int(match["months"]) if match["years"] else int(match["n"] or match["hours"])
    if count > _MOST[unit]:
        raise CalendarError(f"interval {text!r} is over ten years ({_MOST[unit]} of its unit): write a shorter one.")
    return Interval(count, unit)


def parse_calendar(
    anchor: str | None, interval: str | None, timezone: str, boundaries: Sequence[str] = ()
) -> Calendar | BoundaryCalendar:
    """A calendar from text: an interval with or without an anchor, or a list of boundaries.

    Parameters
    ----------
    anchor:
        Local date or date-time without zone, 1970 to 2100: `2023-01-31` or `2023-01-31T06:30:00`. None: aligned to the
        calendar, see `aligned_anchor`.
    interval:
        See `parse_interval`; None with boundaries.
    timezone:
        IANA name, for example America/New_York.
    boundaries:
        Local dates or date-times as an anchor, ascending; see `udfs.calendars.boundaries.BoundaryCalendar`.

    Raises
    ------
    CalendarError
        One of them is wrong, or interval and boundaries are both given, or neither is.
    """
    zone(timezone)
    if boundaries:
        if anchor is not None or interval is not None:
            raise CalendarError("boundaries say it all: leave out anchor and interval, or else the boundaries.")
        return BoundaryCalendar(tuple(_boundary(one) for one in boundaries), timezone)
    if interval is None:
        raise CalendarError("interval is missing: write for example P1M, or list boundaries.")
    length = parse_interval(interval)
    return Calendar(aligned_anchor(length) if anchor is None else parse_anchor(anchor), length, timezone)


def aligned_anchor(interval: Interval) -> datetime:
    """Where calendar-aligned periods are counted from: local midnight of 2000-01-01, for weeks Monday 2000-01-03."""
    return datetime(2000, 1, 3 if interval.unit == "W" else 1)  # noqa: DTZ001 - an anchor is local by definition


def parse_anchor(text: str) -> datetime:
    """A naive local date or date-time, 1970 to 2100, to the millisecond; raises CalendarError."""
    local = local_time("anchor", text)
    if not date(1970, 1, 1) <= local.date() <= date(2100, 12, 31):
        raise CalendarError(f"anchor {text[:80]!r} is outside the years 1970 to 2100.")
    return local


def _boundary(text: str) -> datetime:
    local = local_time("boundary", text)
    # A day more on both sides, so that a list can cover the first and the last instant in every zone.
    if not date(1969, 12, 31) <= local.date() <= date(2101, 1, 2):
        raise CalendarError(f"boundary {text[:80]!r} is outside the years 1970 to 2100.")
    return local


def local_time(name: str, text: str) -> datetime:
    """A naive local date or date-time to the millisecond; raises CalendarError, which calls it `name`."""
    try:
        local = datetime.fromisoformat(text)
    except ValueError:
        raise CalendarError(f"{name} {text[:80]!r} is not an ISO date or date-time.") from None
    if local.tzinfo is not None or local.microsecond % 1_000:
        raise CalendarError(
            f"{name} {text[:80]!r} must have no zone of its own and no part finer than a millisecond: "
            "write the local time in the calendar's time zone, for example 2024-01-31T06:30:00."
        )
    return local


# Calendar month in UTC: what a tenant without a calendar bills by.
UTC_MONTH = Calendar(datetime(2000, 1, 1), Interval(1, "M"), "UTC")  # noqa: DTZ001 - an anchor is local by definition

__all__ = [
    "HOUR_MS",
    "MAX_MS",
    "MINUTE_MS",
    "MIN_MS",
    "UTC_MONTH",
    "BillingCalendar",
    "BoundaryCalendar",
    "Calendar",
    "CalendarError",
    "Interval",
    "LocalCalendar",
    "NoPeriodError",
    "Period",
    "Unit",
    "aligned_anchor",
    "instant_of",
    "local_at",
    "local_time",
    "parse_anchor",
    "parse_calendar",
    "parse_interval",
    "zone",
]
