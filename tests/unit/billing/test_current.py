"""Which periods are current once other rollups take over: they and the next close tile, by whatever calendar."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tidemark.billing.current import EdgeError, current_as_before, current_by_calendar
from tidemark.billing.lines import PeriodKey
from tidemark.billing.periods import FOREVER, walk
from tidemark.billing.true_up import current_periods
from tidemark.core.rollup_views import Overlay
from udfs.catalog.cache import Catalog
from udfs.catalog.model import CalendarDef, InMemoryCatalogSource, Tenant

PAIR = ("acme", "alice")
DAY = timedelta(days=1)


def at(month: int, day: int = 1) -> datetime:
    return datetime(2026, month, day, tzinfo=UTC)


def period(start: datetime, end: datetime) -> PeriodKey:
    return PeriodKey(*PAIR, start, end)


def catalog_of(anchor: str | None, interval: str = "P1M", boundaries: tuple[str, ...] = ()) -> Catalog:
    calendar = CalendarDef("one", anchor, None if boundaries else interval, "UTC", boundaries=boundaries)
    catalog = Catalog(InMemoryCatalogSource([Tenant("acme", "one")], [], [calendar]), float("inf"), 10)
    catalog.refresh()
    catalog.prefetch([PAIR])
    return catalog


FIRST, MID = catalog_of("2020-01-01"), catalog_of("2020-01-15")
CATALOGS = [FIRST, MID, catalog_of("2020-01-06", "P1W"), catalog_of("2020-01-01", "P3M"), catalog_of("2020-01-10")]
JANUARY, FEBRUARY, MARCH, APRIL = (period(at(month), at(month + 1)) for month in range(1, 5))
FROM_MID = [period(at(month, 15), at(month + 1, 15)) for month in range(1, 5)]


def scope_of(start: datetime = JANUARY.start, end: datetime | None = None) -> Overlay:
    return Overlay("usage_replay__r", (), start, end)


def outside(closed: set[PeriodKey], scope: Overlay) -> set[PeriodKey]:
    return {key for key in closed if not scope.holds(key.start, key.end)}


def touching(closed: list[PeriodKey], scope: Overlay) -> set[PeriodKey]:
    return {key for key in closed if key.end >= scope.start and (scope.end is None or key.start <= scope.end)}


def assert_tiled(current: set[PeriodKey], catalog: Catalog) -> None:
    """The periods and those of the next close leave no gap and do not overlap."""
    periods = sorted(current)
    periods += islice(walk(catalog, PAIR, max(key.end for key in periods), FOREVER, None), 3)
    assert [(one.end, other.start) for one, other in pairwise(periods) if one.end != other.start] == []


#  closed:  |--January--|--February-|---March---|        usage: a level that is set on 20 January, and no event after it
#  now:            |---15th---|---15th---|---15th---|
def test_periods_without_usage_are_those_of_the_present_calendar() -> None:
    current = current_by_calendar(MID, PAIR, {JANUARY, FEBRUARY, MARCH}, {FROM_MID[0]}, scope_of())
    assert current == set(FROM_MID[:2])
    assert_tiled(current, MID)


def test_what_a_promotion_replaced_is_current_again_without_it() -> None:
    replaced, used = {JANUARY, FEBRUARY, MARCH}, {JANUARY}
    assert current_as_before(set(FROM_MID[:3]), replaced, used) == replaced
    # What was closed since, and lies across none of it, stays.
    assert current_as_before(set(FROM_MID[:4]), replaced, used) == {*replaced, FROM_MID[3]}


def test_a_period_without_usage_that_was_not_closed_yet_is_final_before_one_that_is() -> None:
    assert current_by_calendar(FIRST, PAIR, {JANUARY}, {APRIL}, scope_of()) == {JANUARY, FEBRUARY, MARCH, APRIL}


def test_a_customer_that_the_catalog_no_longer_has_gets_no_period_without_usage() -> None:
    assert current_by_calendar(FIRST, PAIR, {JANUARY}, {APRIL}, scope_of(), at(2)) == {JANUARY, APRIL}
    assert current_by_calendar(FIRST, PAIR, {JANUARY, FEBRUARY}, {APRIL}, scope_of(), at(2)) == {
        JANUARY, FEBRUARY, APRIL,
    }  # fmt: skip


def test_usage_that_was_counted_by_another_calendar_is_kept_with_what_does_not_overlap_it() -> None:
    assert current_by_calendar(MID, PAIR, {JANUARY, FEBRUARY}, {JANUARY}, scope_of()) == {JANUARY, FEBRUARY}


def test_a_calendar_that_cannot_be_used_replaces_nothing() -> None:
    listed = catalog_of(None, boundaries=("2026-01-01", "2026-01-20"))
    assert current_by_calendar(listed, PAIR, {JANUARY, FEBRUARY}, set(), scope_of()) == {JANUARY, FEBRUARY}


@pytest.mark.parametrize(
    ("closed", "used", "scope"),
    [
        ({JANUARY, FEBRUARY, MARCH}, set(), scope_of(at(2))),
        ({JANUARY, FEBRUARY, MARCH}, set(), scope_of(at(1), at(3))),
        ({JANUARY}, {FROM_MID[1]}, scope_of(at(2))),
    ],
    ids=["at its start", "at its end", "before its usage"],
)
def test_another_calendar_at_an_edge_outside_which_something_is_closed_is_refused(
    closed: set[PeriodKey], used: set[PeriodKey], scope: Overlay
) -> None:
    with pytest.raises(EdgeError):
        current_by_calendar(MID, PAIR, closed, used, scope)


def test_a_scope_that_lies_within_a_closed_period_leaves_it_as_it_is() -> None:
    assert current_by_calendar(MID, PAIR, {JANUARY}, set(), scope_of(at(1, 2), at(1, 29))) == set()


catalogs, days = st.sampled_from(CATALOGS), st.integers(0, 300).map(lambda day: at(1) + day * DAY)
choices = st.randoms(use_true_random=False)


def used_of(catalog: Catalog, scope: Overlay, end: datetime, rng: object) -> set[PeriodKey]:
    """Some periods of a calendar in the scope."""
    inside = [key for key in walk(catalog, PAIR, scope.start, end, None) if scope.holds(key.start, key.end)]
    return {key for key in inside if rng.random() < 0.3}  # type: ignore[attr-defined]


@given(catalogs, catalogs, days, st.integers(1, 12), days, st.none() | days, choices)
def test_final_periods_those_outside_and_the_next_close_tile_or_the_promotion_is_refused(
    old: Catalog, new: Catalog, first: datetime, count: int, start: datetime, end: datetime | None, rng: object
) -> None:
    assume(end is None or start < end)
    scope = scope_of(start, end)
    closed = touching(list(islice(walk(old, PAIR, first, FOREVER, None), count)), scope)
    used = used_of(new, scope, max((key.end for key in closed), default=start + 90 * DAY), rng)
    try:
        final = current_by_calendar(new, PAIR, closed, used, scope)
    except EdgeError:
        assert old is not new
        return
    assert used <= final
    assert all(scope.holds(key.start, key.end) for key in final)
    inside = closed - outside(closed, scope)
    if (current := final | outside(closed, scope)) and (used or inside):
        after = {key for key in closed if end is not None and key.end > end}
        # Outside nothing changes, and behind closed periods of another calendar the next close is not ours.
        assert_tiled(current, old if after else new)


@given(catalogs, days, st.integers(1, 12), days, st.none() | days, choices)
def test_by_the_calendar_that_they_were_closed_by_all_closed_periods_stay(
    catalog: Catalog, first: datetime, count: int, start: datetime, end: datetime | None, rng: object
) -> None:
    assume(end is None or start < end)
    scope = scope_of(start, end)
    closed = touching(list(islice(walk(catalog, PAIR, first, FOREVER, None), count)), scope)
    inside = closed - outside(closed, scope)
    used = {key for key in inside if rng.random() < 0.3}  # type: ignore[attr-defined]
    assert current_by_calendar(catalog, PAIR, closed, used, scope) == inside == current_periods(inside, used)
