"""Billing calendars by example, as timelines: clamping, gaps and repeats, lists of boundaries, local days."""

from __future__ import annotations

import random
import re
from datetime import UTC, datetime, timedelta

import pytest

from tests.unit.calendars.calendar_rule import APIA_DAYS, fresh, plain_day, wall
from tests.unit.strategies import DAY_MS, HOUR_MS, MINUTE_MS, ZONES, ms_of
from udfs.calendars.calendar import (
    MAX_MS,
    MIN_MS,
    UTC_MONTH,
    BillingCalendar,
    Calendar,
    CalendarError,
    Interval,
    NoPeriodError,
    parse_calendar,
)
from udfs.calendars.localtime import reading_of


def period(calendar: BillingCalendar, at: str) -> tuple[str, str]:
    """Bounds of the period at an instant, as UTC text."""
    found = calendar.period_at(ms_of(at))
    return utc(found.start_ms), utc(found.end_ms)


def utc(ms: int) -> str:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=ms)).strftime("%Y-%m-%dT%H:%MZ")


def starts(calendar: BillingCalendar, at: str, count: int) -> list[str]:
    """Starts of consecutive periods, the first one holding `at`."""
    found = [calendar.period_at(ms_of(at))]
    while len(found) < count:
        found.append(calendar.period_at(found[-1].end_ms))
    return [utc(one.start_ms) for one in found]


# --- examples ---------------------------------------------------------------------------------------------------------


def test_an_anchor_on_the_31st_is_clamped_and_comes_back() -> None:
    # Jan 31 ────── Feb 29 ────── Mar 31 ────── Apr 30 ────── May 31
    calendar = parse_calendar("2024-01-31", "P1M", "UTC")
    assert starts(calendar, "2024-01-31T00:00:00Z", 5) == [
        "2024-01-31T00:00Z", "2024-02-29T00:00Z", "2024-03-31T00:00Z", "2024-04-30T00:00Z", "2024-05-31T00:00Z",
    ]  # fmt: skip
    assert period(calendar, "2024-02-28T23:59:59.999Z")[0] == "2024-01-31T00:00Z"


def test_an_anchor_on_the_30th_is_clamped_in_february_only() -> None:
    # Jan 30 ────── Feb 28 ────── Mar 30
    calendar = parse_calendar("2022-11-30", "P1M", "UTC")
    assert starts(calendar, "2023-01-30T00:00:00Z", 3) == [
        "2023-01-30T00:00Z",
        "2023-02-28T00:00Z",
        "2023-03-30T00:00Z",
    ]


def test_an_anchor_on_the_29th_is_clamped_in_common_years_only() -> None:
    # 2023: Jan 29 ── Feb 28 ── Mar 29        2024: Jan 29 ── Feb 29 ── Mar 29
    calendar = parse_calendar("2020-01-29", "P1M", "UTC")
    assert starts(calendar, "2023-02-28T00:00:00Z", 2) == ["2023-02-28T00:00Z", "2023-03-29T00:00Z"]
    assert starts(calendar, "2024-02-29T00:00:00Z", 2) == ["2024-02-29T00:00Z", "2024-03-29T00:00Z"]


def test_a_leap_day_anniversary_returns_to_the_leap_day() -> None:
    # 2020-02-29 ── 2021-02-28 ── 2022-02-28 ── 2023-02-28 ── 2024-02-29
    calendar = parse_calendar("2020-02-29", "P1Y", "UTC")
    assert starts(calendar, "2020-03-01T00:00:00Z", 5) == [
        "2020-02-29T00:00Z", "2021-02-28T00:00Z", "2022-02-28T00:00Z", "2023-02-28T00:00Z", "2024-02-29T00:00Z",
    ]  # fmt: skip


def test_a_quarter_is_clamped_from_the_anchor_and_not_from_the_last_quarter() -> None:
    # Nov 30 ────── Feb 29 ────── May 30 ────── Aug 30
    calendar = parse_calendar("2023-11-30", "P3M", "UTC")
    assert starts(calendar, "2023-12-24T00:00:00Z", 4) == [
        "2023-11-30T00:00Z", "2024-02-29T00:00Z", "2024-05-30T00:00Z", "2024-08-30T00:00Z",
    ]  # fmt: skip


def test_two_weeks_keep_their_weekday_and_local_time_over_a_change_of_the_clock() -> None:
    # Mon Mar 4 00:00 EST ── Mar 10 clock +1 h ── Mon Mar 18 00:00 EDT
    calendar = parse_calendar("2024-03-04", "P2W", "America/New_York")
    assert starts(calendar, "2024-03-05T00:00:00Z", 2) == ["2024-03-04T05:00Z", "2024-03-18T04:00Z"]


def test_hours_are_elapsed_time_on_the_days_the_clock_changes() -> None:
    # UTC   05:00   06:00   07:00   08:00        local  01:00 EDT   01:00 EST   02:00   03:00
    calendar = parse_calendar("2024-01-01", "PT1H", "America/New_York")
    assert starts(calendar, "2024-11-03T05:30:00Z", 4) == [
        "2024-11-03T05:00Z", "2024-11-03T06:00Z", "2024-11-03T07:00Z", "2024-11-03T08:00Z",
    ]  # fmt: skip


def test_periods_reach_back_before_the_anchor() -> None:
    # Dec 31 2022 ── Jan 31 ── Feb 28 2023 ··· anchor Mar 31 2024
    calendar = parse_calendar("2024-03-31", "P1M", "UTC")
    assert starts(calendar, "2023-01-15T00:00:00Z", 3) == [
        "2022-12-31T00:00Z",
        "2023-01-31T00:00Z",
        "2023-02-28T00:00Z",
    ]
    assert period(parse_calendar("2024-01-01", "PT6H", "UTC"), "1999-12-31T23:59:59.999Z") == (
        "1999-12-31T18:00Z", "2000-01-01T00:00Z",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("timezone", "anchor", "at", "start"),
    [
        # 01:59 EST → 03:00 EDT: 02:30 does not exist, the period begins at 03:30 EDT
        ("America/New_York", "2024-02-10T02:30:00", "2024-03-10T12:00:00Z", "2024-03-10T07:30Z"),
        # 00:59 GMT → 02:00 BST: 01:15 becomes 02:15 BST
        ("Europe/London", "2024-01-31T01:15:00", "2024-03-31T12:00:00Z", "2024-03-31T01:15Z"),
        # 01:59 +10:30 → 02:30 +11: 02:15 moves by half an hour to 02:45 +11
        ("Australia/Lord_Howe", "2024-09-06T02:15:00", "2024-10-06T12:00:00Z", "2024-10-05T15:45Z"),
        # 23:59 → 01:00 at midnight: the day begins at 01:00
        ("America/Sao_Paulo", "2018-10-04T00:00:00", "2018-11-04T12:00:00Z", "2018-11-04T03:00Z"),
    ],
)
def test_a_skipped_local_time_moves_forward_by_the_gap(timezone: str, anchor: str, at: str, start: str) -> None:
    assert period(parse_calendar(anchor, "P1M", timezone), at)[0] == start


@pytest.mark.parametrize(
    ("timezone", "anchor", "start", "before"),
    [
        # 01:30 EDT = 05:30Z (taken)    01:30 EST = 06:30Z
        ("America/New_York", "2024-10-03T01:30:00", "2024-11-03T05:30:00Z", "2024-11-03T05:29:59.999Z"),
        # 01:15 BST = 00:15Z (taken)    01:15 GMT = 01:15Z
        ("Europe/London", "2024-09-27T01:15:00", "2024-10-27T00:15:00Z", "2024-10-27T00:14:59.999Z"),
        # 01:45 +11 = 14:45Z (taken)    01:45 +10:30 = 15:15Z
        ("Australia/Lord_Howe", "2024-03-07T01:45:00", "2024-04-06T14:45:00Z", "2024-04-06T14:44:59.999Z"),
    ],
)
def test_a_repeated_local_time_takes_the_first(timezone: str, anchor: str, start: str, before: str) -> None:
    calendar = parse_calendar(anchor, "P1M", timezone)
    assert calendar.period_at(ms_of(start)).start_ms == ms_of(start)
    assert calendar.period_at(ms_of(before)).end_ms == ms_of(start)


@pytest.mark.parametrize("time", ["22:59:00", "23:00:00", "23:30:00", "23:59:59"])
def test_an_hour_at_a_transition_that_changes_no_offset_comes_once(time: str) -> None:
    """In Nuuk summer time became the standard that night: -02:00 before and after."""
    local = datetime.fromisoformat(f"2023-10-28T{time}")
    found = parse_calendar(f"2023-09-28T{time}", "P1M", "America/Nuuk").period_at(ms_of("2023-11-01T00:00:00Z"))
    assert found.start_ms == ms_of(f"{(local + timedelta(hours=2)).isoformat()}Z")
    assert reading_of(local, "America/Nuuk") == "once"


def test_a_zone_of_half_an_hour_has_boundaries_and_days_at_half_hours() -> None:
    # Asia/Kolkata is +05:30 all year: local midnight is 18:30Z of the day before
    calendar = parse_calendar("2024-01-01", "P1M", "Asia/Kolkata")
    assert period(calendar, "2024-03-31T18:29:59.999Z") == ("2024-02-29T18:30Z", "2024-03-31T18:30Z")
    assert period(calendar, "2024-03-31T18:30:00Z")[0] == "2024-03-31T18:30Z"
    assert calendar.day_at(ms_of("2024-03-31T18:29:59.999Z")) == "2024-03-31"
    assert calendar.day_at(ms_of("2024-03-31T18:30:00Z")) == "2024-04-01"


@pytest.mark.parametrize("time", ["00:00:00", "12:00:00", "23:59:00"])
def test_a_day_that_never_was_has_no_period(time: str) -> None:
    # Pacific/Apia:  … Dec 28 ─ Dec 29 ─┤(Dec 30 is skipped)├─ Dec 31 ─ Jan 1 …
    calendar = parse_calendar(f"2011-12-01T{time}", "P1D", "Pacific/Apia")
    found, ms = [], ms_of("2011-12-27T10:00:00Z")
    while ms < ms_of("2012-01-03T00:00:00Z"):
        found.append(calendar.period_at(ms))
        ms = found[-1].end_ms
    assert {one.end_ms - one.start_ms for one in found} == {DAY_MS}
    assert calendar.day_at(ms_of("2011-12-30T09:59:59.999Z")) == "2011-12-29"
    assert calendar.day_at(ms_of("2011-12-30T10:00:00Z")) == "2011-12-31"


def test_no_instant_of_apia_is_on_the_skipped_day_or_in_an_empty_period() -> None:
    for ms in range(ms_of("2011-12-29T00:00:00Z"), ms_of("2012-01-01T00:00:00Z"), 15 * MINUTE_MS):
        found = fresh(APIA_DAYS).period_at(ms)
        assert found.start_ms <= ms < found.end_ms
        assert fresh(APIA_DAYS).day_at(ms) != "2011-12-30"


def test_a_tenant_without_a_calendar_bills_by_the_month_in_utc() -> None:
    assert period(UTC_MONTH, "2024-02-29T23:59:59.999Z") == ("2024-02-01T00:00Z", "2024-03-01T00:00Z")
    assert period(UTC_MONTH, "1970-01-01T00:00:00Z") == ("1970-01-01T00:00Z", "1970-02-01T00:00Z")


# --- lists of boundaries ----------------------------------------------------------------------------------------------


def test_a_4_4_5_quarter_has_periods_of_28_28_and_35_days_and_none_around_it() -> None:
    # Jan 1 ── 4 weeks ── Jan 29 ── 4 weeks ── Feb 26 ── 5 weeks ── Apr 1
    calendar = parse_calendar(None, None, "America/New_York", ["2024-01-01", "2024-01-29", "2024-02-26", "2024-04-01"])
    assert starts(calendar, "2024-01-15T00:00:00Z", 3) == [
        "2024-01-01T05:00Z",
        "2024-01-29T05:00Z",
        "2024-02-26T05:00Z",
    ]
    assert period(calendar, "2024-04-01T03:59:59.999Z") == ("2024-02-26T05:00Z", "2024-04-01T04:00Z")
    assert calendar.day_at(ms_of("2024-04-01T03:59:59.999Z")) == "2024-03-31"
    for outside in ("2024-01-01T04:59:59.999Z", "2024-04-01T04:00:00Z"):
        with pytest.raises(NoPeriodError) as caught:
            calendar.stamp_at(ms_of(outside))
        for named in (outside[:19], "2024-01-01T05:00:00", "2024-04-01T04:00:00", "America/New_York"):
            assert named in str(caught.value)


def test_a_listed_boundary_that_is_skipped_moves_and_a_repeated_one_takes_the_first() -> None:
    # Mar 10 02:30 is skipped: 03:30 EDT = 07:30Z        Nov 3 01:30 comes twice: 01:30 EDT = 05:30Z
    calendar = parse_calendar(None, None, "America/New_York", ["2024-03-10T02:30", "2024-11-03T01:30", "2025-01-01"])
    assert starts(calendar, "2024-04-01T00:00:00Z", 2) == ["2024-03-10T07:30Z", "2024-11-03T05:30Z"]


@pytest.mark.parametrize(
    ("boundaries", "why"),
    [
        (["2024-01-01"], "1 given; list 2 to 5300"),
        ([f"{2000 + day // 365}-01-01T00:00:00.{day % 365:03d}" for day in range(5_301)], "5301 given"),
        (["2024-01-01", "2024-03-01", "2024-02-01"], "2024-02-01T00:00:00 is listed after 2024-03-01T00:00:00"),
        (["2024-01-01", "2024-01-01"], "ascending order, each once"),
        (["2011-12-30", "2011-12-31"], "where the clock skips what lies between"),
        (["2011-12-30T12:00", "2011-12-31T06:00"], "where the clock skips what lies between"),
        (["2024-01-01", "2035-01-01"], "over ten years"),
        (["2024-01-01", "soon"], "boundary 'soon' is not an ISO date"),
        (["2024-01-01", "2024-02-01T00:00:00Z"], "no zone of its own"),
        (["1969-12-30", "1970-02-01"], "outside the years 1970 to 2100"),
        (["2100-01-01", "2101-01-03"], "outside the years 1970 to 2100"),
    ],
)
def test_a_list_that_makes_no_calendar_is_refused_and_the_boundary_named(boundaries: list[str], why: str) -> None:
    with pytest.raises(CalendarError, match=re.escape(why)):
        parse_calendar(None, None, "Pacific/Apia", boundaries)


@pytest.mark.parametrize("timezone", ["Pacific/Kiritimati", "Pacific/Pago_Pago"])
def test_a_list_can_cover_the_first_and_the_last_instant_in_every_zone(timezone: str) -> None:
    years = [f"{year}-06-01" for year in range(1970, 2101)]
    calendar = parse_calendar(None, None, timezone, ["1969-12-31", *years, "2101-01-02"])
    assert calendar.period_at(MIN_MS).start_ms <= MIN_MS
    assert calendar.period_at(MAX_MS - 1).end_ms >= MAX_MS


# --- aligned to the calendar ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("interval", "start", "end"),
    [
        # Wed Mar 13 2024, 12:00Z, in New York (clock +1 h on Mar 10)
        ("P1D", "2024-03-13T04:00Z", "2024-03-14T04:00Z"),
        ("P1W", "2024-03-11T04:00Z", "2024-03-18T04:00Z"),
        ("P1M", "2024-03-01T05:00Z", "2024-04-01T04:00Z"),
        ("P3M", "2024-01-01T05:00Z", "2024-04-01T04:00Z"),
        ("P6M", "2024-01-01T05:00Z", "2024-07-01T04:00Z"),
        ("P1Y", "2024-01-01T05:00Z", "2025-01-01T05:00Z"),
        ("PT1H", "2024-03-13T12:00Z", "2024-03-13T13:00Z"),
    ],
)
def test_without_an_anchor_periods_are_those_of_the_calendar(interval: str, start: str, end: str) -> None:
    assert period(parse_calendar(None, interval, "America/New_York"), "2024-03-13T12:00:00Z") == (start, end)


def test_months_without_an_anchor_in_utc_are_what_a_tenant_without_a_calendar_has() -> None:
    assert parse_calendar(None, "P1M", "UTC") == UTC_MONTH


def test_the_second_reading_of_a_repeated_hour_counts_for_elapsed_hours_alone() -> None:
    # 01:30 EDT = 05:30Z    01:30 EST = 06:30Z (meant)
    second = datetime(2024, 11, 3, 1, 30, fold=1)  # noqa: DTZ001 - an anchor is local
    hours = Calendar(second, Interval(6, "H"), "America/New_York")
    months = Calendar(second, Interval(1, "M"), "America/New_York")
    assert period(hours, "2024-11-03T06:30:00Z") == ("2024-11-03T06:30Z", "2024-11-03T12:30Z")
    assert period(months, "2024-11-03T06:30:00Z")[0] == "2024-11-03T05:30Z"


# --- local days -------------------------------------------------------------------------------------------------------


def test_the_stamps_a_calendar_remembers_are_bounded() -> None:
    calendar = parse_calendar("2024-01-01", "P1M", "Asia/Kolkata")
    for minute in range(5_000):
        calendar.stamp_at(ms_of("2024-03-01T00:00:00Z") + minute * MINUTE_MS)
    assert 0 < len(calendar._stamps) <= 128


@pytest.mark.parametrize("timezone", ZONES)
def test_days_are_right_around_every_change_of_the_clock(timezone: str) -> None:
    steps = [minutes * MINUTE_MS + ms for minutes in (-61, -60, -31, -30, -29, -1, 0, 29, 30, 59) for ms in (0, 59_999)]
    moments = [at * 1_000 + step for at in wall(timezone).changes if 0 < at < 2_145_916_800 for step in steps]
    random.Random(timezone).shuffle(moments)
    calendar = parse_calendar("2024-01-01", "P1M", timezone)
    assert [ms for ms in moments if calendar.day_at(ms) != plain_day(ms, timezone)] == []


@pytest.mark.parametrize("first", ["2010-11-07T02:30:30Z", "2010-11-07T02:45:00Z"])
def test_a_minute_of_tomorrow_within_an_hour_of_today_is_not_remembered(first: str) -> None:
    # St. John's:  02:00Z = Sat 23:30 ── 02:30Z = Sun 00:00 ─ 02:31Z clock back to Sat 23:01 ── 03:30Z = Sun 00:00
    calendar = parse_calendar("2024-01-01", "P1M", "America/St_Johns")
    calendar.day_at(ms_of(first))
    assert calendar.day_at(ms_of("2010-11-07T02:29:59Z")) == "2010-11-06"
    assert calendar.day_at(ms_of("2010-11-07T02:30:00Z")) == "2010-11-07"
    assert calendar.day_at(ms_of("2010-11-07T02:31:00Z")) == "2010-11-06"
    assert calendar.day_at(ms_of("2010-11-07T03:30:00Z")) == "2010-11-07"


def test_the_remembered_days_are_bounded_and_right_beyond_the_bound() -> None:
    calendar = parse_calendar("2024-01-01", "P1M", "Asia/Kathmandu")
    for hour in range(2_400):
        ms = ms_of("2024-01-01T00:10:00Z") + hour * HOUR_MS
        assert calendar.day_at(ms) == plain_day(ms, "Asia/Kathmandu")
        assert len(calendar._days) <= 2_160
