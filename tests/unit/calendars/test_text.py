"""Calendars from text: what is read, what is refused, and what the refusal says to write instead."""

from __future__ import annotations

import pytest

from udfs.calendars.calendar import (
    MAX_MS,
    MIN_MS,
    CalendarError,
    Interval,
    parse_calendar,
    parse_interval,
)


@pytest.mark.parametrize(
    ("text", "interval"),
    [
        ("P1M", Interval(1, "M")), ("P3M", Interval(3, "M")), ("P1Y", Interval(1, "Y")), ("P2W", Interval(2, "W")),
        ("P10D", Interval(10, "D")), ("PT1H", Interval(1, "H")), ("PT87600H", Interval(87_600, "H")),
        ("P45D", Interval(45, "D")), ("P1Y6M", Interval(18, "M")), ("P1Y18M", Interval(30, "M")),
        ("P9Y12M", Interval(120, "M")),
    ],
)  # fmt: skip
def test_an_interval_of_one_unit_or_of_years_and_months_is_read(text: str, interval: Interval) -> None:
    assert parse_interval(text) == interval


@pytest.mark.parametrize(
    "text",
    [
        "", "P", "1M", "P0M", "P01M", "P-1M", "P1.5M", "P1M1D", "PT1M", "PT30S", "P1H", "PT0H", "p1m", "P1M ", "P1M\n",
        "P121M", "P11Y", "P521W", "P3651D", "PT87601H", "P99999Y", "P1\u0662M", "month",
        "P1Y0M", "P0Y6M", "P6M1Y", "P1Y6D", "P1Y2M3D", "P9Y13M",
    ],
)  # fmt: skip
def test_any_other_interval_is_refused(text: str) -> None:
    with pytest.raises(CalendarError, match="interval"):
        parse_calendar("2024-01-01", text, "UTC")


@pytest.mark.parametrize(
    ("text", "fix"),
    [
        ("p1m", "in capitals"), ("P1.5D", "PT36H"), ("PT30M", "whole hours"), ("PT1H30M", "whole hours"),
        ("PT90S", "whole hours"), ("P6H", "a T before hours"), ("P0M", "from 1 on"), ("P-1M", "from 1 on"),
        ("P1M15D", "one unit"), ("P1DT12H", "one unit"), ("two weeks", "for example P1M"), ("", "for example P1M"),
        ("P20Y", "a shorter one"),
    ],
)  # fmt: skip
def test_a_refused_interval_comes_with_what_to_write_instead(text: str, fix: str) -> None:
    with pytest.raises(CalendarError, match=fix):
        parse_calendar("2024-01-01", text, "UTC")


@pytest.mark.parametrize(("anchor", "interval"), [("2024-01-01", "P1M"), ("2024-01-01", None), (None, "P1M")])
def test_boundaries_go_with_neither_anchor_nor_interval(anchor: str | None, interval: str | None) -> None:
    with pytest.raises(CalendarError, match="leave out anchor and interval"):
        parse_calendar(anchor, interval, "UTC", ["2024-01-01", "2024-02-01"])


def test_a_calendar_needs_an_interval_or_boundaries() -> None:
    with pytest.raises(CalendarError, match="interval is missing"):
        parse_calendar("2024-01-01", None, "UTC")


@pytest.mark.parametrize(
    "name",
    [
        "", "America", "America/Nowhere", "EST5EDT6", "+01:00", "/etc/passwd", "../tzdata/zoneinfo/UTC", "UTC/",
        "UTC\n", "leapseconds", "zone.tab", "x" * 300, "America\\New_York", "\0",
    ],
)  # fmt: skip
def test_a_name_that_is_no_zone_is_refused(name: str) -> None:
    with pytest.raises(CalendarError, match="time zone"):
        parse_calendar("2024-01-01", "P1M", name)


@pytest.mark.parametrize(
    "text",
    [
        "", "yesterday", "2023-02-29", "2024-13-01", "2024-01-01T25:00:00", "2024-01-01T00:00:00Z",
        "2024-01-01T00:00:00+01:00", "2024-01-01T00:00:00.0005", "1969-12-31", "2101-01-01",
    ],
)  # fmt: skip
def test_an_anchor_that_is_no_local_time_of_these_years_is_refused(text: str) -> None:
    with pytest.raises(CalendarError, match="anchor"):
        parse_calendar(text, "P1M", "UTC")


def test_the_earliest_and_latest_anchors_are_taken() -> None:
    assert parse_calendar("1970-01-01", "P1M", "UTC").period_at(MIN_MS).start_ms == 0
    assert parse_calendar("2100-12-31T23:59:59.999", "P10Y", "UTC").period_at(MAX_MS - 1).start_ms == MAX_MS - 1
