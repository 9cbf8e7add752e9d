"""Laws of billing periods over thousands of calendars: the rule, tiling, memory that changes no answer."""

from __future__ import annotations

import pickle
from datetime import datetime
from itertools import pairwise

from hypothesis import example, given
from hypothesis import strategies as st

from tests.unit import strategies as own
from tests.unit.calendars.calendar_rule import (
    APIA_DAYS,
    LEAP_DAY,
    LORD_HOWE_GAP,
    as_seconds,
    boundary_calendars,
    by_the_rule,
    cases,
    found_at,
    fresh,
    plain_day,
    wall,
)
from tests.unit.strategies import DAY_MS, HOUR_MS, MINUTE_MS, ms_of
from udfs.calendars.boundaries import BoundaryCalendar
from udfs.calendars.calendar import (
    MAX_MS,
    MIN_MS,
    Calendar,
    Interval,
    LocalCalendar,
    Period,
    parse_calendar,
)


@given(cases)
@example(
    [
        (APIA_DAYS, ms_of("2011-12-30T10:00:00Z")),
        (LORD_HOWE_GAP, ms_of("2023-09-30T16:00:00Z")),
        (LEAP_DAY, ms_of("2027-02-28T17:00:00Z")),
    ]
)
def test_periods_follow_the_rule_and_tile_the_line(drawn: list[tuple[Calendar, int]]) -> None:
    # ... [ before )[ found )[ after ) ...
    for calendar, ms in drawn:
        found = calendar.period_at(ms)
        assert found == by_the_rule(calendar, ms)
        assert found.start_ms <= ms < found.end_ms
        assert calendar.period_at(found.start_ms) == fresh(calendar).period_at(found.start_ms) == found
        assert fresh(calendar).period_at(found.end_ms - 1) == found
        before, after = calendar.period_at(found.start_ms - 1), calendar.period_at(found.end_ms)
        assert before.end_ms == found.start_ms
        assert found.end_ms == after.start_ms
        assert before.start_ms < before.end_ms <= ms < after.start_ms < after.end_ms


@given(own.calendars, st.lists(own.instants, min_size=2, max_size=6))
def test_a_later_instant_is_never_in_an_earlier_period(calendar: Calendar, moments: list[int]) -> None:
    found = [calendar.period_at(ms) for ms in sorted(moments)]
    assert found == sorted(found, key=lambda one: one.start_ms)


@given(own.calendars, st.lists(own.instants, min_size=1, max_size=8))
def test_what_was_asked_before_changes_no_answer(calendar: Calendar, moments: list[int]) -> None:
    near = [ms + step for ms in moments for step in (0, 1, HOUR_MS) if ms + step < MAX_MS]
    assert [calendar.period_at(ms) for ms in near] == [fresh(calendar).period_at(ms) for ms in near]
    assert [calendar.day_at(ms) for ms in near] == [plain_day(ms, calendar.timezone) for ms in near]


@given(own.calendars | boundary_calendars, own.instants)
def test_a_calendar_that_was_pickled_gives_the_same_periods(calendar: LocalCalendar, ms: int) -> None:
    before = found_at(calendar, ms)
    copy = pickle.loads(pickle.dumps(calendar))  # noqa: S301 - written a moment ago
    assert copy == calendar
    assert found_at(copy, ms) == before


@given(own.zones, st.sampled_from([MIN_MS, MAX_MS - 1]), own.intervals)
def test_the_first_and_the_last_instant_have_a_period(timezone: str, ms: int, interval: Interval) -> None:
    calendar = Calendar(datetime(2024, 2, 29, 2, 30), interval, timezone)  # noqa: DTZ001 - an anchor is local
    found = calendar.period_at(ms)
    assert found.start_ms <= ms < found.end_ms
    assert calendar.day_at(ms) == plain_day(ms, timezone)


@given(boundary_calendars, st.lists(st.integers(-DAY_MS, 720 * DAY_MS), max_size=5))
def test_listed_periods_follow_the_list_and_tile_it(calendar: BoundaryCalendar, steps: list[int]) -> None:
    # none )[ b0 )[ b1 )[ … )[ b(n-1) .. bn )[ none
    instants = [wall(calendar.timezone).instant(as_seconds(one)) * 1_000 for one in calendar.boundaries]
    near = [one + step for one in instants for step in (-1, 0, 1)]
    for ms in [*near, *(instants[0] + step for step in steps)]:
        expected = [Period(start, end) for start, end in pairwise(instants) if start <= ms < end]
        found = found_at(calendar, ms)
        assert ([] if found is None else [found]) == expected
        if found is not None:
            assert fresh(calendar).period_at(found.start_ms) == fresh(calendar).period_at(found.end_ms - 1) == found


@given(own.zones, own.instants, st.lists(st.integers(0, 2 * HOUR_MS), min_size=1, max_size=6))
def test_a_remembered_day_is_the_day_of_each_instant_of_its_hour(timezone: str, base: int, steps: list[int]) -> None:
    calendar = parse_calendar("2024-01-01", "P1M", timezone)
    for ms in (min(base + step, MAX_MS - 1) for step in steps):
        assert calendar.day_at(ms) == plain_day(ms, timezone)


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
