"""Questions about usage: what they become, what of them cannot be answered, and where pages end."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidemark.api.problem import Problem
from tidemark.api.projection import projected
from tidemark.api.usage_query import (
    MeterAsked,
    UsageAsked,
    cursor_of,
    filters_of,
    has_whole_hours,
    place_of,
    source_of,
    statement_of,
)

CALLS = MeterAsked("calls", "sum", "calls", ("region",))
DAY = datetime(2024, 3, 1, tzinfo=UTC)


def statement(meter: MeterAsked = CALLS, **asked: Any) -> str:
    question = UsageAsked(meter.name, **asked)
    made = statement_of(question, "acme", source_of(question, meter))
    assert made.values["tenant"] == "acme"
    return made.text.as_string()


def refused(parameter: str, meter: MeterAsked = CALLS, **asked: Any) -> None:
    with pytest.raises(Problem, check=lambda problem: problem.more == {"parameter": parameter}):
        statement(meter, **asked)


@pytest.mark.parametrize(
    ("asked", "relation"),
    [
        ({"grain": "minute"}, "usage_minute"),
        ({"grain": "period"}, "usage_period"),
        ({"grain": "day"}, "usage_day"),
        ({"grain": "day", "zone": "Europe/Berlin"}, "usage_hour"),
        ({"grain": "day", "zone": "Asia/Kolkata"}, "usage_minute"),
        ({"grain": "total"}, "usage_hour"),
        ({"grain": "total", "start": "2024-03-01T00:30:00Z"}, "usage_minute"),
    ],
)
def test_the_coarsest_rollup_that_is_exact_is_read(asked, relation):
    assert f'FROM "{relation}"' in statement(**asked)


def test_what_cannot_be_answered_exactly_is_refused():
    seats = MeterAsked("seats", "unique", "seats", ())
    refused("grain", seats, grain="hour")
    refused("grain", seats, grain="day", zone="Etc/UTC")
    assert statement(seats, grain="day")
    refused("grain", MeterAsked("gb", "weighted_sum", "GBh", ()), grain="period")
    refused("group_by", grain="hour", group_by=("colour",))
    refused("filter", grain="hour", where={"colour": ("red",)})
    refused("from", grain="hour", start="2024-03-01T00:00:01Z")
    refused("from", grain="hour", start="2024-03-01T00:00:00")
    refused("from", grain="day", start="2024-03-01T00:00:00Z")
    refused("to", grain="hour", start="2024-03-02", end="2024-03-01")
    refused("zone", grain="day", zone="../etc/passwd")


def test_dates_are_of_the_zone_that_is_asked_for():
    asked = UsageAsked("calls", "day", start="2024-03-01", zone="America/New_York")
    made = statement_of(asked, "acme", source_of(asked, CALLS))
    assert made.values["from"] == datetime(2024, 3, 1, 5, tzinfo=UTC)


def test_names_never_become_sql():
    meter = MeterAsked("calls", "sum", "calls", ("x'; DROP TABLE api_key; -- 100%",))
    text = statement(meter, grain="hour", group_by=meter.group_by, where={meter.group_by[0]: ("y",)})
    # A percent sign would be a placeholder.
    assert "'x''; DROP TABLE api_key; -- 100%%'" in text


def test_filters_of_one_dimension_are_a_choice():
    assert filters_of(["a:1", "b:x:y", "a:2", "c:"]) == {"a": ("1", "2"), "b": ("x:y",), "c": ("",)}
    for text in ("a", ":1"):
        with pytest.raises(Problem):
            filters_of([text])


@given(
    st.datetimes(timezones=st.just(UTC)) | st.dates(), st.lists(st.text(st.characters(exclude_categories=["Cs", "Cc"])))
)
def test_a_cursor_is_read_as_it_was_made(start, groups):
    assert place_of(cursor_of([start, *groups]), 1 + len(groups)) == [start.isoformat(), *groups]


@given(st.text(max_size=50))
def test_a_cursor_that_was_made_up_is_refused(text):
    with pytest.raises(Problem):
        place_of(text or "x", 3)


def test_zones_with_days_off_the_hour_are_known():
    year = DAY, datetime(2025, 3, 1, tzinfo=UTC)
    assert has_whole_hours(ZoneInfo("America/New_York"), *year)
    assert not has_whole_hours(ZoneInfo("Asia/Kathmandu"), *year)
    # Only in summer.
    assert not has_whole_hours(ZoneInfo("Australia/Lord_Howe"), *year)


def meter_of(aggregation: str, value: str, level: str | None = None) -> dict[str, Any]:
    side = {"period_start": "2024-03-01T00:00:00Z", "period_end": "2024-03-31T00:00:00Z", "value": value,
            "projected": level}  # fmt: skip
    return {"aggregation": aggregation, "live": None, "stored": side}


def test_counts_and_sums_go_on_as_they_did():
    third = datetime(2024, 3, 11, tzinfo=UTC)
    assert projected(meter_of("sum", "10"), third) == "30"
    assert projected(meter_of("count", "1"), datetime(2024, 3, 8, tzinfo=UTC)) == "4.285714286"
    assert projected(meter_of("max", "10"), third) is None
    assert projected(meter_of("weighted_sum", "10", "25"), third) == "25"
    assert projected(meter_of("sum", "10"), datetime(2024, 4, 1, tzinfo=UTC)) is None
    assert projected({"aggregation": "sum", "live": None, "stored": None}, third) is None


@pytest.mark.parametrize(
    ("start", "end", "zone"),
    [
        ("0001-01-01", "2026-01-01", "Asia/Tokyo"),
        ("0001-01-01T00:00:00Z", "2026-01-01T00:00:00Z", "America/New_York"),
        ("", "9999-12-31T23:00:00Z", "Asia/Tokyo"),
        ("", "9999-12-31", "America/New_York"),
    ],
)
def test_the_ends_of_the_calendar_are_the_ends_of_what_there_can_be(start, end, zone):
    first, last = source_of(UsageAsked("calls", "day", (), start, end, zone), CALLS).bounds
    assert datetime(1969, 12, 31, tzinfo=UTC) < first < last < datetime(2101, 1, 2, tzinfo=UTC)


@pytest.mark.parametrize(
    "place", ["2026-W01-1", "20260101", "2026-01-01T00:00:00+05:59:59", "2026-01-01 00:00:00+00:00"]
)
def test_a_cursor_with_a_time_that_no_page_ends_with_is_refused(place):
    for row in ([place], [DAY.isoformat(), "\ud800"]):
        cursor = base64.urlsafe_b64encode(json.dumps(row).encode()).decode()
        with pytest.raises(Problem):
            place_of(cursor, len(row))
