"""Periods of a customer whose calendar changes: cut at the change and nowhere else, no gap, no overlap."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.strategies import DAY_MS, MINUTE_MS, ms_of
from udfs.calendars.calendar import UTC_MONTH, CalendarError, NoPeriodError, Period, parse_calendar
from udfs.calendars.cuts import CutCalendar
from udfs.catalog.index import Account, CalendarMissingError, CatalogIndex
from udfs.catalog.model import CalendarDef, CatalogSnapshot, Customer, Tenant
from udfs.meters.meter import BEGINNING_MS, FOREVER_MS

START_MS, RANGE_MS = ms_of("2024-01-01T00:00:00Z"), 50 * DAY_MS

# Anchor, interval, time zone, boundaries; two are the same in other words, one is what no calendar at all means.
WEEKS = ("2024-01-01", "P1W", "UTC", ())
WEEKS_AGAIN = ("2024-01-01T00:00:00", "P1W", "UTC", ())
NEW_YORK_DAYS = (None, "P1D", "America/New_York", ())
UTC_MONTHS = (None, "P1M", "UTC", ())
LISTED = (None, None, "Asia/Kolkata", ("2024-01-05", "2024-01-19", "2024-02-16T06:30"))
BROKEN = ("2024-01-01", "P1M", "Mars/Olympus", ())
RULES = [WEEKS, WEEKS_AGAIN, NEW_YORK_DAYS, UTC_MONTHS, LISTED, BROKEN]
NAMES = ["a", "b", "nowhere"]

Rule = tuple[str | None, str | None, str, tuple[str, ...]]
# A value with the event times [start, end) it holds for.
Held = tuple[object, int, int]


def calendar_def(name: str, rule: Rule, start_ms: int = BEGINNING_MS, end_ms: int = FOREVER_MS) -> CalendarDef:
    anchor, interval, timezone, boundaries = rule
    return CalendarDef(
        name, anchor=anchor, interval=interval, timezone=timezone, boundaries=boundaries,
        valid_from_ms=start_ms, valid_to_ms=end_ms,
    )  # fmt: skip


def account(
    customers: Iterable[Customer] = (), tenants: Iterable[Tenant] = (), calendars: Iterable[CalendarDef] = ()
) -> Account:
    return Account("acme", tuple(customers), CatalogIndex(CatalogSnapshot(1, tuple(tenants), (), tuple(calendars))))


def period_at(customer: Account, ms: int) -> Period | type[Exception]:
    """The period of an instant, or the kind of error it raises; the stamp must say the same."""
    try:
        calendar = customer.calendar_at(ms)
        found = calendar.period_at(ms)
    except (CalendarMissingError, CalendarError) as error:
        return type(error)
    fields = [str(one) for one in (ms - ms % MINUTE_MS, calendar.day_at(ms), found.start_ms, found.end_ms)]
    assert calendar.stamp_at(ms).split("\x1f") == fields
    assert calendar.stamp_at(ms).split("\x1f") == fields, "the same when it is remembered"
    return found


# --- a second implementation: look at every instant at which any version begins or ends -------------------------------


def history(values: st.SearchStrategy[object]) -> st.SearchStrategy[list[Held]]:
    """A value for all time, with up to three changes at any millisecond of the range."""
    return st.tuples(values, st.dictionaries(st.integers(0, RANGE_MS), values, max_size=3)).map(_spans)


def _spans(drawn: tuple[object, dict[int, object]]) -> list[Held]:
    first, changes = drawn
    bounds = [BEGINNING_MS, *(START_MS + at for at in sorted(changes)), FOREVER_MS]
    values = [first, *(changes[at] for at in sorted(changes))]
    return [(value, *bound) for value, bound in zip(values, pairwise(bounds), strict=True)]


@dataclass(frozen=True)
class World:
    """Versions of one customer, its tenant and two calendars; None is no version at all."""

    customers: list[Held]
    tenants: list[Held]
    calendars: dict[str, list[Held]]

    def account(self) -> Account:
        return account(
            [Customer("acme", "alice", value or None, *at) for value, *at in self.customers if value is not None],  # type: ignore[arg-type]
            [Tenant("acme", value or None, *at) for value, *at in self.tenants if value is not None],  # type: ignore[arg-type]
            [
                calendar_def(name, value, *at)  # type: ignore[arg-type]
                for name, held in self.calendars.items()
                for value, *at in held
                if value is not None
            ],
        )

    def rule_at(self, ms: int) -> Rule | None:
        name = held_at(self.customers, ms) or held_at(self.tenants, ms)
        rule = held_at(self.calendars.get(str(name), []), ms) if name else UTC_MONTHS
        return WEEKS if rule == WEEKS_AGAIN else rule  # type: ignore[return-value]

    def stretch_at(self, ms: int) -> tuple[int, int]:
        everything = [*self.customers, *self.tenants, *(one for held in self.calendars.values() for one in held)]
        bounds = sorted({bound for _, *span in everything for bound in span} | {BEGINNING_MS, FOREVER_MS})
        rule = self.rule_at(ms)
        start = max(one for one in bounds if one <= ms)
        while start != BEGINNING_MS and self.rule_at(start - 1) == rule:
            start = max(one for one in bounds if one < start)
        end = min(one for one in bounds if one > ms)
        while end != FOREVER_MS and self.rule_at(end) == rule:
            end = min(one for one in bounds if one > end)
        return start, end

    def period_at(self, ms: int) -> Period | type[Exception]:
        rule = self.rule_at(ms)
        if rule is None:
            return CalendarMissingError
        try:
            whole = parse_calendar(*rule).period_at(ms)
        except CalendarError as error:
            return type(error)
        start, end = self.stretch_at(ms)
        return Period(max(whole.start_ms, start), min(whole.end_ms, end))


def held_at(held: Sequence[Held], ms: int) -> object:
    return next((value for value, start, end in held if start <= ms < end), None)


# '' is a version that names no calendar.
names = st.sampled_from([None, "", *NAMES])
rules = st.sampled_from([*RULES, WEEKS, NEW_YORK_DAYS, None])
worlds = st.builds(
    World, history(names), history(names), st.fixed_dictionaries({"a": history(rules), "b": history(rules)})
)
moments = st.integers(START_MS - 40 * DAY_MS, START_MS + RANGE_MS + 40 * DAY_MS)


@given(worlds, st.lists(moments, min_size=1, max_size=8))
def test_a_period_is_the_calendars_as_far_as_the_calendar_stays_the_same(world: World, asked: list[int]) -> None:
    customer = world.account()
    for ms in asked:
        near = [ms, *(bound for bound in world.stretch_at(ms) if abs(bound) < FOREVER_MS)]
        for one in (moment + step for moment in near for step in (0, -1, 1)):
            assert period_at(customer, one) == world.period_at(one)


@given(worlds, st.lists(moments, max_size=4))
def test_cut_periods_tile_all_instants_that_have_a_calendar(world: World, asked_before: list[int]) -> None:
    customer = world.account()
    for ms in asked_before:
        period_at(customer, ms)
    ms, end_ms = START_MS - 5 * DAY_MS, START_MS + RANGE_MS + 5 * DAY_MS
    before: Period | None = None
    while ms < end_ms:
        found = period_at(customer, ms)
        if isinstance(found, Period):
            # The one before ended here, or there was none; both ends of this one agree on it.
            assert found.start_ms <= ms if before is None else found.start_ms == ms == before.end_ms
            assert period_at(customer, found.start_ms) == period_at(customer, found.end_ms - 1) == found
            before, ms = found, found.end_ms
        else:
            assert found == world.period_at(ms)
            before, ms = None, next_with_a_period(world, ms, end_ms)


def next_with_a_period(world: World, ms: int, end_ms: int) -> int:
    """The next instant at which a period may begin: where the calendar changes, or at the first listed boundary."""
    first_listed = ms_of("2024-01-05T00:00:00+05:30")
    return min(bound for bound in (world.stretch_at(ms)[1], first_listed, end_ms) if bound > ms)


# --- examples ---------------------------------------------------------------------------------------------------------

MARCH_10 = ms_of("2024-03-10T15:30:00Z")


def bounds(customer: Account, at: str) -> tuple[int, int]:
    found = customer.calendar_at(ms_of(at)).period_at(ms_of(at))
    return found.start_ms, found.end_ms


def test_a_customer_that_moves_to_another_calendar_ends_one_period_and_begins_another() -> None:
    # month  [ Mar 1 ─────────── Mar 10 15:30 )
    # week                       [ Mar 10 15:30 ── Mon Mar 11 )[ Mar 11 ── Mar 18 )
    customer = account(
        [Customer("acme", "alice", None, valid_to_ms=MARCH_10), Customer("acme", "alice", "weeks", MARCH_10)],
        [Tenant("acme")],
        [calendar_def("weeks", WEEKS)],
    )
    monday = ms_of("2024-03-11T00:00:00Z")
    assert bounds(customer, "2024-03-05T00:00:00Z") == (ms_of("2024-03-01T00:00:00Z"), MARCH_10)
    assert bounds(customer, "2024-03-10T15:29:59.999Z") == (ms_of("2024-03-01T00:00:00Z"), MARCH_10)
    assert bounds(customer, "2024-03-10T15:30:00Z") == (MARCH_10, monday)
    assert bounds(customer, "2024-03-11T00:00:00Z") == (monday, monday + 7 * DAY_MS)
    assert bounds(customer, "2024-02-05T00:00:00Z") == (ms_of("2024-02-01T00:00:00Z"), ms_of("2024-03-01T00:00:00Z"))


def test_a_customer_that_changes_its_zone_keeps_every_instant_in_one_period() -> None:
    # New York  [ Mar 1 05:00Z ── Mar 10 15:30Z )      Kolkata  [ Mar 10 15:30Z ── Mar 31 18:30Z )
    customer = account(
        [],
        [Tenant("acme", "local")],
        [
            calendar_def("local", (None, "P1M", "America/New_York", ()), end_ms=MARCH_10),
            calendar_def("local", (None, "P1M", "Asia/Kolkata", ()), start_ms=MARCH_10),
        ],
    )
    assert bounds(customer, "2024-03-10T00:00:00Z") == (ms_of("2024-03-01T05:00:00Z"), MARCH_10)
    assert bounds(customer, "2024-03-20T00:00:00Z") == (MARCH_10, ms_of("2024-03-31T18:30:00Z"))
    assert customer.calendar_at(MARCH_10 - 1).day_at(MARCH_10 - 1) == "2024-03-10"
    assert customer.calendar_at(MARCH_10).day_at(ms_of("2024-03-10T18:30:00Z")) == "2024-03-11"


def test_a_tenant_that_changes_its_default_cuts_the_periods_of_those_on_it_alone() -> None:
    tenants = [Tenant("acme", None, valid_to_ms=MARCH_10), Tenant("acme", "weeks", MARCH_10)]
    calendars = [calendar_def("weeks", WEEKS), calendar_def("days", NEW_YORK_DAYS)]
    assert bounds(account((), tenants, calendars), "2024-03-10T00:00:00Z")[1] == MARCH_10
    own_calendar = account([Customer("acme", "alice", "days")], tenants, calendars)
    assert bounds(own_calendar, "2024-03-10T15:30:00Z") == (
        ms_of("2024-03-10T05:00:00Z"), ms_of("2024-03-11T04:00:00Z"),
    )  # fmt: skip


@pytest.mark.parametrize("rule", [WEEKS, WEEKS_AGAIN])
def test_versions_that_leave_the_rule_as_it_was_cut_nothing(rule: Rule) -> None:
    # tenant    ── weeks ──┤ Mar 10: a new version, the same default ├──
    # calendar  ── weeks ──────┤ Mar 13: the same rule, once in other words ├──
    # customer  ── on it ───────────┤ Mar 16: on "other", the same rule by another name ├──
    tenth, thirteenth, sixteenth = MARCH_10, MARCH_10 + 3 * DAY_MS, MARCH_10 + 6 * DAY_MS
    customer = account(
        [Customer("acme", "alice", "other", sixteenth)],
        [Tenant("acme", "weeks", valid_to_ms=tenth), Tenant("acme", "weeks", tenth)],
        [
            calendar_def("weeks", WEEKS, end_ms=thirteenth),
            calendar_def("weeks", rule, start_ms=thirteenth),
            calendar_def("other", rule),
        ],
    )
    asked = [sixteenth, tenth, thirteenth, tenth - DAY_MS]
    found = [customer.calendar_at(ms).period_at(ms) for ms in asked]
    assert [one.end_ms - one.start_ms for one in found] == [7 * DAY_MS] * 4
    assert not isinstance(customer.calendar_at(tenth), CutCalendar)


def test_a_calendar_that_is_missing_for_a_while_raises_then_alone_and_cuts_around_it() -> None:
    # weeks  [ Mar 4 ─── Mar 10 15:30 )   nothing   [ Mar 12 15:30 ── Mar 18 )
    back = MARCH_10 + 2 * DAY_MS
    calendars = [calendar_def("weeks", WEEKS, end_ms=MARCH_10), calendar_def("weeks", WEEKS, start_ms=back)]
    customer = account([], [Tenant("acme", "weeks")], calendars)
    assert bounds(customer, "2024-03-10T00:00:00Z") == (ms_of("2024-03-04T00:00:00Z"), MARCH_10)
    assert bounds(customer, "2024-03-13T00:00:00Z") == (back, ms_of("2024-03-18T00:00:00Z"))
    for ms in (MARCH_10, back - 1):
        with pytest.raises(CalendarMissingError, match="weeks"):
            customer.calendar_at(ms)


def test_a_list_that_ends_before_the_next_calendar_begins_leaves_only_what_it_does_not_hold() -> None:
    # listed  [ Jan 5 ── Jan 19 )[ Jan 19 ── Feb 16 )   nothing   weeks from Mar 10 on
    customer = account(
        [Customer("acme", "alice", "listed", valid_to_ms=MARCH_10), Customer("acme", "alice", "weeks", MARCH_10)],
        [Tenant("acme")],
        [calendar_def("weeks", WEEKS), calendar_def("listed", LISTED)],
    )
    end = ms_of("2024-02-16T01:00:00Z")
    assert bounds(customer, "2024-02-16T00:59:59.999Z") == (ms_of("2024-01-18T18:30:00Z"), end)
    for ms in (end, MARCH_10 - 1):
        with pytest.raises(NoPeriodError, match="in no period"):
            customer.calendar_at(ms).stamp_at(ms)
    assert bounds(customer, "2024-03-10T15:30:00Z")[0] == MARCH_10


def test_customers_whose_calendar_never_changes_share_it_with_all_that_it_remembers() -> None:
    index = CatalogIndex(CatalogSnapshot(1, [Tenant("acme", "weeks")], (), [calendar_def("weeks", WEEKS)]))
    first, second = (Account("acme", [Customer("acme", name)], index) for name in ("alice", "bob"))
    assert first.calendar_at(MARCH_10) is second.calendar_at(0)
    assert Account("nobody", (), index).calendar_at(0) is UTC_MONTH


def test_a_cut_calendar_has_no_period_outside_of_what_it_holds_for() -> None:
    cut = CutCalendar(parse_calendar(*WEEKS), MARCH_10, MARCH_10 + 20 * DAY_MS)
    for ms in (MARCH_10 - 1, MARCH_10 + 20 * DAY_MS):
        for ask in (cut.period_at, cut.stamp_at):
            with pytest.raises(ValueError, match="outside"):
                ask(ms)
