"""Which buckets the rollups no longer have, and what of the archive stands in for them. Pure.

Minutes and hours are removed by age, days of customers never. So days say whether anything is missing at all, and what
is recomputed from the archive must come to the same days.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from tidemark.api.problem import Problem
from tidemark.core.settings import EventSettings
from udfs.values import epoch_ms, plain, rfc3339

# Grain of each table that retention shortens.
SHORTENED = {"usage_minute": "minute_start", "usage_hour": "hour_start"}
# A local day begins up to 14 h before and ends up to 12 h after that day of UTC; days are compared one beyond each end.
_BESIDE = timedelta(days=1)
_MARGIN = timedelta(days=3)
# Rows of rollups that one read takes from the archive.
MOST_ROWS = 200_000
# How many days a refusal names.
_SHOWN = 3

Row = Sequence[Any]


@dataclass(frozen=True, slots=True)
class Missing:
    """Buckets that a table of rollups has no longer: half-open range of their starts, in UTC.

    Parameters
    ----------
    relation:
        Table of rollups.
    kept_from:
        Where it begins.
    start, end:
        What is missing of what was asked for; `end` is `kept_from` or earlier.
    """

    relation: str
    kept_from: datetime
    start: datetime
    end: datetime

    def narrowed(self, first: date, last: date) -> Missing:
        """What of it can have usage, given the first and the last local day that has any."""
        begin = datetime.combine(first, time(), UTC) - _BESIDE
        finish = datetime.combine(last, time(), UTC) + 2 * _BESIDE
        return Missing(self.relation, self.kept_from, max(self.start, begin), max(min(self.end, finish), self.start))

    @property
    def days(self) -> tuple[date, date]:
        """First and last local day, of any zone, that it has a part of."""
        return (self.start - _BESIDE).date(), (self.end + _BESIDE).date()

    def arrivals_ms(self, events: EventSettings, late_until_ms: int) -> tuple[int, int]:
        """Arrivals of all events of those days, and of what may have been counted instead of a duplicate of them."""
        begin, finish = (epoch_ms(at) for at in (self.start - _MARGIN, self.end + _MARGIN))
        return begin - events.dedupe_ttl_ms, max(finish + events.grace_s * 1_000 + 1, late_until_ms)


def missing_of(relation: str, bounds: tuple[Any, Any], kept_from: datetime | None) -> Missing | None:
    """What a table no longer has of a range of starts; None for nothing, or for a table that is kept for ever."""
    if kept_from is None or relation not in SHORTENED or bounds[0] >= kept_from:
        return None
    return Missing(relation, kept_from, bounds[0], min(bounds[1], kept_from))


def check_days(stored: Iterable[Row], recomputed: Iterable[Row]) -> None:
    """Refuse an archive that does not come to the days that the rollups have; a row begins with its day.

    Raises
    ------
    Problem
        503, with the first days that differ.
    """
    different = {_plain(row) for row in stored} ^ {_plain(row) for row in recomputed}
    if different:
        days = sorted({str(row[0]) for row in different})
        more = f" and {len(days) - _SHOWN} more" if len(days) > _SHOWN else ""
        raise Problem(
            503, "archive_differs",
            f"the archive does not come to the usage that is stored of {', '.join(days[:_SHOWN])}{more}: something is "
            "not archived, was lost, or was counted by other rules: `tidemark archive run` and `verify`. Ask for days, "
            "or a later `from`.",
            retry_after_s=3_600,
        )  # fmt: skip


def not_archived(missing: Missing) -> Problem:
    """The answer where there is no archive to read."""
    return _beyond(missing, "and no archive is set (archive.dir)")


def too_much(missing: Missing, what: str, count: int, limit: int) -> Problem:
    """The answer where it would take too much of the archive."""
    return _beyond(missing, f"and their archive has {count} {what}; the limit is {limit}. Ask for a shorter time")


def _beyond(missing: Missing, why: str) -> Problem:
    at = rfc3339(missing.kept_from)
    detail = f"{missing.relation} before {at} was removed by retention, {why}; or ask for days, periods or from={at}."
    return Problem(422, "beyond_retention", detail, more={"kept_from": at})


def as_document(rows: Iterable[Row]) -> list[Mapping[str, Any]]:
    """Rows of the archive as the statement takes them: customer, dims, part, start, and the figures."""
    names = ("customer_id", "dims", "part", "start", "n", "samples", "total", "lo", "hi", "latest")
    return [dict(zip(names, map(_text, row), strict=True)) for row in rows]


def _text(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value if isinstance(value, int | None) else str(value)


def _plain(row: Row) -> tuple[Any, ...]:
    """A row that is equal for equal figures, whatever their form."""
    return tuple(plain(value) if hasattr(value, "as_tuple") else value for value in row)
