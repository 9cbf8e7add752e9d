"""Which rows of a table a billing period is made of: none, where a bucket lies across its ends."""

from __future__ import annotations

from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import pytest
from psycopg import sql

from tidemark.api.cached_usage import span_of
from tidemark.api.usage_query import Source

# April in Kolkata: it begins at 18:30 UTC.
APRIL, MAY = (datetime(2024, month, day, 18, 30, tzinfo=UTC) for month, day in ((3, 31), (4, 30)))
UTC_APRIL, UTC_MAY = (datetime(2024, month, 1, tzinfo=UTC) for month in (4, 5))
ODD = datetime(2024, 4, 1, 0, 0, 7, tzinfo=UTC)


@pytest.mark.parametrize(
    ("relation", "start", "end", "zone", "span"),
    [
        ("usage_period", ODD, MAY, "UTC", (ODD, MAY)),
        ("usage_minute", APRIL, MAY, "UTC", (APRIL, MAY)),
        ("usage_minute", ODD, MAY, "UTC", None),
        # hours:  |-----|-----|
        # period:    [--------
        ("usage_hour", APRIL, MAY, "Asia/Kolkata", None),
        ("usage_hour", UTC_APRIL, UTC_MAY, "UTC", (UTC_APRIL, UTC_MAY)),
        ("usage_day", APRIL, MAY, "Asia/Kolkata", (date(2024, 4, 1), date(2024, 5, 1))),
        ("usage_day", APRIL, MAY, "UTC", None),
        ("usage_day", UTC_APRIL, UTC_MAY, "Europe/Berlin", None),
    ],
)
def test_a_period_is_whole_buckets_or_cannot_be_compared(relation, start, end, zone, span):
    source = Source(relation, "at", sql.SQL("u.at"), (start, end))
    assert span_of(source, start, end, ZoneInfo(zone)) == span
