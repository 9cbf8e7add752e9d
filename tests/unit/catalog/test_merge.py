"""A file merged with what is stored: absent keys stay, null clears, and what is stored is written as a file again."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidemark.catalog import exported
from tidemark.catalog.check_limits import Known
from tidemark.catalog.checked import planned
from tidemark.catalog.file import TABLES, CatalogFile, Key, in_memory
from tidemark.catalog.plan import Plan
from tidemark.catalog.plan_faults import Terms
from tidemark.catalog.text import parse
from tidemark.catalog.timeline import Timeline, Version, changed_timeline, values_at
from tidemark.core.errors import UsageError
from udfs.calendars.calendar import MINUTE_MS
from udfs.meters.meter import BEGINNING_MS, FOREVER_MS

MARCH_MS = 1_772_323_200_000  # 2026-03-01T00:00:00Z
TERMS = Terms(now_ms=MARCH_MS + 12_345)
EARLIEST_MS = MARCH_MS + MINUTE_MS
APRIL, APRIL_MS = "2026-04-01T00:00:00Z", 1_775_001_600_000
MAY, MAY_MS = "2026-05-01T00:00:00Z", 1_777_593_600_000
FIRST = replace(TERMS, first=True)
Tables = dict[str, dict[Key, Timeline]]

METER = {"event_types": ["call"], "aggregation": "sum", "unit": "u"}
FULL: dict[str, Any] = {
    "calendars": {
        "month": {"anchor": "2024-01-15", "interval": "P1M", "timezone": "Europe/Berlin"},
        "week": {"interval": "P1W", "timezone": "UTC"},
        "listed": {"boundaries": ["2026-01-01", "2027-01-01"], "timezone": "UTC"},
    },
    "tenants": {
        "acme": {
            "calendar": "month",
            "limits": {"tokens": {"cap": 10, "mode": "hard", "thresholds": ["50%"]}},
            "plans": {"pro": {"limits": {"tokens": {"cap": 100, "when_unknown": "fail_closed"}}}},
            "customers": {
                "hooli": {"calendar": "week", "plan": "pro", "revenue_weight": "0.5", "limits": {"tokens": {"cap": 7}}},
                "initech": {"plan": "bare"},
            },
            "meters": {"own": {**METER, "aggregation": "count"}},
        }
    },
    "meters": {
        "tokens": {**METER, "value": "n", "group_by": ["model"], "filter": {"property": "paid", "eq": True}},
        "disk": {**METER, "aggregation": "weighted_sum", "per": "day", "on_missing": "skip"},
    },
    "alerts": {
        "receivers": {
            "oncall": {"kind": "pagerduty", "url": "https://e.example", "secret_file": "KEY", "daily_budget": 5}
        },
        "routes": {"all": {"receivers": ["oncall"], "severities": ["critical"], "tenants": ["acme"]}},
        "suppressions": {"quiet": {"types": ["limit.*"], "customers": ["hooli"], "reason": "asked"}},
        "maintenance": {"up": {"from": APRIL, "until": MAY, "types": ["pipeline.*"], "reason": "db"}},
    },
}
FULL["tenants"]["acme"]["plans"]["bare"] = {}


def known(stored: Tables) -> Known:
    """What `tidemark.catalog.rows.known` reads of a database that holds these versions."""

    def open_rows(table: str) -> list[tuple[Key, tuple[Any, ...]]]:
        return [
            (key, one[-1].values) for key, one in stored[table].items() if one and one[-1].valid_to_ms == FOREVER_MS
        ]

    meters: Any = {key: values[1] for key, values in open_rows("meter")}
    plans: Any = {(key[0], key[2]) for key, _ in open_rows("usage_limit") if key[1] == "plan"}
    receivers: Any = {key[1] for key, _ in open_rows("alert_policy") if key[0] == "receiver"}
    return Known(meters=meters, plans=plans, receivers=receivers)


def plan_of(content: Any, stored: Tables, terms: Terms = TERMS) -> Plan:
    return planned(
        CatalogFile(content), Path("catalog.yaml"), terms, longest_period_days=400, stored=stored, known=known(stored)
    )


def applied(content: Any, stored: Tables | None = None, terms: Terms = TERMS) -> Tables:
    """The versions after an apply, which must not be refused."""
    before = {table: {} for table in TABLES} if stored is None else stored
    made = plan_of(content, before, terms)
    assert made.faults == ()
    after: Tables = {table: dict(timelines) for table, timelines in before.items()}
    for change in made.changes:
        after[change.table][change.key] = changed_timeline(after[change.table].get(change.key, ()), change)
    return after


def stored_full() -> Tables:
    return applied(FULL, terms=FIRST)


def values(stored: Tables, table: str, *key: str | None, at_ms: int = MAY_MS) -> dict[str, Any]:
    found = values_at(stored[table][key], at_ms)
    assert found is not None
    return dict(zip(TABLES[table][1], found, strict=True))


# --- absent and null --------------------------------------------------------------------------------------------------


def test_a_file_that_adds_a_meter_and_a_limit_leaves_the_tenant_and_its_customers_as_they_are() -> None:
    content = {
        "tenants": {
            "acme": {
                "meters": {"errors": {**METER, "aggregation": "count"}},
                "customers": {"hooli": {"limits": {"own": {"cap": 3}}}, "initech": None},
            }
        }
    }
    made = plan_of(content, stored_full())
    assert [(one.table, one.kind) for one in made.changes] == [("meter", "added"), ("usage_limit", "added")]
    assert (made.faults, made.replay_needed) == ((), False)


PARTIAL: list[tuple[dict[str, Any], tuple[Any, ...], dict[str, Any]]] = [
    ({"tenants": {"acme": {"calendar": None}}}, ("tenant", "acme"), {"calendar_id": None}),
    ({"tenants": {"acme": {"customers": {"hooli": {"plan": None}}}}}, ("customer", "acme", "hooli"), {"plan": None}),
    (
        {"tenants": {"acme": {"customers": {"hooli": {"calendar": None, "revenue_weight": None}}}}},
        ("customer", "acme", "hooli"),
        {"calendar_id": None, "revenue_weight": None},
    ),
    (
        {"tenants": {"acme": {"limits": {"tokens": {"cap": 11}}}}},
        ("usage_limit", "acme", "tenant", "", "tokens"),
        {"cap": "11"},
    ),
    (
        {"tenants": {"acme": {"limits": {"tokens": {"thresholds": None}}}}},
        ("usage_limit", "acme", "tenant", "", "tokens"),
        {"thresholds": ("80%",)},
    ),
    # The answer when the usage is not known follows the mode, unless it was stated.
    (
        {"tenants": {"acme": {"limits": {"tokens": {"mode": "soft"}}}}},
        ("usage_limit", "acme", "tenant", "", "tokens"),
        {"mode": "soft", "on_unknown": "fail_open"},
    ),
    (
        {"tenants": {"acme": {"plans": {"pro": {"limits": {"tokens": {"cap": 9}}}}}}},
        ("usage_limit", "acme", "plan", "pro", "tokens"),
        {"cap": "9"},
    ),
    ({"meters": {"tokens": {"unit": "t"}}}, ("meter", None, "tokens"), {"unit": "t"}),
    (
        {"meters": {"tokens": {"filter": None, "group_by": None, "value": None}}},
        ("meter", None, "tokens"),
        {"filter": "", "group_by": (), "value": "quantity"},
    ),
    ({"calendars": {"month": {"timezone": "UTC"}}}, ("calendar", "month"), {"timezone": "UTC"}),
    ({"calendars": {"month": {"anchor": None}}}, ("calendar", "month"), {"anchor": None}),
    (
        {"calendars": {"month": {"boundaries": ["2026-01-01", "2027-01-01"]}}},
        ("calendar", "month"),
        {"anchor": None, "interval": None, "boundaries": ("2026-01-01", "2027-01-01")},
    ),
    ({"calendars": {"listed": {"interval": "P1M"}}}, ("calendar", "listed"), {"interval": "P1M", "boundaries": ()}),
]


@pytest.mark.parametrize(("content", "row", "changed"), PARTIAL)
def test_only_the_keys_that_are_named_change(
    content: dict[str, Any], row: tuple[Any, ...], changed: dict[str, Any]
) -> None:
    before = stored_full()
    after = applied(content, before)
    table, *key = row
    assert values(after, table, *key) == values(before, table, *key) | changed
    assert {(table, tuple(key))} == {
        (name, one) for name in TABLES for one in after[name] if after[name][one] != before[name].get(one)
    }


def test_keys_of_an_alert_policy_stay_and_are_cleared() -> None:
    content = {
        "alerts": {
            "receivers": {"oncall": {"daily_budget": None}},
            "routes": {"all": {"severities": None}},
            "suppressions": {"quiet": {"reason": "asked again"}},
            "maintenance": {"up": {"until": "2026-06-01T00:00:00Z"}},
        }
    }
    found = {
        change.key: {name: new for name, _, new in change.fields} for change in plan_of(content, stored_full()).changes
    }
    assert found == {
        ("receiver", "oncall"): {"daily_budget": 20},
        ("route", "all"): {"severities": []},
        ("suppression", "quiet"): {"reason": "asked again"},
        ("maintenance", "up"): {"until": "2026-06-01T00:00:00Z"},
    }


def test_null_removes_a_limit_or_all_of_a_scope() -> None:
    content = {"tenants": {"acme": {"limits": {"tokens": None}, "customers": {"hooli": {"limits": None}}}}}
    changes = plan_of(content, stored_full()).changes
    assert {(one.key, one.kind, one.valid_from_ms) for one in changes} == {
        (("acme", "tenant", "", "tokens"), "closed", EARLIEST_MS),
        (("acme", "customer", "hooli", "tokens"), "closed", EARLIEST_MS),
    }
    assert plan_of({"tenants": {"acme": {"limits": {"own": None}}}}, stored_full()).changes == ()


def test_what_is_merged_is_checked_whole() -> None:
    for content, word in (
        ({"meters": {"tokens": {"per": "day"}}}, "only a weighted_sum"),
        ({"calendars": {"listed": {"anchor": "2026-01-01"}}}, "leave out anchor"),
        ({"alerts": {"receivers": {"oncall": {"secret_file": None}}}}, "pagerduty needs one"),
        ({"tenants": {"acme": {"limits": {"tokens": {"cap": None}}}}}, "`{cap: 5000}`"),
        ({"meters": {"new": {"unit": "u"}}}, "event_types: api_call"),
        ({"meters": {"disk": {"aggregation": "max"}}}, "only a weighted_sum"),
    ):
        with pytest.raises(UsageError, match=word):
            plan_of(content, stored_full())


def test_a_whole_catalog_clears_what_it_does_not_name() -> None:
    content: dict[str, Any] = copy.deepcopy(FULL)
    del content["tenants"]["acme"]["calendar"], content["meters"]["tokens"]["filter"], content["meters"]["disk"]
    made = plan_of(content, stored_full(), replace(TERMS, prune=True, all_tenants=True))
    assert [(one.table, one.kind) for one in made.changes] == [
        ("tenant", "changed"), ("meter", "changed"), ("meter", "closed"),
    ]  # fmt: skip


CLEARED: dict[str, Any] = {
    "calendars": {"c": {"anchor": None, "interval": "P1M", "timezone": "UTC", "boundaries": None}},
    "tenants": {
        "t": {
            "calendar": None,
            "customers": {"a": {"calendar": None, "plan": None, "revenue_weight": None, "limits": None}},
            "limits": {"m": {"cap": 5, "mode": None, "thresholds": None, "when_unknown": None}, "gone": None},
        }
    },
    "meters": {
        "m": {
            **METER,
            **dict.fromkeys(("value", "group_by", "filter", "on_missing", "per", "allow_negative")),
        }
    },
    "alerts": {
        "receivers": {"r": {"kind": "slack", "url": "https://e.example", "secret_file": None, "daily_budget": None}},
        "routes": {"r": {"receivers": ["r"], "types": None, "severities": None, "tenants": None}},
        "suppressions": {
            "s": {"reason": "x", "types": ["limit.*"], "tenants": None, "customers": None, "meters": None}
        },
        "maintenance": {"m": {"from": APRIL, "until": MAY, "types": None, "tenants": None, "reason": "x"}},
    },
}


def without_nulls(content: Any) -> Any:
    if not isinstance(content, dict):
        return content
    return {name: without_nulls(one) for name, one in content.items() if one is not None}


def test_null_of_a_new_entry_is_its_default() -> None:
    plain = without_nulls(CLEARED)
    for terms in (FIRST, replace(FIRST, prune=True, all_tenants=True)):
        assert applied(CLEARED, terms=terms) == applied(plain, terms=terms)
    assert in_memory(CatalogFile(CLEARED)) == in_memory(CatalogFile(plain))


# --- planned versions -------------------------------------------------------------------------------------------------


def moved(calendar: str, **more: Any) -> dict[str, Any]:
    return {"tenants": {"acme": {"customers": {"hooli": {"calendar": calendar, **more}}}}}


def test_a_planned_change_is_taken_back_by_the_old_file() -> None:
    before = stored_full()
    for planned_change in ({**moved("month"), "valid_from": APRIL}, moved("month", valid_from=APRIL, plan=None)):
        ahead = applied(planned_change, before)
        assert applied(FULL, ahead) == before


def test_a_planned_change_stays_under_a_file_that_does_not_name_what_it_changes() -> None:
    ahead = applied({**moved("month"), "valid_from": APRIL}, stored_full())
    after = applied({"tenants": {"acme": {"customers": {"hooli": {"plan": None}}}}}, ahead)
    plain = ("week", "pro", "0.5")
    assert after["customer"]["acme", "hooli"] == (
        Version(plain, BEGINNING_MS, EARLIEST_MS),
        Version(("week", None, "0.5"), EARLIEST_MS, APRIL_MS),
        Version(("month", None, "0.5"), APRIL_MS),
    )


def test_a_backdated_key_leaves_the_others_as_they_were_at_every_time() -> None:
    ahead = applied({**moved("month"), "valid_from": APRIL}, stored_full())
    terms = replace(TERMS, backdate=True)
    content = {"tenants": {"acme": {"customers": {"hooli": {"plan": None, "valid_from": "beginning"}}}}}
    assert applied(content, ahead, terms)["customer"]["acme", "hooli"] == (
        Version(("week", None, "0.5"), BEGINNING_MS, APRIL_MS),
        Version(("month", None, "0.5"), APRIL_MS),
    )


def test_an_entry_that_is_planned_only_needs_no_keys_that_are_planned() -> None:
    new = {"meters": {"later": {**METER, "valid_from": APRIL}}}
    ahead = applied(new, stored_full())
    after = applied({"meters": {"later": {"unit": "w", "valid_from": MAY}}}, ahead)
    assert [(one.values[4], one.valid_from_ms) for one in after["meter"][None, "later"]] == [
        ("u", APRIL_MS),
        ("w", MAY_MS),
    ]


# --- properties -------------------------------------------------------------------------------------------------------

NAMES = st.sampled_from(["a", "b", "true", "0o7", "1e3", "ü", "<<", "no", "x: y", "#z", "~", "2026-01-01"])
TEXTS = st.sampled_from(["p", "a.b", "yes", "0x1F", "404", "ä ö", "null", ".5", "-", "'", '"', "1_000"])
NUMBERS = st.integers(-(10**12), 10**12) | st.decimals(-1000, 1000, places=3)
OPERANDS = TEXTS | NUMBERS | st.booleans()
PATHS = st.sampled_from(["p", "a.b", "yes", "404", "ä"])


def keyed(required: dict[str, st.SearchStrategy[Any]], optional: dict[str, st.SearchStrategy[Any]]) -> Any:
    return st.fixed_dictionaries(required, optional=optional)


FILTERS = st.recursive(
    st.builds(lambda path, op, one: {"property": path, op: one}, PATHS, st.sampled_from(["eq", "ne"]), OPERANDS)
    | st.builds(lambda path, op, one: {"property": path, op: one}, PATHS, st.sampled_from(["gt", "lte"]), NUMBERS)
    | st.builds(lambda path, one: {"property": path, "in": one}, PATHS, st.lists(OPERANDS, min_size=1, max_size=3)),
    lambda inner: st.builds(
        lambda kind, one: {kind: one}, st.sampled_from(["all", "any"]), st.lists(inner, min_size=1, max_size=2)
    ),
    max_leaves=4,
)  # fmt: skip
LIMITS = keyed(
    {"cap": st.integers(0, 10**9) | st.sampled_from(["0.5", "100000.000000001"])},
    {
        "mode": st.sampled_from(["hard", "soft"]),
        "when_unknown": st.sampled_from(["fail_open", "fail_closed"]),
        "thresholds": st.lists(
            st.sampled_from(["50%", 5, "7.5", {"every": "10%"}, {"every": 3}]), unique_by=str, max_size=3
        ),
    },
)
LIMIT_GROUPS = st.dictionaries(st.sampled_from(["m1", "m2"]), LIMITS, max_size=2)
CALENDARS = st.sampled_from(["k1", "k2", "k3"])
CUSTOMERS = keyed(
    {},
    {"calendar": CALENDARS, "plan": NAMES.filter(lambda one: one.isalnum() and one.isascii()),
     "revenue_weight": st.sampled_from([0, 1, "0.25"]), "limits": LIMIT_GROUPS},
)  # fmt: skip
SUMS = keyed(
    {"event_types": st.lists(TEXTS, min_size=1, max_size=2, unique=True), "aggregation": st.just("sum"), "unit": TEXTS},
    {
        "value": PATHS, "group_by": st.lists(PATHS, max_size=2, unique=True), "filter": FILTERS,
        "on_missing": st.sampled_from(["reject", "skip"]), "allow_negative": st.booleans(),
    },
)  # fmt: skip


@st.composite
def catalogs(draw: st.DrawFn) -> dict[str, Any]:
    """A catalog without faults: meters m1 (of all tenants) and m2 (of each), calendars k1 to k3."""
    tenants = {}
    for tenant in draw(st.lists(NAMES, min_size=1, max_size=2, unique=True)):
        customers = draw(st.dictionaries(NAMES, CUSTOMERS, max_size=3))
        plans: dict[str, Any] = {one["plan"]: {} for one in customers.values() if "plan" in one}
        plans |= {name: {"limits": draw(LIMIT_GROUPS)} for name in [*plans][:1]}
        own = draw(keyed({}, {"calendar": CALENDARS, "limits": LIMIT_GROUPS}))
        tenants[tenant] = {**own, "customers": customers, "plans": plans, "meters": {"m2": draw(SUMS)}}
    return {
        "calendars": {
            "k1": {"interval": draw(st.sampled_from(["P1M", "P1W"])), "timezone": "UTC"},
            "k2": {"anchor": "2024-01-31T10:37:00.500", "interval": "P1M", "timezone": "Europe/Berlin"},
            "k3": {"boundaries": ["2026-01-01", "2026-06-01T00:30"], "timezone": "UTC"},
        },
        "tenants": tenants,
        "meters": {"m1": draw(SUMS)},
        "alerts": {"suppressions": draw(st.dictionaries(st.just("s"), st.just({"meters": ["m1"], "reason": "~"})))},
    }


def histories() -> st.SearchStrategy[list[tuple[dict[str, Any], str]]]:
    return st.lists(st.tuples(catalogs(), st.sampled_from(["", "", APRIL, MAY])), min_size=1, max_size=3)


def stored_by(history: list[tuple[dict[str, Any], str]]) -> Tables:
    stored: Tables = {table: {} for table in TABLES}
    for number, (content, valid_from) in enumerate(history):
        dated = {**content, "valid_from": valid_from} if valid_from and number else content
        made = plan_of(dated, stored, replace(TERMS, first=not number))
        if made.faults:  # a calendar that is named before it holds
            continue
        stored = applied(dated, stored, replace(TERMS, first=not number))
    return stored


@given(histories())
def test_a_file_of_what_is_stored_changes_nothing(history: list[tuple[dict[str, Any], str]]) -> None:
    stored = stored_by(history)
    text = exported.text(exported.exported(stored, TERMS.now_ms))
    document = parse(text)
    assert document.faults == []
    made = plan_of(document.content, stored)
    assert (made.changes, made.faults) == ((), ())
    for tenant in history[0][0]["tenants"]:
        one = parse(exported.text(exported.exported(stored, TERMS.now_ms, tenant))).content
        assert [*one["tenants"]] == [tenant]
        assert plan_of(one, stored).changes == ()


@given(histories(), catalogs(), st.sampled_from(["", APRIL, MAY]))
def test_a_file_applied_twice_changes_nothing(
    history: list[tuple[dict[str, Any], str]], content: dict[str, Any], valid_from: str
) -> None:
    stored = stored_by(history)
    dated = {**content, "valid_from": valid_from} if valid_from else content
    if not plan_of(dated, stored).faults:
        assert plan_of(dated, applied(dated, stored)).changes == ()


@given(histories(), catalogs(), st.data())
def test_a_file_with_fewer_keys_changes_nothing_but_those_it_names(
    history: list[tuple[dict[str, Any], str]], content: dict[str, Any], data: st.DataObject
) -> None:
    stored = stored_by(history)
    tenant, whole = next(iter(content["tenants"].items()))
    customer, entry = next(iter(whole["customers"].items()), ("a", {}))
    names = data.draw(st.sets(st.sampled_from(["calendar", "revenue_weight"])))
    fewer = {"tenants": {tenant: {"customers": {customer: {one: entry.get(one) for one in names}}}}}
    # Where the tenant is new there is nothing that could stay.
    if (tenant,) in stored["tenant"] and not plan_of(fewer, stored).faults:
        after, key = applied(fewer, stored), (tenant, customer)
        columns = {"calendar": 0, "revenue_weight": 2}
        for at_ms in (BEGINNING_MS, MARCH_MS, EARLIEST_MS, APRIL_MS, MAY_MS, MAY_MS + MINUTE_MS):
            was = values_at(stored["customer"].get(key, ()), at_ms)
            now = values_at(after["customer"].get(key, ()), at_ms)
            if was is not None:
                assert now is not None
                assert all(now[at] == was[at] for at in range(3) if at not in {columns[one] for one in names})
        assert all(after[table] == stored[table] for table in TABLES if table != "customer")
