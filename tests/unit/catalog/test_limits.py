"""Limits and plans in the catalog: what a file may say, the rows it becomes, and what a plan makes of them."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidemark.catalog.check import check
from tidemark.catalog.check_limits import NOTHING, Known
from tidemark.catalog.entries import limit_values
from tidemark.catalog.file import TABLES, CatalogFile, Key, Row, in_memory, read, rows
from tidemark.catalog.plan import plan
from tidemark.catalog.plan_faults import Terms
from tidemark.catalog.timeline import Timeline, Version
from udfs.calendars.calendar import MINUTE_MS
from udfs.catalog.model import Customer
from udfs.limits.rule import Limit
from udfs.meters.meter import BEGINNING_MS

MARCH_MS = 1_772_323_200_000  # 2026-03-01T00:00:00Z
TERMS = Terms(now_ms=MARCH_MS + 12_345)
EARLIEST_MS = MARCH_MS + MINUTE_MS
MODES = {
    "calls": "count", "tokens": "sum", "users": "unique", "peak": "max", "low": "min", "mean": "avg", "now": "latest",
    "slow": "percentile", "disk": "weighted_sum",
}  # fmt: skip


def meter(aggregation: str) -> dict[str, Any]:
    value = {"value": "user_id"} if aggregation == "unique" else {}
    return {"event_types": "e", "aggregation": aggregation, "unit": "u", **value}


METERS = {name: meter(aggregation) for name, aggregation in MODES.items()}


def faults_of(tenant: dict[str, Any], known: Known = NOTHING, **more: Any) -> dict[str, str]:
    file = CatalogFile({"meters": METERS, "tenants": {"acme": tenant}, **more})
    faults = check(file, known_calendars=(), longest_period_days=400, known=known)
    return {fault.path: fault.message for fault in faults}


def limit_faults(**parts: Any) -> dict[str, str]:
    return faults_of({"limits": {"calls": {"cap": 5, **parts}}})


def row_of(entry: dict[str, Any]) -> tuple[Any, ...]:
    assert limit_faults(**entry) == {}
    return limit_values({"cap": 5, **entry})


# --- what a file may say ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("entry", "values"),
    [
        ({}, ("5", "soft", ("80%",), "fail_open")),
        ({"mode": "hard"}, ("5", "hard", ("80%",), "fail_closed")),
        ({"mode": "hard", "when_unknown": "fail_open"}, ("5", "hard", ("80%",), "fail_open")),
        ({"when_unknown": "fail_closed", "thresholds": []}, ("5", "soft", (), "fail_closed")),
        ({"cap": "100000.50"}, ("100000.5", "soft", ("80%",), "fail_open")),
        ({"cap": Decimal("0.000000001")}, ("0.000000001", "soft", ("80%",), "fail_open")),
        ({"cap": 0}, ("0", "soft", ("80%",), "fail_open")),
        (
            {"thresholds": [{"every": "10%"}, 90_000, {"every": 10_000}, "80.0%", "50%", Decimal("1e2"), "9%"]},
            ("5", "soft", ("9%", "50%", "80%", "100", "90000", "every 10%", "every 10000"), "fail_open"),
        ),
    ],
)  # fmt: skip
def test_a_limit_is_stored_in_canonical_form_with_its_defaults(entry: dict[str, Any], values: tuple[Any, ...]) -> None:
    assert row_of(entry) == values
    cap, mode, thresholds, on_unknown = values
    assert Limit("acme", "tenant", "", "calls", Decimal(cap), mode, thresholds, on_unknown).watched is not None


@given(st.permutations(["50%", "80%", 90_000, {"every": 10_000}, {"every": "10%"}, "0.5"]))
def test_thresholds_in_another_order_are_the_same_limit(stated: list[Any]) -> None:
    assert limit_values({"cap": 1, "thresholds": stated})[2] == (
        "50%", "80%", "0.5", "90000", "every 10%", "every 10000",
    )  # fmt: skip


@given(st.decimals(min_value=0, max_value=Decimal(10) ** 20, places=9))
def test_a_cap_is_kept_to_its_last_decimal(cap: Decimal) -> None:
    text = limit_values({"cap": cap})[0]
    assert Decimal(text) == cap
    assert limit_values({"cap": text})[0] == text
    assert "E" not in text
    assert not text.endswith(".")


@pytest.mark.parametrize(
    ("parts", "path", "word"),
    [
        ({"cap": -1}, "cap", "-1 is no cap"),
        ({"cap": "many"}, "cap", "many is no cap"),
        ({"cap": "NaN"}, "cap", "no cap"),
        ({"cap": "1_000"}, "cap", "write a number"),
        ({"cap": Decimal("1e29")}, "cap", "below 1e29"),
        ({"cap": Decimal("0.0000000001")}, "cap", "9 decimals"),
        ({"cap": True}, "cap", "number"),
        ({"cap": None}, "cap", "missing"),
        ({"mode": "firm"}, "mode", "firm"),
        ({"when_unknown": "guess"}, "when_unknown", "guess"),
        ({"thresholds": "80%"}, "thresholds", "write [80%]"),
        ({"thresholds": ["80%", 0]}, "thresholds.1", "above 0"),
        ({"thresholds": ["-5%"]}, "thresholds.0", "no threshold"),
        ({"thresholds": ["often"]}, "thresholds.0", "no threshold"),
        ({"thresholds": [True]}, "thresholds.0", "write an amount"),
        ({"thresholds": [{"every": "every 5"}]}, "thresholds.0", "no threshold"),
        ({"thresholds": [{"every": {"every": 5}}]}, "thresholds.0.every", "number or text is needed"),
        ({"thresholds": ["80%", "80.0%"]}, "thresholds.1", "at 0 already"),
        ({"thresholds": [str(number) for number in range(1, 52)]}, "thresholds", "51 thresholds"),
        ({"valid_from": "2026-01-31T00:00:30Z"}, "valid_from", "whole minute"),
    ],
)
def test_a_limit_is_checked_for_its_meaning(parts: dict[str, Any], path: str, word: str) -> None:
    found = limit_faults(**parts)
    assert list(found) == [f"tenants.acme.limits.calls.{path}"]
    assert word in found[f"tenants.acme.limits.calls.{path}"]


@pytest.mark.parametrize(
    ("name", "allowed"), [(name, mode in ("count", "sum", "unique")) for name, mode in MODES.items()]
)
def test_only_meters_with_one_live_total_that_grows_have_limits(name: str, allowed: bool) -> None:
    found = faults_of({"limits": {name: {"cap": 5}}})
    assert list(found) == ([] if allowed else [f"tenants.acme.limits.{name}"])
    assert all(MODES[name] in message and "live total that grows" in message for message in found.values())


def test_a_limit_names_a_meter_of_its_tenant_or_of_all_in_the_file_or_stored() -> None:
    named = {name: {"cap": 1} for name in ("calls", "own", "stored", "stored_own", "others", "stored_others", "high")}
    known = Known(
        meters={
            (None, "stored"): "sum",
            ("acme", "stored_own"): "count",
            ("g", "stored_others"): "sum",
            (None, "high"): "max",
        }
    )
    tenant = {"limits": named, "meters": {"own": meter("count")}}
    content = {"meters": METERS, "tenants": {"acme": tenant, "g": {"meters": {"others": meter("sum")}}}}
    faults = check(CatalogFile(content), known_calendars=(), longest_period_days=400, known=known)
    assert [(fault.path, fault.message) for fault in faults] == [
        ("tenants.acme.limits.others", "acme has no meter 'others' that holds, here or stored."),
        ("tenants.acme.limits.stored_others", "acme has no meter 'stored_others' that holds, here or stored."),
        ("tenants.acme.limits.high", "high is a max: only count, sum, unique have one live total that grows to a cap."),
    ]


def test_a_customer_names_a_plan_of_its_tenant_in_the_file_or_stored() -> None:
    customers = {"a": {"plan": "pro"}, "b": {"plan": "bare"}, "c": {"plan": "stored"}, "d": {"plan": "gone"}}
    plans = {"pro": {"limits": {"calls": {"cap": 1}}}, "bare": None}
    known = Known(plans={("acme", "stored"), ("globex", "gone")})
    assert list(faults_of({"plans": plans, "customers": customers}, known).items()) == [
        (
            "tenants.acme.customers.d.plan",
            "there is no plan 'gone' in tenants.acme.plans, and no limits are stored for it.",
        )
    ]


@pytest.mark.parametrize(
    ("weight", "word"),
    [(0, ""), (1, ""), (Decimal("0.25"), ""), ("0.123456789", ""), (2, "0 to 1"), (Decimal("1.000000001"), "0 to 1"),
     (-1, "0 to 1"), (Decimal("0.0000000001"), "9 decimals"), ("much", "no share"), (True, "write a number")],
)  # fmt: skip
def test_a_revenue_weight_is_a_share(weight: Any, word: str) -> None:
    found = faults_of({"customers": {"a": {"revenue_weight": weight}}})
    assert list(found) == (["tenants.acme.customers.a.revenue_weight"] if word else [])
    assert all(word in message for message in found.values())


def test_faults_of_all_scopes_are_reported_at_once() -> None:
    bad = {"limits": {"calls": {"cap": -1, "thresholds": ["x"], "mod": "hard"}, "nope": {}}}
    found = faults_of({**bad, "plans": {"pro": bad, "free": {"limit": {}}}, "customers": {"a": {**bad, "plan": "p"}}})
    for path in ("tenants.acme", "tenants.acme.plans.pro", "tenants.acme.customers.a"):
        assert {
            f"{path}.limits.calls.cap",
            f"{path}.limits.calls.thresholds.0",
            f"{path}.limits.calls.mod",
        } <= found.keys()
        assert "no meter 'nope'" in found[f"{path}.limits.nope"]
    assert "Did you mean `limits`?" in found["tenants.acme.plans.free.limit"]
    assert "Did you mean `mode`?" in found["tenants.acme.limits.calls.mod"]
    assert "no plan 'p'" in found["tenants.acme.customers.a.plan"]


@pytest.mark.parametrize("value", [5, [], "x", {"calls": 5}, {"calls": []}])
def test_another_shape_of_limits_is_a_fault_and_not_an_exception(value: Any) -> None:
    assert faults_of({"limits": value})
    assert faults_of({"plans": {"p": {"limits": value}}})
    assert faults_of({"customers": {"a": {"limits": value}}})


def test_a_step_of_another_name_is_a_fault_with_the_right_one() -> None:
    found = limit_faults(thresholds=[{"each": 5}])
    assert "Known: every" in found["tenants.acme.limits.calls.thresholds.0.each"]
    assert (
        "`{every: 1000}`" in found["tenants.acme.limits.calls.thresholds.0"]
        or "`every` is missing" in found["tenants.acme.limits.calls.thresholds.0"]
    )


def test_a_limit_that_is_a_number_names_what_to_write() -> None:
    found = faults_of({"limits": {"calls": 7500}})
    assert "write `{cap: 7500}`" in found["tenants.acme.limits.calls"]


def test_null_removes_limits() -> None:
    assert faults_of({"limits": None, "plans": {"p": {"limits": {"calls": None}}}}) == {}
    (row,) = rows(CatalogFile({"tenants": {"acme": {"limits": {"calls": None}}}}))["usage_limit"]
    assert (row.key, row.closes) == (("acme", "tenant", "", "calls"), True)


# --- rows -------------------------------------------------------------------------------------------------------------


def test_limits_of_tenant_plan_and_customer_become_rows(tmp_path: Path) -> None:
    path = tmp_path / "catalog.yaml"
    path.write_text(
        """
        valid_from: "2026-03-01T00:00:00Z"
        meters: {calls: {event_types: e, aggregation: count, unit: u}}
        tenants:
          acme:
            limits: {calls: {cap: 10000, valid_from: beginning}}
            plans: {pro: {limits: {calls: {cap: "100000.5", mode: hard, thresholds: [{every: 0.50}]}}}}
            customers: {alice: {plan: pro, revenue_weight: 0.250, limits: {calls: {cap: 5}}}, 007: }
        """,
        "utf-8",
    )
    file = read(path)
    assert check(file, known_calendars=(), longest_period_days=400) == []
    found = rows(file)
    assert found["usage_limit"] == [
        Row(("acme", "tenant", "", "calls"), ("10000", "soft", ("80%",), "fail_open"), valid_from_ms=BEGINNING_MS),
        Row(
            ("acme", "plan", "pro", "calls"),
            ("100000.5", "hard", ("every 0.5",), "fail_closed"),
            valid_from_ms=MARCH_MS,
        ),
        Row(("acme", "customer", "alice", "calls"), ("5", "soft", ("80%",), "fail_open"), valid_from_ms=MARCH_MS),
    ]
    assert [one.path for one in found["usage_limit"]] == [
        "tenants.acme.limits.calls",
        "tenants.acme.plans.pro.limits.calls",
        "tenants.acme.customers.alice.limits.calls",
    ]
    assert in_memory(file).customer_versions == [
        Customer("acme", "alice", None, MARCH_MS, plan="pro", revenue_weight=Decimal("0.25")),
        Customer("acme", "007", None, MARCH_MS),
    ]


# --- plans of an apply ------------------------------------------------------------------------------------------------

KEY: Key = ("acme", "tenant", "", "calls")
TEN = ("10", "soft", ("80%",), "fail_open")
FIVE = ("5", "soft", ("80%",), "fail_open")
TENANT = {("acme",): (Version((None,)),)}
LIMIT = {KEY: (Version(TEN),)}


def of(**tables: dict[Key, Timeline]) -> dict[str, dict[Key, Timeline]]:
    return {table: tables.get(table, {}) for table in TABLES}


def wants(**tables: list[Row]) -> dict[str, list[Row]]:
    return {table: tables.get(table, []) for table in TABLES}


def test_a_limit_of_a_tenant_that_is_there_holds_from_the_first_minute_that_all_workers_know_it() -> None:
    made = plan(wants(tenant=[Row(("acme",), (None,))], usage_limit=[Row(KEY, FIVE)]), of(tenant=TENANT), TERMS)
    assert [(one.table, one.kind, one.valid_from_ms) for one in made.changes] == [("usage_limit", "added", EARLIEST_MS)]
    # Nothing is counted by a limit, so no event can be counted by the wrong one.
    assert (made.faults, made.notes, made.unchanged) == ((), (), 1)


def test_a_limit_holds_from_the_beginning_with_its_tenant() -> None:
    made = plan(wants(tenant=[Row(("acme",), (None,))], usage_limit=[Row(KEY, FIVE)]), of(), TERMS)
    assert {one.valid_from_ms for one in made.changes} == {BEGINNING_MS}


def test_a_raised_cap_is_a_new_version_and_the_same_cap_is_not() -> None:
    made = plan(wants(usage_limit=[Row(KEY, FIVE)]), of(tenant=TENANT, usage_limit=LIMIT), TERMS)
    (change,) = made.changes
    assert (change.kind, change.fields, change.valid_from_ms) == ("changed", (("cap", "10", "5"),), EARLIEST_MS)
    again = plan(wants(usage_limit=[Row(KEY, TEN)]), of(tenant=TENANT, usage_limit=LIMIT), TERMS)
    assert (again.changes, again.unchanged) == ((), 1)


def test_a_backdated_limit_needs_leave_but_no_replay() -> None:
    wanted, stored = wants(usage_limit=[Row(KEY, FIVE, valid_from_ms=MARCH_MS)]), of(usage_limit=LIMIT)
    (fault,) = plan(wanted, stored, TERMS).faults
    assert "alerts may be raised by what this changes" in fault.message
    assert "replay" not in fault.message
    allowed = plan(wanted, stored, replace(TERMS, backdate=True))
    assert (allowed.faults, allowed.replay_needed) == ((), False)
    assert allowed.notes == ("Alerts raised so far follow the old limits and policy, and stay as they are.",)


@pytest.mark.parametrize(
    ("after", "replay"), [(("c", "pro", None), False), (("c", None, "0.5"), False), (("d", None, None), True)]
)
def test_a_customer_that_moves_to_another_plan_is_counted_as_before(after: tuple[Any, ...], replay: bool) -> None:
    calendars = {(name,): (Version((None, "P1M", "UTC", ())),) for name in "cd"}
    stored = of(calendar=calendars, customer={("acme", "a"): (Version(("c", None, None)),)})
    wanted = wants(customer=[Row(("acme", "a"), after, valid_from_ms=MARCH_MS)])
    made = plan(wanted, stored, replace(TERMS, backdate=True))
    assert (len(made.changes), made.replay_needed) == (1, replay)


def test_limits_that_a_file_does_not_name_are_closed_when_pruned_only() -> None:
    stored = of(tenant=TENANT, usage_limit=LIMIT)
    wanted = wants(tenant=[Row(("acme",), (None,))])
    assert plan(wanted, stored, TERMS).changes == ()
    (change,) = plan(wanted, stored, replace(TERMS, prune=True)).changes
    assert (change.table, change.kind, change.path) == ("usage_limit", "closed", "usage_limit acme tenant * calls")
