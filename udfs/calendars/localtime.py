"""Instants and the clock on the wall: time zones, skipped and repeated hours, local days, and the stamps of minutes."""

from __future__ import annotations

import importlib.resources
import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Literal, Protocol
from zoneinfo import ZoneInfo

from udfs.values import epoch_ms
from udfs.wire import PERIOD, STAMP

# Instants a calendar is asked about: 1970-01-01 up to, not including, 2101-01-01 (UTC, epoch ms).
MIN_MS = 0
MAX_MS = 4_133_980_800_000
MINUTE_MS = 60_000
HOUR_MS = 3_600_000

_ZONE_KEY = re.compile(r"[A-Za-z0-9_+-]+(?:/[A-Za-z0-9_+-]+)*")

# Hours whose local day a calendar remembers: three months, so that history is loaded at the same speed.
_DAYS_KEPT = 2_160
# Minutes whose stamp a calendar remembers: live events are close together, and there may be a calendar per customer.
_STAMPS_KEPT = 128


class CalendarError(ValueError):
    """An anchor, interval, boundary or time zone that no calendar can be made of."""


class NoPeriodError(CalendarError):
    """An instant before the first or after the last boundary of a calendar that lists its boundaries."""


@dataclass(frozen=True, slots=True)
class Period:
    """Half-open interval [start_ms, end_ms), UTC epoch milliseconds; never empty."""

    start_ms: int
    end_ms: int


class BillingCalendar(Protocol):
    """What decides the period and the day of an event; instants are UTC epoch ms from MIN_MS up to MAX_MS."""

    def period_at(self, ms: int) -> Period:
        """The period that holds an instant; raises NoPeriodError where a list of boundaries has none."""
        ...

    def day_at(self, ms: int) -> str:
        """The local date of an instant, as ISO text."""
        ...

    def stamp_at(self, ms: int) -> str:
        """Minute, local day and period of an instant, as `udfs.wire.STAMP`."""
        ...


class LocalCalendar(ABC):
    """Numbered boundaries in one time zone; remembers the last period, and the days and stamps asked for."""

    timezone: str
    # Last period that was asked for: events come close together in time.
    _last: list[Period]
    # Local day by UTC hour since the epoch.
    _days: dict[int, str]
    # Stamp by begin of the UTC minute, for minutes that lie within one day and one period.
    _stamps: dict[int, str]

    def __post_init__(self) -> None:
        # Not fields: what is remembered is no part of a calendar's value, and subclasses are frozen.
        object.__setattr__(self, "_last", [])
        object.__setattr__(self, "_days", {})
        object.__setattr__(self, "_stamps", {})

    @abstractmethod
    def index_at(self, ms: int) -> int:
        """The largest k whose boundary is not after an instant: of two boundaries that a gap makes one, the later."""

    @abstractmethod
    def boundary(self, k: int) -> int:
        """Begin of period k, UTC epoch ms."""

    def period_at(self, ms: int) -> Period:
        """See `BillingCalendar.period_at`."""
        if self._last:
            last = self._last[0]
            if last.start_ms <= ms < last.end_ms:
                return last
        k = self.index_at(ms)
        period = Period(self.boundary(k), self.boundary(k + 1))
        self._last[:] = (period,)
        return period

    def day_at(self, ms: int) -> str:
        """See `BillingCalendar.day_at`."""
        hour = ms // HOUR_MS
        day = self._days.get(hour)
        if day is None:
            day = local_at(ms, self.timezone).date().isoformat()
            first, last = local_at(hour * HOUR_MS, self.timezone), local_at((hour + 1) * HOUR_MS - 1, self.timezone)
            # Only an hour within one local day: some offsets are no whole hours. Equal ends are not enough where the
            # clock goes back in between: in St. John's it was tomorrow for one minute, then today again.
            if first.day == last.day and first.utcoffset() == last.utcoffset():
                if len(self._days) >= _DAYS_KEPT:
                    self._days.clear()
                self._days[hour] = day
        return day

    def stamp_at(self, ms: int) -> str:
        """See `BillingCalendar.stamp_at`."""
        minute_ms = ms - ms % MINUTE_MS
        stamp = self._stamps.get(minute_ms)
        if stamp is None:
            period, day = self.period_at(ms), self.day_at(ms)
            stamp = STAMP.pack(minute_ms, day, PERIOD.pack(period.start_ms, period.end_ms))
            # Anchors and old offsets may have seconds: a minute that a period or a day ends in has two stamps.
            in_period = period.start_ms <= minute_ms and minute_ms + MINUTE_MS <= period.end_ms
            if in_period and ms // HOUR_MS in self._days:
                if len(self._stamps) >= _STAMPS_KEPT:
                    self._stamps.clear()
                self._stamps[minute_ms] = stamp
        return stamp


def local_at(ms: int, timezone: str) -> datetime:
    """What the clock on the wall shows at an instant (UTC epoch ms), to the second, with its offset."""
    return datetime.fromtimestamp(ms // 1_000, zone(timezone))


def instant_of(local: datetime, timezone: str, fold: int = 0) -> int:
    """The instant (UTC epoch ms) of a naive wall-clock time.

    A skipped one moves forward by the gap, a repeated one takes its first reading; `fold=1` asks for the second.
    """
    # fold=0 is the rule itself: the earlier of two readings, and the offset before a gap, which moves it forward.
    ms = epoch_ms(local.replace(tzinfo=zone(timezone), fold=fold))
    if fold == 0 and not _shows(ms, local, timezone):
        # Where a transition changes no offset, as in Nuuk in October 2023, Python takes an hour that comes once for a
        # repeated one, and its first reading shows another.
        second = epoch_ms(local.replace(tzinfo=zone(timezone), fold=1))
        return second if _shows(second, local, timezone) else ms
    return ms


def _shows(ms: int, local: datetime, timezone: str) -> bool:
    return local_at(ms, timezone).replace(tzinfo=None, fold=0) == local.replace(microsecond=0, fold=0)


def reading_of(local: datetime, timezone: str) -> Literal["once", "skipped", "repeated"]:
    """How often the clock on the wall shows a naive time."""
    first, second = instant_of(local, timezone), instant_of(local, timezone, fold=1)
    if first == second:
        return "once"
    return "repeated" if first < second else "skipped"


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
