"""Where a new version begins: no period that may still change is left to the old one."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from tidemark.upgrade.begin import cut, earliest
from udfs.catalog.model import CalendarDef
from udfs.values import epoch_ms

# .......|2023-12.......|2024-01....X...|     X: the earliest event time of which a record may come
CHANGEABLE = datetime(2024, 1, 20, tzinfo=UTC)
JANUARY = datetime(2024, 1, 1, tzinfo=UTC)


def yearly(until: datetime | None = None) -> CalendarDef:
    known = CalendarDef("fiscal", "2020-04-01", "P1Y", "UTC")
    return known if until is None else CalendarDef("fiscal", "2020-04-01", "P1Y", "UTC", valid_to_ms=epoch_ms(until))


def test_where_all_is_closed_it_begins_with_the_period_in_which_events_may_come() -> None:
    assert earliest(None, (), CHANGEABLE) == JANUARY
    assert earliest(datetime(2024, 2, 1, tzinfo=UTC), (), CHANGEABLE) == JANUARY


def test_it_begins_with_the_earliest_period_that_is_not_closed() -> None:
    october = datetime(2023, 10, 1, tzinfo=UTC)
    assert earliest(october, (), CHANGEABLE) == october


def test_a_customer_without_usage_may_have_its_first_in_a_period_that_began_long_ago() -> None:
    assert earliest(None, [yearly()], CHANGEABLE) == datetime(2023, 4, 1, tzinfo=UTC)


def test_a_calendar_that_ended_before_counts_nothing_more() -> None:
    assert earliest(None, [yearly(datetime(2023, 12, 1, tzinfo=UTC))], CHANGEABLE) == JANUARY


@pytest.mark.parametrize(
    "unusable",
    [
        CalendarDef("wrong", None, "P1Y", "Mars/Olympus"),
        CalendarDef("over", None, None, "UTC", boundaries=("2020-01-01", "2021-01-01")),
    ],
)
def test_a_calendar_without_a_period_there_counts_nothing(unusable: CalendarDef) -> None:
    assert earliest(None, [unusable], CHANGEABLE) == JANUARY


@pytest.mark.parametrize(
    ("begins", "since", "gone"),
    [
        ({0: 0}, {0: 0}, []),  # nothing was removed
        ({0: 5}, {0: 7}, []),  # what is left begins before
        ({0: 5}, {0: 5}, [0]),  # what was removed may have come after
        ({0: 9}, {0: 9}, []),  # nothing is left, so nothing came lately
        ({0: 5, 1: 0, 2: 3}, {0: 5, 1: 4, 2: 3}, [0, 2]),
    ],
)
def test_partitions_that_may_lack_records_are_named(
    begins: dict[int, int], since: dict[int, int], gone: list[int]
) -> None:
    assert cut(begins, since, dict.fromkeys(begins, 9)) == gone
