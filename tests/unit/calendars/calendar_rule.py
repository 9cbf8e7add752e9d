"""The rule of billing periods a second time, sharing no code with the first, and calendars drawn by the thousand."""

from __future__ import annotations

from bisect import bisect_right
from calendar import monthrange
from collections.abc import Sequence
from dataclasses import fields
from datetime import datetime, timedelta
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import TypeVar
from zoneinfo import ZoneInfo

import tzdata
from hypothesis import strategies as st

from tests.unit import strategies as own
from tests.unit.strategies import DAY_MS, HOUR_MS, MINUTE_MS, ZONES
from udfs.calendars.boundaries import BoundaryCalendar
from udfs.calendars.calendar import (
    MAX_MS,
    MIN_MS,
    BillingCalendar,
    Calendar,
    Interval,
    LocalCalendar,
    NoPeriodError,
    Period,
    Unit,
    zone,
)

_Option = TypeVar("_Option")
_Kind = TypeVar("_Kind", bound=LocalCalendar)

# --- the rule: changes of the clock found by search, then k by search over all boundaries -----------------------------


class Wall:
    """The clock on the wall of one zone, 1955 to 2113: its changes (seconds), each with the offset from then on."""

    def __init__(self, timezone: str) -> None:
        with (Path(tzdata.__file__).parent / "zoneinfo" / timezone).open("rb") as file:
            self._zone = ZoneInfo.from_file(file)
        weeks = range(-470_000_000, 4_520_000_000, 7 * 86_400)
        offsets = [self._asked(second) for second in weeks]
        changed = [i for i, (before, after) in enumerate(pairwise(offsets)) if before != after]
        self.changes = [weeks[0], *(self._change(weeks[i], weeks[i + 1]) for i in changed)]
        self.offsets = [offsets[0], *(offsets[i + 1] for i in changed)]

    def _asked(self, second: int) -> int:
        offset = datetime.fromtimestamp(second, self._zone).utcoffset()
        assert offset is not None
        return int(offset.total_seconds())

    def _change(self, before: int, after: int) -> int:
        old = self._asked(before)
        while after - before > 1:
            middle = (before + after) // 2
            before, after = (middle, after) if self._asked(middle) == old else (before, middle)
        return after

    def offset(self, second: int) -> int:
        return self.offsets[bisect_right(self.changes, second) - 1]

    def instant(self, shown: int) -> int:
        """First second at which the wall shows a local time; for one it skips, as long after the gap began."""
        near = range(bisect_right(self.changes, shown - 200_000) - 1, bisect_right(self.changes, shown + 200_000))
        readings = [shown - self.offsets[i] for i in near if self.offset(shown - self.offsets[i]) == self.offsets[i]]
        if readings:
            return min(readings)
        for i in near:
            into_gap = shown - (self.changes[i] + self.offsets[i - 1])
            if 0 <= into_gap < self.offsets[i] - self.offsets[i - 1]:
                return self.changes[i] + into_gap
        raise AssertionError(shown)


wall = lru_cache(Wall)


def by_the_rule(calendar: Calendar, ms: int) -> Period:
    """The period of an instant: the last k of all whose boundary is not after it."""

    def boundary(k: int) -> int:
        return wall(calendar.timezone).instant(as_seconds(local_boundary(calendar, k))) * 1_000

    if calendar.interval.unit == "H":
        length = calendar.interval.count * HOUR_MS
        start = wall(calendar.timezone).instant(as_seconds(calendar.anchor)) * 1_000
        start += (ms - start) // length * length
        return Period(start, start + length)
    low = -145 * {"D": 366, "W": 53, "M": 12, "Y": 1}[calendar.interval.unit] // calendar.interval.count
    high = -low
    while high - low > 1:
        k = (low + high) // 2
        low, high = (k, high) if boundary(k) <= ms else (low, k)
    return Period(boundary(low), boundary(high))


def as_seconds(local: datetime) -> int:
    return int((local - datetime(1970, 1, 1)).total_seconds())  # noqa: DTZ001 - wall-clock arithmetic


def local_boundary(calendar: Calendar, k: int) -> datetime:
    anchor, count, unit = calendar.anchor, calendar.interval.count * k, calendar.interval.unit
    if unit in "DW":
        return anchor + timedelta(days=count * (7 if unit == "W" else 1))
    year, month = anchor.year, anchor.month + count * (12 if unit == "Y" else 1)
    year, month = year + (month - 1) // 12, (month - 1) % 12 + 1
    return anchor.replace(year=year, month=month, day=min(anchor.day, monthrange(year, month)[1]))


def plain_day(ms: int, timezone: str) -> str:
    return datetime.fromtimestamp(ms // 1_000, zone(timezone)).date().isoformat()


# --- calendars --------------------------------------------------------------------------------------------------------


def fresh(calendar: _Kind) -> _Kind:
    """The same calendar with nothing remembered."""
    return type(calendar)(*[getattr(calendar, one.name) for one in fields(calendar) if one.init])  # type: ignore[arg-type]


def found_at(calendar: BillingCalendar, ms: int) -> Period | None:
    """The period at an instant; None for one that a list of boundaries does not hold."""
    try:
        return calendar.period_at(ms)
    except NoPeriodError:
        return None


def listed(anchor: datetime, days: list[int], minutes: int, timezone: str) -> BoundaryCalendar:
    local = [anchor]
    for number, step in enumerate(days):
        local.append(local[-1] + timedelta(days=step, minutes=minutes if number % 2 else -minutes))
    return BoundaryCalendar(tuple(local), timezone)


# Steps of two days at least: less may be nothing where the clock skips a day, which is refused.
boundary_calendars = st.builds(
    listed,
    own.anchors.filter(lambda one: one.year < 2095),
    st.lists(st.sampled_from([28, 35]) | st.integers(2, 60), min_size=1, max_size=12),
    st.integers(0, 1_439),
    own.zones,
)


class Digits:
    """Choices read off a block of bytes: Hypothesis draws thousands of cases as bytes in the time of dozens."""

    def __init__(self, block: bytes) -> None:
        self._left = int.from_bytes(block)

    def below(self, count: int) -> int:
        self._left, digit = divmod(self._left, count)
        return digit

    def pick(self, options: Sequence[_Option]) -> _Option:
        return options[self.below(len(options))]


DAYS = [
    (2023, 1, 29), (2023, 1, 30), (2023, 1, 31), (2024, 2, 29), (2000, 2, 29), (2023, 12, 31), (2011, 12, 30),
    (2011, 12, 1), (2024, 3, 10), (2024, 2, 10), (2024, 11, 3), (2023, 10, 1), (2024, 4, 7), (2018, 10, 4),
]  # fmt: skip
MINUTES = [0, 15, 30, 90, 120, 135, 150, 180, 720, 1_439]
LONGEST = {"H": 800, "D": 90, "W": 8, "M": 24, "Y": 10}
FIRST_DAY = datetime(1970, 1, 1)  # noqa: DTZ001 - an anchor is local
BLOCK, BLOCKS = 16, 20


def case_of(digits: Digits) -> tuple[Calendar, int]:
    """A calendar and an instant, often close to the anchor, to a boundary or to where a boundary moved."""
    anchor = datetime(*digits.pick(DAYS)) if digits.below(2) else FIRST_DAY + timedelta(days=digits.below(47_846))  # noqa: DTZ001
    anchor += timedelta(minutes=digits.pick(MINUTES) if digits.below(2) else digits.below(1_440))
    unit: Unit = digits.pick(["H", "D", "W", "M", "Y"])
    calendar = Calendar(anchor, Interval(1 + digits.below(LONGEST[unit]), unit), digits.pick(ZONES))
    ms = as_seconds(anchor) * 1_000 + (digits.below(1_000) - 500) * DAY_MS if digits.below(2) else digits.below(MAX_MS)
    if digits.below(2):
        step = digits.pick([-HOUR_MS, -30 * MINUTE_MS, -1, 0, 1, 30 * MINUTE_MS, HOUR_MS])
        ms = fresh(calendar).period_at(within(ms)).start_ms + step
    return calendar, within(ms)


def cases_of(blocks: bytes) -> list[tuple[Calendar, int]]:
    return [case_of(Digits(blocks[at : at + BLOCK])) for at in range(0, len(blocks), BLOCK)]


cases = st.binary(min_size=BLOCK * BLOCKS, max_size=BLOCK * BLOCKS).map(cases_of)


def within(ms: int) -> int:
    return min(max(ms, MIN_MS), MAX_MS - 1)


APIA_DAYS = Calendar(datetime(2011, 12, 1), Interval(1, "D"), "Pacific/Apia")  # noqa: DTZ001 - an anchor is local
LORD_HOWE_GAP = Calendar(datetime(2023, 9, 1, 2, 15), Interval(1, "M"), "Australia/Lord_Howe")  # noqa: DTZ001
LEAP_DAY = Calendar(datetime(2024, 2, 29, 12), Interval(1, "Y"), "America/New_York")  # noqa: DTZ001
