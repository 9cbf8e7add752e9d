"""The model over days and periods: levels carried, clocks that change, customers that move, lists that end."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.dry_run.models import HOUR_MS, catalog, counted, event, meter, ms, text_of, values
from tidemark.dry_run.carry import Stretch, day_stretches
from tidemark.dry_run.fold import Bucket
from tidemark.dry_run.usage_rows import usage_rows
from udfs.calendars.calendar import UTC_MONTH
from udfs.catalog.model import Customer
from udfs.meters.meter import Meter


def test_a_level_is_carried_over_the_short_and_the_long_day() -> None:
    # +2 at noon of the 9th, -1 at noon of the 12th, New York; the 10th has 23 hours.
    events = [
        event("a", "2024-03-09T17:00:00Z", 2),
        event("b", "2024-03-12T16:00:00Z", -1),
        event("c", "2024-03-14T10:00:00Z", 0, customer_id="bob"),
    ]
    model = counted(catalog(meter("weighted_sum"), calendar="ny"), events)
    assert values(model, "day") == {
        "2024-03-09": "24", "2024-03-10": "46", "2024-03-11": "48", "2024-03-12": "36",
        "2024-03-13": "24", "2024-03-14": "24",
    }  # fmt: skip
    # 3 November has 25 hours.
    events = [event("a", "2024-11-03T04:00:00Z", 1)]
    assert values(counted(catalog(meter("weighted_sum"), calendar="ny"), events), "day") == {"2024-11-03": "25"}


def test_a_level_is_carried_over_periods_to_the_last_event_of_all() -> None:
    events = [event("a", "2024-01-01T00:00:00Z", "0.5"), event("b", "2024-04-10T00:00:00Z", customer_id="bob")]
    model = counted(catalog(meter("weighted_sum")), events)
    assert values(model, "period") == {
        "2024-01-01T00:00Z": "372", "2024-02-01T00:00Z": "348", "2024-03-01T00:00Z": "372", "2024-04-01T00:00Z": "360",
    }  # fmt: skip
    assert [row.samples for row in usage_rows(model, "period")] == [1, 0, 0, 0, 1]


def test_a_level_of_zero_has_no_rows_until_it_changes_again() -> None:
    events = [
        event("a", "2024-01-01T00:00:00Z", 3), event("b", "2024-01-02T00:00:00Z", -3),
        event("c", "2024-03-31T12:00:00Z", 1), event("d", "2024-03-31T12:00:00Z", customer_id="bob"),
    ]  # fmt: skip
    model = counted(catalog(meter("weighted_sum", per="day")), events)
    assert values(model, "period") == {"2024-01-01T00:00Z": "3", "2024-03-01T00:00Z": "0.5"}
    assert values(model, "day") == {"2024-01-01": "3", "2024-01-02": "0", "2024-03-31": "0.5"}


@pytest.mark.parametrize(
    ("per", "expected"), [("second", "3600"), ("minute", "60"), ("hour", "1"), ("day", "0.041666667")]
)
def test_a_weighted_sum_is_in_its_unit_of_time(per: Any, expected: str) -> None:
    model = counted(catalog(meter("weighted_sum", per=per)), [event("a", "2024-03-10T23:00:00Z", 1)])
    assert values(model, "day") == {"2024-03-10": expected}


MOVES = [
    Customer("acme", "alice", None, valid_to_ms=ms("2024-03-10T00:00:00Z")),
    Customer("acme", "alice", "ny", valid_from_ms=ms("2024-03-10T00:00:00Z")),
]


def test_a_period_is_cut_where_the_customer_moves() -> None:
    # UTC month  1 March ───── 10 March 00:00Z | ────── 1 April 04:00Z  New York month
    events = [
        event("a", "2024-03-01T00:00:00Z", 1),
        event("b", "2024-03-09T23:59:59Z", 0),
        event("c", "2024-03-10T00:00:00Z", 0),
        event("d", "2024-04-02T00:00:00Z", 0),
    ]
    source = catalog(Meter("calls", ("use",), "count"), meter("weighted_sum"), customers=MOVES)
    model = counted(source, events)
    starts = ["2024-03-01T00:00Z", "2024-03-10T00:00Z", "2024-04-01T04:00Z"]
    assert values(model, "period", name="calls") == dict(zip(starts, ["2", "1", "1"], strict=True))
    # 9 days; 22 days and 4 hours; 30 days.
    assert values(model, "period") == dict(zip(starts, ["216", "532", "720"], strict=True))
    ends = [row.end_ms for row in usage_rows(model, "period") if row.series.meter == "used"]
    assert ends == [ms(f"{text}:00Z") for text in ("2024-03-10T00:00", "2024-04-01T04:00", "2024-05-01T04:00")]


def test_a_level_is_carried_through_a_move_that_no_event_tells() -> None:
    events = [event("a", "2024-03-01T00:00:00Z", 1), event("d", "2024-04-02T00:00:00Z", customer_id="bob")]
    model = counted(catalog(meter("weighted_sum"), customers=MOVES), events)
    assert list(values(model, "period").values()) == ["216", "532", "720"]


def test_a_day_that_a_move_makes_longer_is_one_day() -> None:
    # 9 March ends in UTC at 10 March 00:00Z, then it is 9 March again in New York until 05:00Z.
    model = counted(catalog(meter("weighted_sum"), customers=MOVES), [event("a", "2024-03-09T00:00:00Z", 1)])
    assert values(model, "day") == {"2024-03-09": "29"}


def test_a_day_that_comes_twice_is_added_up() -> None:
    # Tokyo: 9 March from 8th 15:00Z, 10 March from 9th 15:00Z; moves at 9th 20:00Z to New York, where it is the 9th
    # again until 10th 05:00Z, then the 10th until 11th 04:00Z.
    moved = ms("2024-03-09T20:00:00Z")
    customers = [
        Customer("acme", "alice", "tokyo", valid_to_ms=moved),
        Customer("acme", "alice", "ny", valid_from_ms=moved),
    ]
    events = [event("a", "2024-03-08T15:00:00Z", 1), event("b", "2024-03-10T12:00:00Z", customer_id="bob")]
    model = counted(catalog(meter("weighted_sum"), customers=customers), events)
    assert values(model, "day") == {"2024-03-09": str(24 + 9), "2024-03-10": str(5 + 23)}


def test_a_minute_of_tomorrow_before_the_clock_goes_back_belongs_to_tomorrow() -> None:
    # St. John's, 2010-11-07 00:01 (02:31Z) is 6 November 23:01 once more.
    events = [event("a", "2010-11-06T02:30:00Z", 1), event("b", "2010-11-07T12:00:00Z", customer_id="bob")]
    model = counted(catalog(meter("weighted_sum", per="minute"), calendar="st-johns"), events)
    assert values(model, "day") == {"2010-11-06": str(1440 + 59), "2010-11-07": str(1 + 1440)}


def test_the_last_day_is_as_long_as_it_is_where_midnight_comes_twice() -> None:
    # No event follows: the level is reckoned to the end of the day, which the clock is set back into.
    per_minute = catalog(meter("weighted_sum", per="minute"), calendar="st-johns")
    model = counted(per_minute, [event("a", "2010-11-06T02:30:00Z", 1)])
    assert values(model, "day") == {"2010-11-06": str(1440 + 59)}
    # 02:30Z is the first midnight, so the 7th has begun when the 6th comes again.
    model = counted(per_minute, [event("a", "2010-11-06T02:30:00Z", 1), event("b", "2010-11-07T02:45:00Z", 0)])
    assert values(model, "day") == {"2010-11-06": str(1440 + 59), "2010-11-07": str(1 + 1440)}


def test_days_follow_each_other_without_gaps() -> None:
    class Account:
        def calendar_at(self, _: int) -> Any:
            return UTC_MONTH

    first, last = ms("2024-02-28T13:07:00Z"), ms("2024-03-01T00:00:00Z")
    days = [ms(f"2024-{day}T00:00:00Z") for day in ("02-28", "02-29", "03-01", "03-02")]
    assert day_stretches(Account(), first, last) == [
        Stretch(start, end, text)
        for start, end, text in zip(days, days[1:], ["2024-02-28", "2024-02-29", "2024-03-01"], strict=False)
    ]


def test_after_the_last_boundary_no_level_is_reported_and_no_event_counted() -> None:
    events = [
        event("a", "2024-01-31T00:00:00Z", 1),
        event("b", "2024-03-01T00:00:00Z", 1),
        event("c", "2024-05-01T00:00:00Z", customer_id="bob"),
    ]
    model = counted(catalog(meter("weighted_sum"), customers=[Customer("acme", "alice", "quarters")]), events)
    assert values(model, "period") == {"2024-01-01T00:00Z": "24", "2024-02-01T00:00Z": "696"}
    assert [(item.offset, item.reason) for item in model.rejections] == [(1, "no_period")]


CHANGES = st.lists(
    st.tuples(st.integers(0, 5 * 24 * HOUR_MS), st.decimals(-1000, 1000, places=9)), min_size=1, max_size=8
)


@given(CHANGES)
def test_days_and_periods_hold_what_adding_up_step_by_step_holds(changes: list[tuple[int, Decimal]]) -> None:
    begin = ms("2024-03-08T00:00:00Z")
    events = [event(str(place), text_of(begin + at), f"{change:f}") for place, (at, change) in enumerate(changes)]
    model = counted(catalog(meter("weighted_sum", per="second"), calendar="ny"), events)
    for grain in ("day", "period"):
        for row in usage_rows(model, grain):  # type: ignore[arg-type]
            start, end = _bounds(row.bucket, row.end_ms)
            held = sum(change * (end - max(start, begin + at)) for at, change in changes if begin + at < end)
            assert abs(row.value - held / 1000) <= Decimal("0.5E-9")


def _bounds(bucket: Bucket, end_ms: int | None) -> tuple[int, int]:
    if isinstance(bucket, int):
        assert end_ms is not None
        return bucket, end_ms
    # New York: UTC-5 up to 10 March 2024, UTC-4 after it.
    start = ms(f"{bucket}T00:00:00{'-05:00' if bucket <= '2024-03-10' else '-04:00'}")
    return start, start + (23 if bucket == "2024-03-10" else 24) * HOUR_MS
