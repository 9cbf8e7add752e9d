"""Plan of an apply: which versions change from when, and what is refused; no database."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidemark.catalog.file import TABLES, Key, Row
from tidemark.catalog.plan import Plan, plan
from tidemark.catalog.plan_faults import Terms
from tidemark.catalog.timeline import Timeline, Version, changed_timeline, first_difference, open_since
from udfs.calendars.calendar import MINUTE_MS
from udfs.meters.meter import BEGINNING_MS, FOREVER_MS

MARCH_MS = 1_772_323_200_000  # 2026-03-01T00:00:00Z
NOW_MS = MARCH_MS + 12_345
EARLIEST_MS = MARCH_MS + MINUTE_MS
TERMS = Terms(now_ms=NOW_MS)
LATER_MS, LAST_MS = MARCH_MS + 60 * MINUTE_MS, MARCH_MS + 120 * MINUTE_MS
MONTH: tuple[object, ...] = (None, "P1M", "UTC", ())
WEEK: tuple[object, ...] = (None, "P1W", "UTC", ())
SUM: tuple[object, ...] = (("e",), "sum", "quantity", (), "u", False, "", "reject", "hour", "rounded")
MAX: tuple[object, ...] = (("e",), "max", *SUM[2:])


def of(**tables: dict[Key, Timeline]) -> dict[str, dict[Key, Timeline]]:
    return {table: tables.get(table, {}) for table in TABLES}


def wants(**tables: list[Row]) -> dict[str, list[Row]]:
    return {table: tables.get(table, []) for table in TABLES}


def tenant(calendar: str | None, valid_from_ms: int | None = None) -> dict[str, list[Row]]:
    """A file that names tenant `t` alone."""
    return wants(tenant=[Row(("t",), (calendar, None), valid_from_ms=valid_from_ms, path="tenants.t")])


def after(made: Plan, stored: dict[str, dict[Key, Timeline]], table: str, key: Key) -> Timeline:
    """The versions of a row when the plan is carried out."""
    timeline = stored[table].get(key, ())
    for change in made.changes:
        if (change.table, change.key) == (table, key):
            timeline = changed_timeline(timeline, change)
    return timeline


def messages(made: Plan) -> dict[str, str]:
    return {fault.path: fault.message for fault in made.faults}


CALENDARS = {("m",): (Version(MONTH),), ("w",): (Version(WEEK),)}
OPEN_T = of(calendar=CALENDARS, tenant={("t",): (Version(("m", None)),)})
#   beginning ---- m ----| later |---- w ---- open
PLANNED_T = of(
    calendar=CALENDARS, tenant={("t",): (Version(("m", None), BEGINNING_MS, LATER_MS), Version(("w", None), LATER_MS))}
)


def test_a_change_that_names_no_begin_holds_from_the_first_minute_that_all_workers_know_it() -> None:
    made = plan(tenant("w"), OPEN_T, TERMS)
    (change,) = made.changes
    assert (change.kind, change.valid_from_ms, change.fields) == ("changed", EARLIEST_MS, (("calendar_id", "m", "w"),))
    assert after(made, OPEN_T, "tenant", ("t",)) == (
        Version(("m", None), BEGINNING_MS, EARLIEST_MS),
        Version(("w", None), EARLIEST_MS),
    )
    assert (made.faults, made.replay_needed) == ((), False)


@pytest.mark.parametrize(
    ("refresh_s", "earliest_ms"), [(10, EARLIEST_MS), (47, EARLIEST_MS), (48, EARLIEST_MS + MINUTE_MS)]
)
def test_the_earliest_minute_begins_a_refresh_interval_later_at_least(refresh_s: int, earliest_ms: int) -> None:
    assert replace(TERMS, refresh_s=refresh_s).earliest_ms == earliest_ms


def test_events_that_may_be_counted_already_because_their_clock_is_ahead_are_named() -> None:
    assert any("300 s ahead" in note for note in plan(tenant("w"), OPEN_T, TERMS).notes)
    assert plan(tenant("w", MARCH_MS + 6 * MINUTE_MS), OPEN_T, TERMS).notes == ()


def test_the_first_apply_holds_from_the_beginning() -> None:
    wanted = {
        **tenant(None),
        "meter": [Row((None, "m"), SUM)],
        "customer": [Row(("t", "a"), (None,))],
        "calendar": [Row(("m",), MONTH)],
    }
    made = plan(wanted, of(), replace(TERMS, first=True))
    assert {(change.kind, change.valid_from_ms) for change in made.changes} == {("added", BEGINNING_MS)}
    assert (len(made.changes), made.faults, made.notes) == (4, (), ())


def test_everything_below_a_new_tenant_and_a_new_calendar_hold_from_the_beginning_and_the_rest_later() -> None:
    stored = of(calendar=CALENDARS, tenant={("old",): (Version((None, None)),)})
    wanted = wants(
        calendar=[Row(("n",), MONTH)],
        tenant=[Row(("t",), ("n", None)), Row(("old",), (None, None))],
        customer=[Row(("t", "a"), ("n",)), Row(("old", "a"), ("n",))],
        meter=[Row(("t", "m"), SUM), Row(("old", "m"), SUM), Row((None, "m"), SUM)],
    )
    made = plan(wanted, stored, TERMS)
    begins = {(change.table, *change.key): change.valid_from_ms for change in made.changes}
    assert begins == {
        ("calendar", "n"): BEGINNING_MS,
        ("tenant", "t"): BEGINNING_MS,
        ("customer", "t", "a"): BEGINNING_MS,
        ("customer", "old", "a"): EARLIEST_MS,
        ("meter", "t", "m"): BEGINNING_MS,
        ("meter", "old", "m"): EARLIEST_MS,
        ("meter", None, "m"): EARLIEST_MS,
    }
    assert (made.unchanged, made.faults, made.replay_needed) == (1, (), False)


def test_what_is_stored_already_is_left_alone() -> None:
    for stored, wanted in (
        (OPEN_T, tenant("m")),
        (OPEN_T, tenant("m", BEGINNING_MS)),
        (OPEN_T, tenant("m", MARCH_MS)),
        (PLANNED_T, tenant("w")),
        (PLANNED_T, tenant("w", LATER_MS)),
        (PLANNED_T, tenant("w", LAST_MS)),
    ):
        made = plan(wanted, stored, TERMS)
        assert (made.changes, made.unchanged, made.faults) == ((), 1, ())


@pytest.mark.parametrize("from_ms", [BEGINNING_MS, MARCH_MS])
def test_a_begin_before_the_earliest_needs_leave_and_then_a_replay(from_ms: int) -> None:
    refused = plan(tenant("w", from_ms), OPEN_T, TERMS)
    assert "is before 2026-03-01T00:01:00Z" in messages(refused)["tenants.t"]
    allowed = plan(tenant("w", from_ms), OPEN_T, replace(TERMS, backdate=True))
    assert (allowed.faults, allowed.replay_needed) == ((), True)
    assert any("replay" in note for note in allowed.notes)
    kept = () if from_ms == BEGINNING_MS else (Version(("m", None), BEGINNING_MS, from_ms),)
    assert after(allowed, OPEN_T, "tenant", ("t",)) == (*kept, Version(("w", None), from_ms))


def test_a_planned_version_is_taken_back_or_replaced_without_leave() -> None:
    for wanted in (tenant("m"), tenant("m", EARLIEST_MS), tenant("m", LATER_MS), tenant(None), tenant(None, LATER_MS)):
        made = plan(wanted, PLANNED_T, TERMS)
        # It had not begun: nothing is counted by it.
        assert (made.faults, made.replay_needed) == ((), False)
        assert made.changes[0].replaced == (LATER_MS,)
        assert after(made, PLANNED_T, "tenant", ("t",))[-1].valid_to_ms == FOREVER_MS


def test_taking_a_planned_change_back_leaves_one_version() -> None:
    made = plan(tenant("m"), PLANNED_T, TERMS)
    assert after(made, PLANNED_T, "tenant", ("t",)) == (Version(("m", None)),)
    assert made.changes[0].fields == (("calendar_id", "w", "m"),)


def test_a_change_after_a_planned_one_is_planned_too() -> None:
    made = plan(tenant("m", LAST_MS), PLANNED_T, TERMS)
    assert made.faults == ()
    assert [one.valid_from_ms for one in after(made, PLANNED_T, "tenant", ("t",))] == [BEGINNING_MS, LATER_MS, LAST_MS]


def test_a_planned_change_can_be_brought_forward() -> None:
    made = plan(tenant("w", EARLIEST_MS), PLANNED_T, TERMS)
    assert made.faults == ()
    assert after(made, PLANNED_T, "tenant", ("t",)) == (
        Version(("m", None), BEGINNING_MS, EARLIEST_MS),
        Version(("w", None), EARLIEST_MS),
    )


def test_rows_a_file_does_not_name_stay_and_are_closed_when_pruned() -> None:
    plain = (None, None, None)
    stored = of(
        calendar=CALENDARS, tenant={("t",): (Version(("m", None)),), ("other",): (Version(("w", None)),)},
        customer={("t", "a"): (Version(plain),), ("t", "b"): (Version(plain),), ("other", "a"): (Version(plain),)},
        meter={(None, "m"): (Version(SUM),), ("t", "m"): (Version(SUM),), ("other", "m"): (Version(SUM),)},
    )  # fmt: skip
    wanted = {**tenant("m"), "customer": [Row(("t", "a"), plain)], "calendar": [Row(("m",), MONTH)]}
    assert plan(wanted, stored, TERMS).changes == ()
    made = plan(wanted, stored, replace(TERMS, prune=True))
    own = {("customer", "t", "b", "closed", EARLIEST_MS), ("meter", "t", "m", "closed", EARLIEST_MS)}
    assert {(one.table, *one.key, one.kind, one.valid_from_ms) for one in made.changes} == own
    assert after(made, stored, "customer", ("t", "b")) == (Version(plain, BEGINNING_MS, EARLIEST_MS),)
    assert (made.unchanged, made.faults) == (3, ())

    whole = plan(wanted, stored, replace(TERMS, prune=True, all_tenants=True))
    assert {(one.table, *one.key, one.kind, one.valid_from_ms) for one in whole.changes} == own | {
        ("calendar", "w", "closed", EARLIEST_MS),
        ("tenant", "other", "closed", EARLIEST_MS),
        ("customer", "other", "a", "closed", EARLIEST_MS),
        ("meter", None, "m", "closed", EARLIEST_MS),
        ("meter", "other", "m", "closed", EARLIEST_MS),
    }


def test_pruning_the_past_needs_leave_and_a_planned_version_does_not() -> None:
    whole = replace(TERMS, prune=True, all_tenants=True)
    past = plan(wants(), OPEN_T, replace(whole, default_ms=MARCH_MS))
    assert "is before" in messages(past)["tenant t"]
    planned = plan(wants(calendar=[Row(("m",), MONTH), Row(("w",), WEEK)]), PLANNED_T, whole)
    assert (planned.faults, planned.changes[0].replaced) == ((), (LATER_MS,))


def test_another_catalog_backdated_to_the_beginning_leaves_nothing_of_the_first() -> None:
    #   m: beginning -- sum --| later |-- closed; t: m, then w
    stored = of(
        calendar=CALENDARS, tenant=PLANNED_T["tenant"], meter={(None, "m"): (Version(SUM, BEGINNING_MS, LATER_MS),)}
    )
    wanted = {**tenant(None, BEGINNING_MS), "meter": [Row((None, "m"), MAX, valid_from_ms=BEGINNING_MS)]}
    made = plan(wanted, stored, replace(TERMS, backdate=True, prune=True, all_tenants=True, default_ms=BEGINNING_MS))
    assert made.faults == ()
    left = {(table, key): after(made, stored, table, key) for table in TABLES for key in stored[table]}
    assert left == {
        ("calendar", ("m",)): (),
        ("calendar", ("w",)): (),
        ("tenant", ("t",)): (Version((None, None)),),
        ("meter", (None, "m")): (Version(MAX),),
    }


@pytest.mark.parametrize(
    ("stored", "wanted"), [((None, "m"), (None, "m")), ((None, "m"), ("t", "m")), (("t", "m"), (None, "m"))]
)
def test_the_aggregation_of_a_meter_never_changes(stored: Key, wanted: Key) -> None:
    # Closed, but what it counted is still read by its name.
    before = of(tenant={("t",): (Version((None, None)),)}, meter={stored: (Version(SUM, BEGINNING_MS, MARCH_MS),)})
    made = plan(wants(meter=[Row(wanted, MAX, path="meters.m")]), before, replace(TERMS, backdate=True))
    assert "max differs from sum" in messages(made)["meters.m.aggregation"]


def test_the_unit_of_time_of_a_weighted_sum_never_changes() -> None:
    hours, days = (((*SUM[:1], "weighted_sum", *SUM[2:8], per, *SUM[9:])) for per in ("hour", "day"))
    before = of(meter={(None, "m"): (Version(hours),)})
    made = plan(wants(meter=[Row((None, "m"), days, path="meters.m")]), before, TERMS)
    assert "day differs from hour" in messages(made)["meters.m.per"]


def test_meters_of_two_tenants_may_differ() -> None:
    before = of(meter={("other", "m"): (Version(SUM),)})
    assert plan(wants(meter=[Row(("t", "m"), MAX)]), before, TERMS).faults == ()


def test_a_calendar_holds_wherever_it_is_named() -> None:
    late = of(calendar={("c",): (Version(MONTH, LATER_MS),), ("closed",): (Version(MONTH, BEGINNING_MS, MARCH_MS),)})
    assert "from 2026-03-01T01:00:00Z on only" in messages(plan(tenant("c"), late, TERMS))["tenants.t.calendar"]
    assert plan(tenant("c", LATER_MS), late, TERMS).faults == ()
    assert "is closed" in messages(plan(tenant("closed", LATER_MS), late, TERMS))["tenants.t.calendar"]
    pruned = plan(tenant("m"), OPEN_T, replace(TERMS, prune=True, all_tenants=True))
    assert "is closed" in messages(pruned)["tenants.t.calendar"]


def test_a_list_of_boundaries_that_ends_soon_is_named() -> None:
    def notes(last: str) -> tuple[str, ...]:
        listed = (None, None, "Europe/Berlin", ("2026-01-01", last))
        return plan(wants(calendar=[Row(("c",), listed)]), of(), TERMS).notes

    assert notes("2026-05-01") == (
        "calendar c ends at 2026-04-30T22:00:00Z: later events have no period and are rejected.",
    )
    assert notes("2027-01-01") == ()


def customers(*names: str) -> dict[str, list[Row]]:
    return wants(customer=[Row(("t", name), (None, None, None), path=f"tenants.t.customers.{name}") for name in names])


COMPOSED, DECOMPOSED = "caf\u00e9", "cafe\u0301"


@pytest.mark.parametrize(
    ("known", "named"), [((), (COMPOSED, DECOMPOSED)), ((DECOMPOSED,), (COMPOSED,)), ((COMPOSED,), (DECOMPOSED,))]
)
def test_customers_that_differ_only_by_normalisation_are_named(known: tuple[str, ...], named: tuple[str, ...]) -> None:
    stored = of(
        tenant={("t",): (Version((None, None)),)}, customer={("t", one): (Version((None, None) * 3),) for one in known}
    )
    warnings = plan(customers(*named), stored, TERMS).warnings
    assert len(warnings) == len(named)
    assert "U+00E9" in warnings[0]
    assert "U+0301" in warnings[0]
    assert "normalisation" in warnings[0]


def test_other_customers_are_not_named() -> None:
    stored = of(tenant={("t",): (Version((None, None)),)}, customer={("t", COMPOSED): (Version((None, None) * 3),)})
    assert plan(customers(COMPOSED, "cafe", "caf\u00e8"), stored, TERMS).warnings == ()


# --- properties -------------------------------------------------------------------------------------------------------

INSTANTS = st.sampled_from([BEGINNING_MS, *(MARCH_MS + minute * MINUTE_MS for minute in range(-3, 6))])
VALUES = st.sampled_from([("a", None), ("b", None), ("c", None)])


@st.composite
def timelines(draw: st.DrawFn) -> Timeline:
    bounds = [*sorted(draw(st.sets(INSTANTS, max_size=5))), FOREVER_MS]
    pieces = [Version(draw(VALUES), start, end) for start, end in pairwise(bounds)]
    return tuple(one for one in pieces if draw(st.booleans()))


def value_at(timeline: Timeline, ms: int) -> tuple[object, ...] | None:
    return next((one.values for one in timeline if one.valid_from_ms <= ms < one.valid_to_ms), None)


@given(timelines(), VALUES, INSTANTS, st.integers(-4, 8))
def test_a_row_has_its_new_values_from_its_start_and_the_old_ones_before(
    timeline: Timeline, values: tuple[Any, ...], from_ms: int, minute: int
) -> None:
    stored = of(calendar={(name,): (Version(MONTH),) for name in "abc"}, tenant={("t",): timeline} if timeline else {})
    made = plan(tenant(values[0], from_ms), stored, replace(TERMS, backdate=True))
    then = after(made, stored, "tenant", ("t",))
    at_ms = MARCH_MS + minute * MINUTE_MS
    assert value_at(then, at_ms) == (values if at_ms >= from_ms else value_at(timeline, at_ms))
    assert all(one.valid_from_ms < one.valid_to_ms for one in then)
    assert all(one.valid_to_ms <= two.valid_from_ms for one, two in pairwise(then))
    # Applied again it changes nothing.
    again = of(calendar=stored["calendar"], tenant={("t",): then})
    assert plan(tenant(values[0], from_ms), again, TERMS).changes == ()


@given(timelines(), st.none() | VALUES, INSTANTS)
def test_the_first_difference_is_one_and_nothing_differs_before(
    timeline: Timeline, values: tuple[Any, ...] | None, from_ms: int
) -> None:
    at_ms = first_difference(timeline, from_ms, values)
    assert at_ms == FOREVER_MS or value_at(timeline, at_ms) != values
    for ms in (MARCH_MS + minute * MINUTE_MS for minute in range(-4, 7)):
        assert value_at(timeline, ms) == values or not from_ms <= ms < at_ms


@given(timelines())
def test_a_row_is_open_since_the_end_of_its_last_gap(timeline: Timeline) -> None:
    since_ms = open_since(timeline)
    for ms in (MARCH_MS + minute * MINUTE_MS for minute in range(-4, 7)):
        assert value_at(timeline, ms) is not None or ms < since_ms
    assert since_ms in {*(one.valid_from_ms for one in timeline), FOREVER_MS}
