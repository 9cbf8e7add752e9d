"""Instants as people write them: RFC 3339, or a date or month in the time zone of a customer."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from tidemark.core.errors import UsageError
from tidemark.core.times import given_ms
from udfs.catalog.cache import Catalog
from udfs.catalog.model import Pair
from udfs.values import epoch_ms, instant

_DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_MONTH = re.compile(r"\d{4}-\d\d", re.ASCII)
# No zone is farther from UTC than 14 hours.
_FARTHEST = timedelta(hours=15)
_MS = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class Moment:
    """A parsed text: an instant, or a local day; with `month`, the first day of that month."""

    text: str
    at: datetime | None = None
    day: date | None = None
    month: bool = False


def moment(text: str) -> Moment:
    """Read an RFC 3339 instant, a date (2026-11-01) or a month (2026-11).

    Raises
    ------
    UsageError
        The text is neither.
    """
    month = bool(_MONTH.fullmatch(text))
    if not month and not _DAY.fullmatch(text):
        return Moment(text, at=instant(_instant_ms(text)))
    try:
        return Moment(text, day=date.fromisoformat(f"{text}-01" if month else text), month=month)
    except ValueError as error:
        raise UsageError(f"{text!r} is not a {'month' if month else 'day'} of the calendar: {error}.", "") from None


def day_start(catalog: Catalog, pair: Pair, day: date) -> datetime:
    """First instant of a local day of a prefetched customer; raises the errors of its calendar."""
    name = day.isoformat()
    midnight = instant(0) + (day - date(1970, 1, 1))
    low, high = midnight - _FARTHEST, midnight + _FARTHEST
    # Local days only ascend, so a binary search finds the first instant that is not before the day.
    while high - low > _MS:
        middle = instant(epoch_ms(low + (high - low) / 2))
        before = catalog.calendar_at(pair, epoch_ms(middle)).day_at(epoch_ms(middle)) < name
        low, high = (middle, high) if before else (low, middle)
    return high


def _instant_ms(text: str) -> int:
    try:
        return given_ms(text)
    except UsageError as error:
        raise UsageError(
            f"{text!r} is not an instant, day or month.", "write 2026-11, 2026-11-01 or 2026-11-01T00:00:00Z."
        ) from error
