"""Which periods are due: a walk along calendars that tiles, periods that were cut, the source run of each period."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidemark.billing.lines import PeriodKey
from tidemark.billing.periods import Customer, Due, period_of, walk
from tidemark.billing.periods import _walk_into as walk_into
from tidemark.billing.sources import open_runs_of, source_run
from tidemark.core.rollup_views import Overlay
from tidemark.core.settings import Settings
from udfs.catalog.cache import Catalog
from udfs.catalog.model import CalendarDef, InMemoryCatalogSource, Tenant
from udfs.catalog.model import Customer as CatalogCustomer
from udfs.values import epoch_ms, instant

PAIR = ("acme", "alice")
DAY = timedelta(days=1)
LIVE = Settings.model_construct(run_id="")
CHANGE = datetime(2024, 2, 10, 7, tzinfo=UTC)


def at(month: int, day: int, hour: int = 0) -> datetime:
    return datetime(2024, month, day, hour, tzinfo=UTC)


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    """Months of UTC, then from 10 February 07:00 on months of New York that start on the 5th."""
    source = InMemoryCatalogSource(
        tenants=[Tenant("acme")],
        calendars=[CalendarDef("fifth", "2024-01-05T00:00:00", "P1M", "America/New_York")],
        customer_versions=[CatalogCustomer(*PAIR, "fifth", valid_from_ms=epoch_ms(CHANGE))],
    )
    made = Catalog(source, float("inf"), 10)
    made.refresh()
    made.prefetch([PAIR])
    return made


#  |--- January ---|--- February ... cut |--- to 5 March ---|--- April 5 ...
#  1               1                   10 07:00             5 05:00
def test_a_walk_follows_a_change_of_calendar(catalog: Catalog) -> None:
    walked = list(walk(catalog, PAIR, at(1, 17), at(4, 5, 4), None))
    assert [(key.start, key.end) for key in walked] == [
        (at(1, 1), at(2, 1)),
        (at(2, 1), CHANGE),
        (CHANGE, at(3, 5, 5)),
        (at(3, 5, 5), at(4, 5, 4)),
    ]


@given(st.integers(0, 500), st.integers(0, 500))
def test_a_walk_leaves_no_gap_and_ends_at_the_cutoff(catalog: Catalog, begin_day: int, days: int) -> None:
    start = at(1, 1) + begin_day * DAY / 7
    cutoff = start + days * DAY / 3
    walked = list(walk(catalog, PAIR, start, cutoff, None))
    assert all(before.end == after.start for before, after in pairwise(walked))
    assert all(key.end <= cutoff for key in walked)
    if walked:
        assert walked[0].start <= start < walked[0].end
        later = list(walk(catalog, PAIR, walked[-1].end, cutoff + 70 * DAY, None))
        assert later, "the next period follows where this walk ended"
        assert later[0].end > cutoff


def test_a_walk_ends_where_the_catalog_knows_the_customer_no_longer(catalog: Catalog) -> None:
    walked = list(walk(catalog, PAIR, at(1, 1), at(12, 1), at(2, 1)))
    assert [key.start for key in walked] == [at(1, 1)]


@pytest.mark.parametrize(
    ("stored_end", "end"),
    [(at(3, 1), CHANGE), (CHANGE, CHANGE), (at(2, 5), at(2, 5))],
    ids=["written before the cut", "after it", "by a shorter calendar"],
)
def test_the_earlier_end_of_row_and_calendar_holds(catalog: Catalog, stored_end: datetime, end: datetime) -> None:
    assert period_of(catalog, PAIR, at(2, 1), stored_end) == PeriodKey(*PAIR, at(2, 1), end)


def test_a_row_that_begins_where_no_period_does_keeps_its_end(catalog: Catalog) -> None:
    assert period_of(catalog, PAIR, at(2, 3), at(3, 3)) == PeriodKey(*PAIR, at(2, 3), at(3, 3))


@pytest.mark.parametrize(
    ("customer", "start"),
    [
        (Customer(PAIR, at(1, 4), None, None), at(1, 4)),
        (Customer(PAIR, None, at(3, 1), None), at(3, 1)),
        (Customer(PAIR, None, None, at(3, 1)), None),
    ],
    ids=["its own first usage", "closed before", "no usage"],
)
def test_a_walk_begins_where_nothing_was_closed(customer: Customer, start: datetime | None) -> None:
    assert customer.start == start


def test_without_a_yes_nobody_walks_decades(catalog: Catalog) -> None:
    end_of_calendars = datetime(2100, 12, 1, tzinfo=UTC)
    part, every = Due(), Due()
    walk_into(part, catalog, Customer(PAIR, at(1, 4), None, None), end_of_calendars, 3)
    walk_into(every, catalog, Customer(PAIR, at(1, 4), None, None), end_of_calendars, None)
    assert sorted(part.keys) == sorted(every.keys)[:3]
    assert len(every.keys) > 900
    assert not part.broken


def overlay(name: str, tenants: tuple[str, ...], start: datetime, end: datetime | None) -> Overlay:
    return Overlay(f"usage_{name}", tenants, start, end)


def test_the_topmost_version_that_holds_a_period_feeds_it() -> None:
    stack = [overlay("one", (), at(1, 1), at(3, 1)), overlay("two", ("acme",), at(2, 1), None)]
    of = {month: source_run(stack, LIVE, PeriodKey(*PAIR, at(month, 1), at(month + 1, 1))) for month in range(1, 5)}
    assert of == {1: "one", 2: "two", 3: "two", 4: "two"}
    assert source_run(stack, LIVE, PeriodKey("globex", "x", at(2, 1), at(3, 1))) == "one"
    assert source_run(stack, LIVE, PeriodKey("globex", "x", at(2, 15), at(3, 15))) == "", "it ends after the overlay"


def test_the_live_run_feeds_open_periods_unless_a_replay_of_all_tenants_does() -> None:
    bounded = overlay("one", (), at(1, 1), at(3, 1))
    part = overlay("two", ("acme",), at(2, 1), None)
    every = overlay("three", (), at(2, 1), None)
    assert open_runs_of([bounded], LIVE) == [""]
    assert open_runs_of([bounded, part], LIVE) == ["two", ""]
    assert open_runs_of([part, every], LIVE) == ["three"]
    assert open_runs_of([every, part], LIVE) == ["two", "three"]


@given(st.datetimes(datetime(1971, 1, 1), datetime(2100, 1, 1)))  # noqa: DTZ001 made aware below
def test_instants_keep_their_milliseconds(moment: datetime) -> None:
    exact = moment.replace(microsecond=moment.microsecond // 1_000 * 1_000, tzinfo=UTC)
    assert instant(epoch_ms(exact)) == exact
