"""Which billing periods a plan cuts, and what an apply asks for."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.catalog.test_merge import METER, TERMS, Tables, applied, plan_of
from tidemark.catalog.confirmations import confirmations
from tidemark.catalog.cuts import Cut, cuts
from tidemark.catalog.timeline import Change
from udfs.calendars.calendar import UTC_MONTH, BillingCalendar, parse_calendar
from udfs.calendars.cuts import CutCalendar
from udfs.catalog.index import Account, CatalogIndex
from udfs.catalog.model import CalendarDef, CatalogSnapshot, Customer, Tenant

CALENDARS = {
    "month": {"interval": "P1M", "timezone": "Europe/Berlin"},
    "same": {"anchor": "2000-01-01", "interval": "P1M", "timezone": "Europe/Berlin"},
    "mid": {"anchor": "2024-01-15", "interval": "P1M", "timezone": "UTC"},
    "week": {"interval": "P1W", "timezone": "UTC"},
    "ended": {"boundaries": ["2025-01-01", "2026-01-01"], "timezone": "UTC"},
}
AT = "2026-11-28T13:25:00Z"


def stored() -> Tables:
    customers: dict[str, Any] = {
        "hooli": {"calendar": "mid", "plan": "pro"}, "initech": {}, "own": {"calendar": "week"},
        "late": {"calendar": "ended"},
    }  # fmt: skip
    return applied(
        {
            "calendars": CALENDARS,
            "tenants": {
                "acme": {"calendar": "month", "customers": customers, "plans": {"pro": {}}},
                "plain": {"customers": {"x": None}},
            },
            "meters": {"m": METER},
        }
    )


def customer(name: str, calendar: str | None, at: str = AT) -> dict[str, Any]:
    return {"tenants": {"acme": {"customers": {name: {"calendar": calendar, "valid_from": at}}}}}


def cut_by(content: dict[str, Any], *unused: str) -> tuple[Cut, ...]:
    before = stored()
    return cuts(plan_of(content, before).changes, before, {("acme", name) for name in unused})


@pytest.mark.parametrize(
    ("content", "texts"),
    [
        (
            customer("hooli", "month"),
            ["customer acme/hooli: the period 2026-11-15..2026-12-15 is cut on 2026-11-28 13:25 (UTC)"],
        ),
        (
            customer("hooli", None),
            ["customer acme/hooli: the period 2026-11-15..2026-12-15 is cut on 2026-11-28 13:25 (UTC)"],
        ),
        (
            customer("unnamed", "week"),
            ["customer acme/unnamed: the period 2026-11-01..2026-12-01 is cut on 2026-11-28 14:25 (Europe/Berlin)"],
        ),
        # On a boundary of the old calendar nothing of its is cut; the first period of the new one begins late.
        (
            customer("hooli", "week", "2026-12-15T00:00:00Z"),
            ["customer acme/hooli: the period 2026-12-14..2026-12-21 begins on 2026-12-15 only (UTC)"],
        ),
        (customer("own", "mid", "2026-06-15T00:00:00Z"), []),
        # The same rule under another name.
        (customer("initech", "same"), []),
        (customer("unnamed", "month"), []),
        (customer("late", "week"), []),
        ({"tenants": {"acme": {"customers": {"hooli": {"plan": None}}, "meters": {"n": METER}}}}, []),
        ({"tenants": {"new": {"calendar": "week", "customers": {"a": {"calendar": "mid"}}}}}, []),
        (
            {"tenants": {"acme": {"calendar": "week", "valid_from": AT}}},
            [
                (
                    "tenant acme, every customer on its default calendar, 1 of them in the catalog (initech): the "
                    "period 2026-11-01..2026-12-01 is cut on 2026-11-28 14:25 (Europe/Berlin)"
                )
            ],
        ),
        (
            {"tenants": {"plain": {"calendar": "week", "valid_from": AT}}},
            [
                (
                    "tenant plain, every customer on its default calendar, 1 of them in the catalog (x): the period "
                    "2026-11-01..2026-12-01 is cut on 2026-11-28 13:25 (UTC)"
                )
            ],
        ),
        (
            {"calendars": {"mid": {"anchor": "2024-01-16", "valid_from": AT}}},
            ["customer acme/hooli: the period 2026-11-15..2026-12-15 is cut on 2026-11-28 13:25 (UTC)"],
        ),
        ({"calendars": {"same": {"anchor": "2024-01-16", "valid_from": AT}}}, []),
    ],
)
def test_a_cut_is_named_with_its_period_in_local_time(content: dict[str, Any], texts: list[str]) -> None:
    assert [one.text for one in cut_by(content)] == texts


def test_a_customer_without_usage_has_nothing_to_cut() -> None:
    assert cut_by(customer("unnamed", "week"), "unnamed") == ()


def test_many_customers_of_one_period_are_one_line() -> None:
    names = {f"c-{number}": {"calendar": "week", "valid_from": AT} for number in range(1_500)}
    (cut,) = cut_by({"tenants": {"acme": {"customers": names}}})
    assert cut.text.startswith("tenant acme, 1,500 customers (c-0, c-1, c-10, …): the period 2026-11-01..2026-12-01")


def test_a_planned_cut_is_named_once_and_its_end_is_not_a_cut() -> None:
    before = stored()
    after = applied(customer("hooli", "month"), before)
    taken_back = plan_of({"tenants": {"acme": {"customers": {"hooli": {"calendar": "mid"}}}}}, after)
    assert (len(taken_back.changes), cuts(taken_back.changes, after)) == (1, ())
    other = plan_of(customer("hooli", "week"), after)
    # It is cut at that instant already.
    assert cuts(other.changes, after) == ()


@pytest.mark.parametrize("name", ["hooli", "initech", "own", "unnamed"])
@pytest.mark.parametrize("calendar", ["month", "same", "mid", "week", None])
@pytest.mark.parametrize("at", [AT, "2026-12-01T00:00:00Z", "2026-11-30T23:00:00Z"])
def test_cuts_are_those_that_usage_is_counted_by(name: str, calendar: str | None, at: str) -> None:
    before = stored()
    content = customer(name, calendar, at)
    after = applied(content, before)
    cut = cuts(plan_of(content, before).changes, before)

    def account(tables: Tables) -> Account:
        index = CatalogIndex(
            CatalogSnapshot(
                1,
                [
                    Tenant(*key, v.values[0], v.valid_from_ms, v.valid_to_ms)
                    for key, one in tables["tenant"].items()
                    for v in one
                ],
                [],
                [
                    CalendarDef(*key, *v.values[:3], v.valid_from_ms, v.valid_to_ms, v.values[3])
                    for key, one in tables["calendar"].items()
                    for v in one
                ],
            )
        )
        versions = tables["customer"].get(("acme", name), ())
        return Account(
            "acme", [Customer("acme", name, v.values[0], v.valid_from_ms, v.valid_to_ms) for v in versions], index
        )

    def whole(calendar: BillingCalendar, ms: int) -> bool:
        """Whether the period at an instant is as long as its calendar has it."""
        uncut = calendar.calendar if isinstance(calendar, CutCalendar) else calendar
        return calendar.period_at(ms) == uncut.period_at(ms)

    moved = [change for change in plan_of(content, before).changes if change.table == "customer"]
    at_ms = moved[0].valid_from_ms if moved else 0
    counted = account(after)
    is_cut = bool(moved) and not all(whole(counted.calendar_at(ms), ms) for ms in (at_ms - 1, at_ms))
    assert bool(cut) == is_cut


def change(table: str, key: tuple[str, ...], kind: Any, old: Any = None, new: Any = None) -> Change:
    return Change(table, key, kind, TERMS.earliest_ms, old=old, new=new, begin_ms=TERMS.earliest_ms)


def test_an_apply_asks_for_cuts_first_then_defaults_then_what_it_prunes() -> None:
    before = stored()
    made = [
        change("usage_limit", ("acme", "tenant", "", "m"), "closed", old=("5", "soft", (), "fail_open")),
        *(change("customer", ("acme", f"c-{number}"), "closed", old=(None, None, None)) for number in range(4)),
        *plan_of({"tenants": {"acme": {"calendar": None}}}, before).changes,
    ]
    texts = [confirmation.text for confirmation in confirmations(made, cuts(made[-1:], before), prune=True)]
    assert "is cut on" in texts[0]
    assert texts[1] == (
        "tenant acme: its default calendar becomes the calendar month in UTC instead of month from "
        "2026-03-01T00:01:00Z on"
    )
    assert texts[2] == (
        "--prune closes 5 entries: 1 of usage_limit (acme/tenant/*/m); 4 of customer (acme/c-0, acme/c-1, acme/c-2, …)"
    )
    assert [confirmation.text for confirmation in confirmations(made[:1], (), prune=False)] == []
    assert parse_calendar(None, "P1M", "UTC") == UTC_MONTH
