"""Who is notified: routes, suppressions and maintenance windows by what they name; severity by weight."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.alerts.alerting import ONCALL, TEN, VERSION_MS, a_policy, an_alert
from tidemark.alerts.impact import LOWERED_BELOW, RAISED_FROM, Weight, severity_by_impact
from tidemark.alerts.policy import policy_of
from udfs.alerts.event import SEVERITIES, Severity
from udfs.meters.meter import BEGINNING_MS
from udfs.values import rfc3339


def names(policy: object, **changed: object) -> list[str]:
    alert = replace(an_alert(), **changed)
    return [receiver.name for receiver in policy.receivers_of(alert, alert.severity)]  # type: ignore[attr-defined]


def routed(**route: list[str]) -> object:
    return policy_of(
        [("receiver", "oncall", ONCALL, 0), ("route", "some", {**route, "receivers": ["oncall"]}, 0)]
    )  # fmt: skip


@pytest.mark.parametrize(
    ("route", "matching", "other"),
    [
        ({"types": ["limit.*"]}, {"type": "limit.threshold"}, {"type": "anomaly.spike"}),
        ({"types": ["anomaly.drop", "pipeline.*"]}, {"type": "pipeline.tenant_volume"}, {"type": "anomaly.dropped"}),
        ({"severities": ["critical"]}, {"severity": "critical"}, {"severity": "warning"}),
        ({"tenants": ["acme"]}, {"tenant_id": "acme"}, {"tenant_id": "acmex"}),
        ({"customers": ["c1"]}, {"customer_id": "c1"}, {"customer_id": None}),
        ({"meters": ["api_calls"]}, {"meter": "api_calls"}, {"meter": None}),
    ],
)
def test_a_route_goes_by_what_it_lists(route: dict[str, list[str]], matching: object, other: object) -> None:
    policy = routed(**route)
    assert names(policy, **matching) == ["oncall"]  # type: ignore[arg-type]
    assert names(policy, **other) == []  # type: ignore[arg-type]


def test_a_list_that_is_absent_or_empty_means_any() -> None:
    for route in ({}, {"types": [], "severities": [], "tenants": []}):
        assert names(routed(**route), type="pipeline.live_counters", tenant_id=None) == ["oncall"]


def test_all_matching_routes_give_their_receivers_each_once() -> None:
    policy = a_policy(
        ("receiver", "chat", {"kind": "slack", "url": "https://chat.example"}),
        ("route", "limits", {"types": ["limit.*"], "receivers": ["oncall", "chat", "gone"]}),
    )
    assert names(policy) == ["chat", "oncall"]


def test_the_budget_of_a_receiver_is_20_unless_it_says_otherwise() -> None:
    policy = a_policy(
        ("receiver", "chat", {"kind": "slack", "url": "https://chat.example"}), oncall={"daily_budget": 3}
    )
    assert {one.name: one.daily_budget for one in policy.receivers.values()} == {"oncall": 3, "chat": 20}


WINDOW = {"from": rfc3339(TEN), "until": rfc3339(TEN + 1_000), "reason": "upgrade"}


@pytest.mark.parametrize(("offset_ms", "suppressed"), [(-1, False), (0, True), (999, True), (1_000, False)])
def test_a_maintenance_window_is_half_open_in_alert_time(offset_ms: int, suppressed: bool) -> None:
    policy = a_policy(("maintenance", "upgrade", WINDOW))
    rule = policy.suppressed_by(an_alert(at_ms=TEN + offset_ms), "warning")
    assert rule == (f"maintenance upgrade@{rfc3339(VERSION_MS)}" if suppressed else None)


def test_what_is_named_is_maintenance_before_suppression_and_the_first_by_name() -> None:
    policy = a_policy(
        ("suppression", "a", {"types": ["limit.*"], "reason": "noise"}),
        ("maintenance", "z", WINDOW),
        ("maintenance", "b", WINDOW),
    )
    assert policy.suppressed_by(an_alert(), "warning") == f"maintenance b@{rfc3339(VERSION_MS)}"
    assert policy.suppressed_by(an_alert(at_ms=TEN + 5_000), "warning") == f"suppression a@{rfc3339(VERSION_MS)}"


def test_a_first_version_has_no_begin() -> None:
    policy = policy_of([("suppression", "a", {"tenants": ["acme"], "reason": "sandbox"}, BEGINNING_MS)])
    assert policy.suppressed_by(an_alert(), "warning") == "suppression a@beginning"


@pytest.mark.parametrize(
    ("share", "sent", "becomes"),
    [
        ("0.1", "warning", "critical"),
        ("0.1", "critical", "critical"),
        ("0.0999", "warning", "warning"),
        ("0.001", "warning", "warning"),
        ("0.000999", "warning", "info"),
        ("0", "info", "info"),
    ],
)
def test_severity_moves_a_step_with_the_share(share: str, sent: Severity, becomes: Severity) -> None:
    alert = an_alert(kind="limit.threshold", severity=sent)
    assert severity_by_impact(alert, Weight(usage_share=Decimal(share))) == becomes
    assert severity_by_impact(alert, Weight(revenue_weight=Decimal(share))) == becomes


def test_the_greater_of_usage_and_revenue_counts() -> None:
    weight = Weight(usage_share=Decimal(0), revenue_weight=Decimal("0.25"))
    assert severity_by_impact(an_alert(severity="warning"), weight) == "critical"


def test_a_customer_that_is_denied_is_never_less_than_a_warning() -> None:
    tiny = Weight(usage_share=Decimal("0.00001"))
    assert severity_by_impact(an_alert(severity="critical"), tiny) == "warning"
    assert severity_by_impact(an_alert(severity="warning"), tiny) == "warning"
    assert severity_by_impact(an_alert(severity="info"), tiny) == "info"
    assert severity_by_impact(an_alert(severity="warning", mode="soft"), tiny) == "info"


def test_what_is_about_no_customer_stays_as_sent() -> None:
    alert = an_alert(None, kind="anomaly.spike")
    assert severity_by_impact(alert, Weight(usage_share=Decimal(1))) == "warning"


shares = st.none() | st.decimals(0, 1, places=6)


@given(st.sampled_from(SEVERITIES), shares, shares, st.sampled_from(["hard", "soft"]))
def test_impact_never_moves_more_than_a_step_and_never_against_the_share(
    sent: Severity, usage: Decimal | None, revenue: Decimal | None, mode: str
) -> None:
    alert = an_alert(severity=sent, mode=mode)
    moved = SEVERITIES.index(severity_by_impact(alert, Weight(usage, revenue))) - SEVERITIES.index(sent)
    greatest = max((one for one in (usage, revenue) if one is not None), default=None)
    assert moved in (-1, 0, 1)
    assert moved <= 0 or (greatest is not None and greatest >= RAISED_FROM)
    assert moved >= 0 or (greatest is not None and greatest < LOWERED_BELOW)
