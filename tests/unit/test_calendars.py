"""Billing calendars: examples as timelines, the laws of tiling, and a second implementation from the rule alone."""

from __future__ import annotations

import pickle
import random
from calendar import monthrange
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.unit import strategies as own
from tests.unit.strategies import DAY_MS, HOUR_MS, MINUTE_MS, ZONES, ms_of
from udfs.calendars import MAX_MS, MIN_MS, UTC_MONTH, Calendar, CalendarError, Interval, Period, parse_calendar, zone


def period(calendar: Calendar, at: str) -> tuple[str, str]:
    """Bounds of the period at an instant, as UTC text."""
    found = calendar.period_at(ms_of(at))
    return utc(found.start_ms), utc(found.end_ms)


def utc(ms: int) -> str:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=ms)).strftime("%Y-%m-%dT%H:%MZ")


def starts(calendar: Calendar, at: str, count: int) -> list[str]:
    """Starts of consecutive periods, the first one holding `at`."""
    found = [calendar.period_at(ms_of(at))]
    while len(found) < count:
        found.append(calendar.period_at(found[-1].end_ms))
    return [utc(one.start_ms) for one in found]


def fresh(calendar: Calendar) -> Calendar:
    """The same calendar with nothing remembered."""
    return Calendar(calendar.anchor, calendar.interval, calendar.timezone)


# --- the rule a second time: local arithmetic from the anchor, and a search through UTC instead of `fold` -----


def local_at(seconds: int, timezone: str) -> datetime:
    """What the clock on the wall shows at an instant."""
    return datetime.fromtimestamp(seconds, zone(timezone)).replace(tzinfo=None, fold=0)


def as_seconds(local: datetime) -> int:
    return int((local - datetime(1970, 1, 1)).total_seconds())  # noqa: DTZ001 - wall-clock arithmetic


def instant_by_search(local: datetime, timezone: str) -> int:
    """First second at which the wall clock shows `local`; for one it skips, what it shows with the gap added."""
    wanted = as_seconds(local)
    days = [wanted + hours * 3_600 for hours in range(-40, 41)]
    offsets = {as_seconds(local_at(second, timezone)) - second for second in days}
    shown = [wanted - offset for offset in offsets if local_at(wanted - offset, timezone) == local]
    if shown:
        return min(shown)
    before = max(second for second in days if local_at(second, timezone) < local)
    after = before + 3_600
    while after - before > 1:
        middle = (before + after) // 2
        before, after = (middle, after) if local_at(middle, timezone) < local else (before, middle)
    gap = as_seconds(local_at(after, timezone)) - as_seconds(local_at(before, timezone)) - 1
    return instant_by_search(local + timedelta(seconds=gap), timezone)


def local_boundary(calendar: Calendar, k: int) -> datetime:
    anchor, count, unit = calendar.anchor, calendar.interval.count * k, calendar.interval.unit
    if unit in "DW":
        return anchor + timedelta(days=count * (7 if unit == "W" else 1))
    year, month = anchor.year, anchor.month + count * (12 if unit == "Y" else 1)
    year, month = year + (month - 1) // 12, (month - 1) % 12 + 1
    return anchor.replace(year=year, month=month, day=min(anchor.day, monthrange(year, month)[1]))


def period_by_walking(calendar: Calendar, ms: int) -> Period:
    """Walk from the anchor, period by period, to the one that holds the instant."""
    if calendar.interval.unit == "H":
        length = calendar.interval.count * HOUR_MS
        start = instant_by_search(calendar.anchor, calendar.timezone) * 1_000
        start += (ms - start) // length * length
        return Period(start, start + length)
    here = local_at(ms // 1_000, calendar.timezone)
    k = 0
    while local_boundary(calendar, k) > here - timedelta(days=2):
        k -= 1
    while local_boundary(calendar, k + 1) < here - timedelta(days=2):
        k += 1
    start = instant_by_search(local_boundary(calendar, k), calendar.timezone) * 1_000
    while True:
        k += 1
        end = instant_by_search(local_boundary(calendar, k), calendar.timezone) * 1_000
        if start <= ms < end:
            return Period(start, end)
        start = end


@st.composite
def calendars_and_instants(draw: st.DrawFn) -> tuple[Calendar, int]:
    """A calendar and an instant within five years of its anchor, often close to a boundary or a change of the clock."""
    calendar = draw(own.calendars)
    anchor_ms = as_seconds(calendar.anchor) * 1_000
    ms = anchor_ms + draw(st.integers(-5 * 366, 5 * 366)) * DAY_MS + draw(st.integers(0, DAY_MS - 1))
    if draw(st.booleans()):
        ms = calendar.period_at(min(max(ms, MIN_MS), MAX_MS - 1)).start_ms + draw(
            st.sampled_from([-1, 0, 1, -HOUR_MS, HOUR_MS, -30 * MINUTE_MS, 30 * MINUTE_MS])
        )
    return fresh(calendar), min(max(ms, MIN_MS), MAX_MS - 1)


APIA_DAYS = Calendar(datetime(2011, 12, 1), Interval(1, "D"), "Pacific/Apia")  # noqa: DTZ001 - an anchor is local
LORD_HOWE_GAP = Calendar(datetime(2023, 9, 1, 2, 15), Interval(1, "M"), "Australia/Lord_Howe")  # noqa: DTZ001


@settings(max_examples=70, deadline=None)
@given(calendars_and_instants())
@example((APIA_DAYS, ms_of("2011-12-30T10:00:00Z")))
@example((LORD_HOWE_GAP, ms_of("2023-09-30T16:00:00Z")))
def test_periods_are_those_of_a_walk_from_the_anchor(case: tuple[Calendar, int]) -> None:
    calendar, ms = case
    assert calendar.period_at(ms) == period_by_walking(calendar, ms)


# --- laws -------------------------------------------------------------------------------------------------------------


@settings(max_examples=70, deadline=None)
@given(own.calendars, own.instants)
def test_every_instant_is_in_a_period_that_both_its_ends_agree_on(calendar: Calendar, ms: int) -> None:
    found = calendar.period_at(ms)
    assert found.start_ms <= ms < found.end_ms
    assert fresh(calendar).period_at(found.start_ms) == found
    assert fresh(calendar).period_at(found.end_ms - 1) == found


@settings(max_examples=70, deadline=None)
@given(own.calendars, own.instants)
def test_periods_tile_the_line(calendar: Calendar, ms: int) -> None:
    # ... [ before )[ found )[ after )[ later ) ...
    found = calendar.period_at(ms)
    before, after = calendar.period_at(found.start_ms - 1), calendar.period_at(found.end_ms)
    later = calendar.period_at(after.end_ms)
    assert before.end_ms == found.start_ms
    assert found.end_ms == after.start_ms
    assert after.end_ms == later.start_ms
    assert all(one.start_ms < one.end_ms for one in (before, found, after, later))


@settings(max_examples=70, deadline=None)
@given(own.calendars, st.lists(own.instants, min_size=2, max_size=6))
def test_a_later_instant_is_never_in_an_earlier_period(calendar: Calendar, moments: list[int]) -> None:
    found = [calendar.period_at(ms) for ms in sorted(moments)]
    assert found == sorted(found, key=lambda one: one.start_ms)


@settings(max_examples=70, deadline=None)
@given(own.calendars, st.lists(own.instants, min_size=1, max_size=8))
def test_what_was_asked_before_changes_no_answer(calendar: Calendar, moments: list[int]) -> None:
    near = [ms + step for ms in moments for step in (0, 1, HOUR_MS) if ms + step < MAX_MS]
    assert [calendar.period_at(ms) for ms in near] == [fresh(calendar).period_at(ms) for ms in near]
    assert [calendar.day_at(ms) for ms in near] == [plain_day(ms, calendar.timezone) for ms in near]


@settings(max_examples=50, deadline=None)
@given(own.calendars, own.instants)
def test_a_calendar_that_was_pickled_gives_the_same_periods(calendar: Calendar, ms: int) -> None:
    found = calendar.period_at(ms)
    copy = pickle.loads(pickle.dumps(calendar))  # noqa: S301 - written a moment ago
    assert copy == calendar
    assert copy.period_at(ms) == found


@given(own.zones, st.sampled_from([MIN_MS, MAX_MS - 1]), own.intervals)
@settings(max_examples=50, deadline=None)
def test_the_first_and_the_last_instant_have_a_period(timezone: str, ms: int, interval: Interval) -> None:
    calendar = Calendar(datetime(2024, 2, 29, 2, 30), interval, timezone)  # noqa: DTZ001 - an anchor is local
    found = calendar.period_at(ms)
    assert found.start_ms <= ms < found.end_ms
    assert calendar.day_at(ms) == plain_day(ms, timezone)


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


# --- local days -------------------------------------------------------------------------------------------------------


def plain_day(ms: int, timezone: str) -> str:
    return datetime.fromtimestamp(ms // 1_000, zone(timezone)).date().isoformat()


@settings(max_examples=70, deadline=None)
@given(own.zones, own.instants, st.lists(st.integers(0, 2 * HOUR_MS), min_size=1, max_size=6))
def test_a_remembered_day_is_the_day_of_each_instant_of_its_hour(timezone: str, base: int, steps: list[int]) -> None:
    calendar = parse_calendar("2024-01-01", "P1M", timezone)
    for ms in (min(base + step, MAX_MS - 1) for step in steps):
        assert calendar.day_at(ms) == plain_day(ms, timezone)


@settings(max_examples=100, deadline=None)
@given(own.calendars, st.integers(0, 59), own.instants, st.lists(st.integers(0, 150_000), min_size=1, max_size=8))
def test_a_remembered_stamp_is_the_stamp_of_each_instant_of_its_minute(
    plain: Calendar, second: int, base: int, steps: list[int]
) -> None:
    # An anchor with seconds ends periods inside a minute: half of the instants are around such an end.
    calendar = Calendar(plain.anchor.replace(second=second), plain.interval, plain.timezone)
    end_ms = calendar.period_at(base).end_ms
    moments = [base + step for step in steps] + [end_ms + step - 75_000 for step in steps]
    for ms in (min(max(moment, MIN_MS), MAX_MS - 1) for moment in moments):
        fresh = Calendar(calendar.anchor, calendar.interval, calendar.timezone)
        period = fresh.period_at(ms)
        fields = [ms - ms % MINUTE_MS, fresh.day_at(ms), period.start_ms, period.end_ms]
        assert calendar.stamp_at(ms).split("\x1f") == [str(field) for field in fields]


def test_the_stamps_a_calendar_remembers_are_bounded() -> None:
    calendar = parse_calendar("2024-01-01", "P1M", "Asia/Kolkata")
    for minute in range(5_000):
        calendar.stamp_at(ms_of("2024-03-01T00:00:00Z") + minute * MINUTE_MS)
    assert 0 < len(calendar._stamps) <= 128


def changes(timezone: str) -> list[int]:
    """Instants (ms) at which the offset of a zone changes, 1970 to 2038."""
    found, step = [], 5 * 86_400
    for begin in range(step, 2_145_916_800, step):
        before, after = begin, begin + step
        if offset(before, timezone) == offset(after, timezone):
            continue
        while after - before > 1:
            middle = (before + after) // 2
            before, after = (middle, after) if offset(middle, timezone) == offset(begin, timezone) else (before, middle)
        found.append(after * 1_000)
    return found


def offset(second: int, timezone: str) -> timedelta | None:
    return datetime.fromtimestamp(second, zone(timezone)).utcoffset()


@pytest.mark.parametrize("timezone", ZONES)
def test_days_are_right_around_every_change_of_the_clock(timezone: str) -> None:
    steps = [minutes * MINUTE_MS + ms for minutes in (-61, -60, -31, -30, -29, -1, 0, 29, 30, 59) for ms in (0, 59_999)]
    moments = [at + step for at in changes(timezone) for step in steps]
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


# --- text -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "interval"),
    [
        ("P1M", Interval(1, "M")), ("P3M", Interval(3, "M")), ("P1Y", Interval(1, "Y")), ("P2W", Interval(2, "W")),
        ("P10D", Interval(10, "D")), ("PT1H", Interval(1, "H")), ("PT87600H", Interval(87_600, "H")),
    ],
)  # fmt: skip
def test_an_interval_of_one_unit_is_read(text: str, interval: Interval) -> None:
    assert parse_calendar("2024-01-01", text, "UTC").interval == interval


@pytest.mark.parametrize(
    "text",
    [
        "", "P", "1M", "P0M", "P01M", "P-1M", "P1.5M", "P1M1D", "PT1M", "PT30S", "P1H", "PT0H", "p1m", "P1M ", "P1M\n",
        "P121M", "P11Y", "P521W", "P3651D", "PT87601H", "P99999Y", "P1\u0662M", "month",
    ],
)  # fmt: skip
def test_any_other_interval_is_refused(text: str) -> None:
    with pytest.raises(CalendarError, match="interval"):
        parse_calendar("2024-01-01", text, "UTC")


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
