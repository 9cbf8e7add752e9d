"""Alert policy in the catalog: receivers, routes, suppressions and maintenance in a file, and their versions."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from tidemark.catalog.check import check
from tidemark.catalog.check_limits import NOTHING, Known
from tidemark.catalog.entries import POLICY_KINDS, policy_body
from tidemark.catalog.file import TABLES, CatalogFile, Key, Row, rows
from tidemark.catalog.plan import plan
from tidemark.catalog.plan_faults import Terms
from tidemark.catalog.timeline import Timeline, Version
from udfs.calendars.calendar import MINUTE_MS
from udfs.meters.meter import BEGINNING_MS

MARCH_MS = 1_772_323_200_000  # 2026-03-01T00:00:00Z
TERMS = Terms(now_ms=MARCH_MS + 12_345)
EARLIEST_MS = MARCH_MS + MINUTE_MS
ONCALL = {"kind": "pagerduty", "url": "https://events.example/v2/enqueue", "secret_file": "pagerduty-key"}
ALERTS: dict[str, dict[str, Any]] = {
    "receivers": {"oncall": ONCALL},
    "routes": {"critical": {"types": ["limit.*"], "severities": ["critical"], "receivers": ["oncall"]}},
    "suppressions": {"sandbox": {"tenants": ["sandbox"], "reason": "load tests"}},
    "maintenance": {
        "upgrade": {"from": "2026-12-01T21:00:00+01:00", "until": "2026-12-02T02:00:00Z", "reason": "database upgrade"}
    },
}


def faults_of(alerts: Any, known: Known = NOTHING) -> dict[str, str]:
    faults = check(CatalogFile({"alerts": alerts}), known_calendars=(), longest_period_days=400, known=known)
    return {fault.path: fault.message for fault in faults}


def entry_faults(group: str, **parts: Any) -> dict[str, str]:
    """Faults of the one good entry of a group with some parts changed, or left out where None; by path below it."""
    (name, entry), *_ = ALERTS[group].items()
    changed = {key: value for key, value in {**entry, **parts}.items() if value is not None}
    path = f"alerts.{group}.{name}"
    return {key.removeprefix(path): text for key, text in faults_of({**ALERTS, group: {name: changed}}).items()}


# --- what a file may say ----------------------------------------------------------------------------------------------


def test_every_kind_of_entry_becomes_a_row_with_its_defaults() -> None:
    assert faults_of(ALERTS) == {}
    found = rows(CatalogFile({"alerts": ALERTS}))["alert_policy"]
    assert {row.key: json.loads(row.values[0]) for row in found} == {
        ("receiver", "oncall"): {**ONCALL, "daily_budget": 20},
        ("route", "critical"): {
            "types": ["limit.*"], "severities": ["critical"], "tenants": [], "receivers": ["oncall"],
        },
        ("suppression", "sandbox"): {
            "types": [], "tenants": ["sandbox"], "customers": [], "meters": [], "reason": "load tests",
        },
        ("maintenance", "upgrade"): {
            "from": "2026-12-01T20:00:00Z", "until": "2026-12-02T02:00:00Z", "types": [], "tenants": [],
            "reason": "database upgrade",
        },
    }  # fmt: skip
    assert [row.path for row in found] == [f"alerts.{group}.{name}" for group in POLICY_KINDS for name in ALERTS[group]]


def test_equal_entries_have_equal_text() -> None:
    written = {"kind": "alertmanager", "url": "http://a.example"}
    spelled = {"daily_budget": 20, "url": "http://a.example", "kind": "alertmanager", "valid_from": "beginning"}
    assert policy_body("receiver", written) == policy_body("receiver", spelled)
    assert policy_body("receiver", written) == (
        '{"daily_budget":20,"kind":"alertmanager","secret_file":null,"url":"http://a.example"}'
    )


def test_an_entry_has_its_own_valid_from_or_that_of_the_file() -> None:
    alerts = {"receivers": {"a": {**ONCALL, "valid_from": "2026-03-01T00:00:00Z"}, "b": ONCALL}}
    content = {"valid_from": "beginning", "alerts": alerts}
    assert [row.valid_from_ms for row in rows(CatalogFile(content))["alert_policy"]] == [MARCH_MS, BEGINNING_MS]


@pytest.mark.parametrize(
    ("group", "parts", "path", "word"),
    [
        ("receivers", {"kind": "pager"}, ".kind", "pager"),
        ("receivers", {"secret_file": None}, ".secret_file", "pagerduty needs one"),
        ("receivers", {"kind": "webhook", "secret_file": None}, ".secret_file", "webhook needs one"),
        ("receivers", {"daily_budget": 0}, ".daily_budget", "the least is 1"),
        ("receivers", {"daily_budget": 1.5}, ".daily_budget", "whole number"),
        ("receivers", {"url": None}, ".url", "missing"),
        ("receivers", {"url": "ftp://events.example"}, ".url", "http"),
        ("receivers", {"url": "events.example/v2"}, ".url", "http"),
        ("receivers", {"url": "https://"}, ".url", "no URL of a host"),
        ("receivers", {"url": "https://e.example/a b"}, ".url", "no URL of a host"),
        ("receivers", {"url": "https://e.example:99999/"}, ".url", "no URL"),
        ("receivers", {"url": "https://[::1/"}, ".url", "no URL"),
        ("receivers", {"url": "https://user:pass@e.example/"}, ".url", "credentials"),
        ("receivers", {"url": "https://e.example/hook?x=1&access_token=abc"}, ".url", "credentials"),
        ("receivers", {"valid_from": "2026-01-31T00:00:30Z"}, ".valid_from", "whole minute"),
        ("receivers", {"secret": "abc"}, ".secret", "Did you mean `secret_file`?"),
        ("routes", {"receivers": None}, ".receivers", "missing"),
        ("routes", {"receivers": []}, ".receivers", "needs 1 at least"),
        ("routes", {"receivers": ["oncall", "nobody"]}, ".receivers.1", "no receiver 'nobody'"),
        ("routes", {"severities": ["fatal"]}, ".severities.0", "fatal"),
        ("routes", {"types": ["*"]}, ".types.0", "write a type"),
        ("routes", {"types": ["limit.*.x"]}, ".types.0", "write a type"),
        ("routes", {"types": []}, ".types", "needs 1 at least"),
        ("suppressions", {"tenants": None}, "", "every alert"),
        ("suppressions", {"reason": None}, ".reason", "missing"),
        ("suppressions", {"reason": ""}, ".reason", "empty"),
        ("suppressions", {"severities": ["info"]}, ".severities", "not known"),
        ("maintenance", {"from": None}, ".from", "missing"),
        ("maintenance", {"from": "2026-12-01"}, ".from", "RFC 3339"),
        ("maintenance", {"from": "beginning"}, ".from", "instant"),
        ("maintenance", {"until": "2026-12-01T20:00:00Z"}, ".until", "not after"),
        ("maintenance", {"until": 5}, ".until", "text is needed"),
    ],
)
def test_an_entry_is_checked_for_its_meaning(group: str, parts: dict[str, Any], path: str, word: str) -> None:
    found = entry_faults(group, **parts)
    assert list(found) == [path]
    assert any(one in found[path] for one in word.split("|"))


@pytest.mark.parametrize(
    "secret",
    [
        "https://hooks/T0",
        "0123456789abcdef0123456789abcdef",
        "",
        "A B",
        ["SECRET"],
        "../pgpass",
        "/etc/x",
        ".pgpass",
        "a..b",
        "a/b",
        "a\n",
    ],
)
def test_a_secret_itself_is_refused_and_not_repeated(secret: Any) -> None:
    found = entry_faults("receivers", secret_file=secret)
    assert list(found) == [".secret_file"]
    assert "no name of a file" in found[".secret_file"]
    assert not secret or str(secret) not in found[".secret_file"]


@pytest.mark.parametrize(
    "url", ["https://user:hunter2@e.example/", "https://e.example/?sig=hunter2", "ftp://hunter2/", "hunter2"]
)
def test_a_url_that_is_refused_is_not_repeated(url: str) -> None:
    assert "hunter2" not in entry_faults("receivers", url=url)[".url"]


@pytest.mark.parametrize(
    ("group", "parts"),
    [
        ("receivers", {"kind": "slack", "secret_file": None}),
        ("receivers", {"kind": "alertmanager", "url": "http://127.0.0.1:9093", "secret_file": None}),
        ("receivers", {"url": "https://e.example/hook?team=usage&monkey=1"}),
        ("routes", {"types": None, "severities": None}),
        ("routes", {"types": ["limit.exceeded", "pipeline.*", "anomaly.drop"], "severities": ["info", "warning"]}),
        ("suppressions", {"tenants": None, "meters": ["calls"]}),
    ],
)
def test_what_an_entry_may_say(group: str, parts: dict[str, Any]) -> None:
    assert entry_faults(group, **parts) == {}


def test_a_route_may_name_a_receiver_that_is_stored() -> None:
    route = {"routes": {"r": {"receivers": ["earlier"]}}}
    assert faults_of(route, Known(receivers={"earlier"})) == {}
    assert "no receiver 'earlier'" in faults_of(route)["alerts.routes.r.receivers.0"]


def test_faults_of_all_kinds_are_reported_at_once() -> None:
    found = faults_of(
        {
            "receivers": {"r": {"kind": "pagerduty", "url": "x", "budget": 5}},
            "routes": {"r": {"receivers": ["none"], "type": []}},
            "suppressions": {"s": {}},
            "maintenance": {"m": {"from": "x", "until": "y"}},
            "windows": {},
        }
    )
    assert found.keys() == {
        "alerts.windows", "alerts.receivers.r.budget", "alerts.receivers.r.url", "alerts.receivers.r.secret_file",
        "alerts.routes.r.type", "alerts.routes.r.receivers.0", "alerts.suppressions.s", "alerts.suppressions.s.reason",
        "alerts.maintenance.m.reason", "alerts.maintenance.m.from", "alerts.maintenance.m.until",
    }  # fmt: skip


@pytest.mark.parametrize(
    "value", [5, [], "x", None, {"r": 5}, {"r": None}, {"r": {"receivers": 5, "url": 5, "from": 5}}]
)
def test_another_shape_is_a_fault_and_not_an_exception(value: Any) -> None:
    assert all(faults_of({group: value}) for group in POLICY_KINDS)
    assert faults_of(value)


# --- plans of an apply ------------------------------------------------------------------------------------------------

RECEIVER: Key = ("receiver", "oncall")
ROUTE: Key = ("route", "critical")


def of(policy: dict[Key, Timeline]) -> dict[str, dict[Key, Timeline]]:
    return {table: policy if table == "alert_policy" else {} for table in TABLES}


def wants(*policy: Row, tenant: str | None = None) -> dict[str, list[Row]]:
    tenants = [Row((tenant,), (None,))] if tenant else []
    return {**{table: [] for table in TABLES}, "tenant": tenants, "alert_policy": [*policy]}


def receiver(valid_from_ms: int | None = None, **parts: Any) -> Row:
    return Row(
        RECEIVER, (policy_body("receiver", {**ONCALL, **parts}),), valid_from_ms=valid_from_ms, path="receivers.o"
    )


def route(valid_from_ms: int | None = None) -> Row:
    body = policy_body("route", {"receivers": ["oncall"]})
    return Row(ROUTE, (body,), valid_from_ms=valid_from_ms, path="routes.c")


def test_a_new_entry_holds_from_the_first_minute_also_beside_a_new_tenant_of_the_name_of_its_kind() -> None:
    made = plan(wants(receiver(), route(), tenant="route"), of({}), TERMS)
    assert [(one.table, one.valid_from_ms) for one in made.changes] == [
        ("tenant", BEGINNING_MS), ("alert_policy", EARLIEST_MS), ("alert_policy", EARLIEST_MS),
    ]  # fmt: skip
    assert made.faults == ()
    first = plan(wants(receiver(), route()), of({}), replace(TERMS, first=True))
    assert {one.valid_from_ms for one in first.changes} == {BEGINNING_MS}


def test_what_differs_in_an_entry_is_named_part_by_part() -> None:
    stored = of({RECEIVER: (Version(receiver().values),)})
    assert plan(wants(receiver()), stored, TERMS).changes == ()
    (change,) = plan(wants(receiver(daily_budget=5, kind="webhook")), stored, TERMS).changes
    assert change.fields == (("daily_budget", 20, 5), ("kind", "pagerduty", "webhook"))
    (added,) = plan(wants(receiver()), of({}), TERMS).changes
    assert {name: new for name, _, new in added.fields} == {**ONCALL, "daily_budget": 20}


def test_a_backdated_entry_needs_leave_but_no_replay() -> None:
    wanted = wants(receiver(MARCH_MS))
    (fault,) = plan(wanted, of({}), TERMS).faults
    assert (fault.path, "alerts may be raised" in fault.message) == ("receivers.o", True)
    allowed = plan(wanted, of({}), replace(TERMS, backdate=True))
    assert (allowed.faults, allowed.replay_needed) == ((), False)


def test_a_receiver_holds_wherever_a_route_names_it() -> None:
    late = of({RECEIVER: (Version(receiver().values, EARLIEST_MS + MINUTE_MS),)})
    assert [one.message for one in plan(wants(route()), late, TERMS).faults] == [
        "'oncall' holds from 2026-03-01T00:02:00Z on only; it is named from 2026-03-01T00:01:00Z on."
    ]
    assert plan(wants(route(EARLIEST_MS + MINUTE_MS)), late, TERMS).faults == ()
    pruned = plan(wants(route()), late, replace(TERMS, prune=True, all_tenants=True, backdate=True))
    assert "'oncall' is closed" in pruned.faults[0].message
