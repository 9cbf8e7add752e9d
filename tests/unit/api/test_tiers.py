"""Which buckets are missing, which arrivals decide about them, and what proves an answer from the archive."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidemark.api.problem import Problem
from tidemark.api.tiers import Missing, as_document, check_days, missing_of
from tidemark.core.settings import EventSettings
from udfs.values import epoch_ms

KEPT = datetime(2024, 3, 10, tzinfo=UTC)
EVENTS = EventSettings()
INSTANTS = st.datetimes(datetime(2024, 1, 1), datetime(2024, 12, 1), timezones=st.just(UTC))  # noqa: DTZ001


@pytest.mark.parametrize(
    ("relation", "start", "end", "missing"),
    [
        # kept from:                     |
        # asked:              [-----)    |
        ("usage_hour", 1, 5, (1, 5)),
        # asked:              [-----------------)
        ("usage_minute", 1, 20, (1, 10)),
        # asked:                         [------)
        ("usage_minute", 10, 20, None),
        ("usage_day", 1, 20, None),
        ("usage_period", 1, 20, None),
    ],
)
def test_what_is_missing_ends_where_the_table_begins(relation, start, end, missing):
    found = missing_of(relation, (datetime(2024, 3, start, tzinfo=UTC), datetime(2024, 3, end, tzinfo=UTC)), KEPT)
    assert (found and (found.start.day, found.end.day)) == missing
    assert missing_of(relation, (KEPT - timedelta(1), KEPT), None) is None


ZONES = st.sampled_from(["Pacific/Kiritimati", "Etc/GMT+12", "Asia/Kolkata", "Europe/Berlin"])


@given(INSTANTS, st.timedeltas(timedelta(0), timedelta(days=40)), st.floats(0, 1, exclude_max=True), ZONES)
def test_every_event_of_a_day_that_is_compared_is_read(start, length, share, zone):
    missing = Missing("usage_hour", start + length, start, start + length)
    since_ms, until_ms = missing.arrivals_ms(EVENTS, 0)
    first, last = missing.days
    inside = (start + share * length).astimezone(ZoneInfo(zone)).date()
    assert first <= inside <= last
    for day in (first, last):
        begin = datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(zone))
        earliest = epoch_ms(begin) - EVENTS.future_tolerance_s * 1_000 - EVENTS.dedupe_ttl_ms
        latest = epoch_ms(begin + timedelta(days=1)) + EVENTS.grace_s * 1_000
        assert since_ms <= earliest
        assert latest <= until_ms


@given(INSTANTS, ZONES)
def test_days_with_usage_narrow_what_is_read_and_cut_none_of_it(at, zone):
    day = at.astimezone(ZoneInfo(zone)).date()
    missing = Missing("usage_hour", KEPT, datetime(1970, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC))
    narrowed = missing.narrowed(day, day)
    assert narrowed.start <= at < narrowed.end
    assert narrowed.end - narrowed.start <= timedelta(days=4)


def test_history_that_was_loaded_late_is_read_to_its_end():
    missing = Missing("usage_hour", KEPT, KEPT - timedelta(days=1), KEPT)
    late = epoch_ms(KEPT + timedelta(days=500))
    assert missing.arrivals_ms(EVENTS, late)[1] == late


def test_days_that_differ_are_named_and_equal_ones_pass():
    row = (date(2024, 3, 1), "a", "", "", 1, 1, Decimal("1.500000000"), None, None, None)
    check_days([row], [(*row[:6], Decimal("1.5"), *row[7:])])
    for other in ([], [(*row[:6], Decimal("1.500000001"), *row[7:])], [row, (date(2024, 3, 2), *row[1:])]):
        with pytest.raises(Problem) as refused:
            check_days([row], other)
        assert (refused.value.status, refused.value.code) == (503, "archive_differs")
        assert "2024-03-0" in refused.value.detail


def test_rows_go_to_postgres_with_every_digit():
    total = Decimal("123456789012345678901234567.000000001")
    (row,) = as_document([("a", "", "", KEPT, 1, 2, total, None, None, "x\x1fy")])
    assert (row["total"], row["start"], row["lo"], row["latest"]) == (
        str(total), "2024-03-10T00:00:00+00:00", None, "x\x1fy",
    )  # fmt: skip
