"""Carries levels through time: the days and periods of a weighted sum, including those without events."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, localcontext
from typing import NamedTuple, Protocol

from tidemark.dry_run.fold import EXACT, Bucket, Cell, Parts
from tidemark.dry_run.values import samples_of
from udfs.calendars.calendar import HOUR_MS, MINUTE_MS, BillingCalendar, CalendarError
from udfs.catalog.index import CalendarMissingError
from udfs.meters.levels import Per, integral

_ZERO = Decimal(0)
# Local time shifts by whole quarters of an hour, so every change of the local day is found between two steps.
_STEP_MS = 15 * MINUTE_MS
# How much later a day that has ended may resume: an hour if the clock is set back, a day if a customer moves west.
_SET_BACK_MS = 26 * HOUR_MS


class CalendarsOf(Protocol):
    """The calendars of one customer, by event time: a `udfs.catalog.index.Account`."""

    def calendar_at(self, ms: int) -> BillingCalendar:
        """The calendar that is valid at an instant (UTC epoch ms)."""
        ...


@dataclass(frozen=True, slots=True)
class Integral:
    """A level times the time it lasted in one bucket, [start_ms, end_ms) in UTC epoch ms."""

    bucket: Bucket
    start_ms: int
    end_ms: int
    value: Decimal
    samples: int


class Stretch(NamedTuple):
    """Instants [start_ms, end_ms) of a local day: the whole day, unless the clock or the customer moved during it."""

    start_ms: int
    end_ms: int
    day: str


def integrals_by_period(
    periods: Mapping[Bucket, Parts], account: CalendarsOf, last_ms: int, per: Per
) -> Iterator[Integral]:
    """Each period with changes, and each later period through which a level other than 0 is carried.

    Parameters
    ----------
    periods:
        Rows by period start and part, in order: `Fold.buckets(series, "period")`.
    account:
        Source of the periods without changes.
    last_ms:
        The last instant that must be covered.
    per:
        Unit of time of the values.
    """
    starts = [start for start in periods if isinstance(start, int)]
    level, at = _ZERO, 0
    start_ms: int | None = starts[0]
    while start_ms is not None and start_ms <= max(last_ms, starts[-1]):
        changes = periods.get(start_ms, {})
        end_ms = _end(changes) if changes else account.calendar_at(start_ms).period_at(start_ms).end_ms
        change, moment = _sums(changes)
        value = integral(level, change, moment, start_ms, end_ms, per)
        yield Integral(start_ms, start_ms, end_ms, value, samples_of(changes))
        with localcontext(EXACT):
            level += change
        at += bool(changes)
        following = starts[at] if at < len(starts) else None
        start_ms = _next_period(account, end_ms, following) if level else following


def _next_period(account: CalendarsOf, end_ms: int, following: int | None) -> int | None:
    """Start of the period after one that ends; after the last listed boundary, the next start with changes."""
    try:
        return account.calendar_at(end_ms).period_at(end_ms).start_ms
    except (CalendarError, CalendarMissingError):
        return following


def integrals_by_day(
    minutes: Mapping[Bucket, Parts], days: Mapping[Bucket, Parts], stretches: Sequence[Stretch], last_ms: int, per: Per
) -> Iterator[Integral]:
    """Each local day with changes, and each later day through which a level other than 0 is carried.

    Parameters
    ----------
    minutes, days:
        Rows of the series by bucket and part, in order.
    stretches:
        Local days of the customer in order, without gaps, from the first change or before it.
    last_ms, per:
        As for `integrals_by_period`.
    """
    levels = _Levels(minutes)
    by_day: dict[str, Integral] = {}
    for start_ms, end_ms, day in stretches:
        level, change, moment = levels.of(start_ms, end_ms)
        begun = start_ms <= last_ms or day in by_day
        if not day or not begun or end_ms <= levels.first_ms or not (level or day in days):
            continue
        value = integral(level, change, moment, start_ms, end_ms, per)
        before = by_day.get(day)
        if before is None:
            by_day[day] = Integral(day, start_ms, end_ms, value, samples_of(days.get(day, {})))
        else:
            by_day[day] = Integral(day, before.start_ms, end_ms, EXACT.add(before.value, value), before.samples)
    yield from by_day.values()


class _Levels:
    """Running sums of the changes of a series and of their moments, minute by minute."""

    def __init__(self, minutes: Mapping[Bucket, Parts]) -> None:
        self._starts = [start for start in minutes if isinstance(start, int)]
        self._changes, self._moments = [_ZERO], [_ZERO]
        with localcontext(EXACT):
            for parts in minutes.values():
                change, moment = _sums(parts)
                self._changes.append(self._changes[-1] + change)
                self._moments.append(self._moments[-1] + moment)
        self.first_ms = self._starts[0]

    def of(self, start_ms: int, end_ms: int) -> tuple[Decimal, Decimal, Decimal]:
        """Level before, change within and moment within [start_ms, end_ms), which are whole minutes."""
        first, last = bisect_left(self._starts, start_ms), bisect_left(self._starts, end_ms)
        with localcontext(EXACT):
            change, moment = self._changes[last] - self._changes[first], self._moments[last] - self._moments[first]
            return self._changes[first], change, moment


def _sums(parts: Parts) -> tuple[Decimal, Decimal]:
    """Change of the level and moment of a bucket."""
    return _total(parts.get("")), _total(parts.get("m"))


def _total(cell: Cell | None) -> Decimal:
    return _ZERO if cell is None else cell.total


def _end(parts: Parts) -> int:
    return min(cell.period_end_ms for cell in parts.values())


# --- local days -------------------------------------------------------------------------------------------------------


def day_stretches(account: CalendarsOf, first_ms: int, last_ms: int) -> list[Stretch]:
    """The local days of a customer in order, whole, from the day of the first instant to the day of the last.

    Where midnight comes twice, the first minutes of the next day are between two stretches of the previous day.
    """
    start_ms, day = first_ms, _day(account, first_ms)
    while _day(account, start_ms - _STEP_MS) == day:
        start_ms -= _STEP_MS
    start_ms = _change(account, start_ms - _STEP_MS, start_ms)
    stretches: list[Stretch] = []
    while start_ms <= last_ms or _resumes(account, start_ms, stretches):
        end_ms = day_end(account, start_ms, last_ms)
        stretches.append(Stretch(start_ms, end_ms, _day(account, start_ms)))
        start_ms = end_ms
    return stretches


def _resumes(account: CalendarsOf, from_ms: int, stretches: Sequence[Stretch]) -> bool:
    """Whether a day that has ended resumes: the clock is set back into it, or the customer moves."""
    recent = [stretch for stretch in stretches[-4:] if stretch.end_ms > from_ms - _SET_BACK_MS]
    ended = {stretch.day for stretch in recent if stretch.day}
    return any(_day(account, ms) in ended for ms in range(from_ms, from_ms + _SET_BACK_MS, _STEP_MS))


def day_end(account: CalendarsOf, ms: int, last_ms: int) -> int:
    """The first instant after `ms` (UTC epoch ms) that is in another local day.

    Where the customer has no calendar, and so no day, the search ends at `last_ms`.
    """
    day = _day(account, ms)
    # To a whole step first, because midnights are at whole steps.
    probe_ms = ms - ms % _STEP_MS + _STEP_MS
    while _day(account, probe_ms) == day:
        ms, probe_ms = probe_ms, probe_ms + _STEP_MS
        if not day and ms > last_ms:
            return ms
    return _change(account, ms, probe_ms)


def _change(account: CalendarsOf, before_ms: int, after_ms: int) -> int:
    """The first instant of another day, between two steps."""
    day = _day(account, before_ms)
    while after_ms - before_ms > 1:
        middle_ms = (before_ms + after_ms) // 2
        if _day(account, middle_ms) == day:
            before_ms = middle_ms
        else:
            after_ms = middle_ms
    return after_ms


def _day(account: CalendarsOf, ms: int) -> str:
    try:
        return account.calendar_at(ms).day_at(ms)
    except (CalendarError, CalendarMissingError):
        # Before or after all versions of the calendar there is no day.
        return ""
