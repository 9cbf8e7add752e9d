"""Laws of grouping: a restart changes nothing, reading again invents nothing, every receiver gets an alert once."""

from __future__ import annotations

import random
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.alerts.alerting import TEN, MemoryAlertStore, a_policy, an_alert, taken
from tidemark.alerts.policy import Policy
from udfs.alerts.event import Alert

MANY = {"daily_budget": 1_000}


@st.composite
def streams(draw: st.DrawFn) -> list[Alert]:
    """Beginnings and ends of a few conditions, in the order of their time."""
    alerts = []
    for number in range(draw(st.integers(1, 12))):
        at_ms = TEN + draw(st.integers(0, 40)) * 1_000
        about = {
            "customer": draw(st.sampled_from(["c1", "c2", "c3"])),
            "meter": draw(st.sampled_from(["api_calls", "storage"])),
            "kind": draw(st.sampled_from(["limit.threshold", "limit.exceeded", "anomaly.customer_spike"])),
            "severity": draw(st.sampled_from(["warning", "critical"])),
            "cycle": str(number),
        }
        alerts.append(an_alert(at_ms=at_ms, **about))
        if draw(st.booleans()):
            alerts.append(an_alert(at_ms=at_ms + draw(st.integers(1, 30_000)), status="resolved", **about))
    return sorted(alerts, key=lambda alert: (alert.at_ms, alert.id))


def state(alert_store: MemoryAlertStore) -> object:
    notifications = {
        name: (
            notification.alert_ids,
            notification.due_ms,
            notification.digest,
            notification.status,
            notification.body(),
        )
        for name, notification in alert_store.notifications.items()
    }
    return (
        notifications,
        alert_store.budgets,
        {key: (row["key"], row["suppressed_by"]) for key, row in alert_store.alerts.items()},
    )


def in_parts(alerts: list[Alert], cuts: list[int], policy: Policy, repeat: int = 0) -> MemoryAlertStore:
    """What a router makes of them that is started anew at each cut, and then reads the last `repeat` alerts again."""
    alert_store = MemoryAlertStore()
    for begin, end in zip([0, *cuts], [*cuts, len(alerts)], strict=True):
        alert_store = taken(alerts[max(0, begin - repeat) : end], policy, alert_store.reopened())
    return alert_store


@given(streams(), st.data())
def test_restarts_at_any_place_give_the_same_notifications(alerts: list[Alert], data: st.DataObject) -> None:
    policy = a_policy(oncall={"daily_budget": data.draw(st.sampled_from([1, 3, 1_000]))})
    cuts = sorted(data.draw(st.lists(st.integers(0, len(alerts)), max_size=4)))
    whole, parts = taken(alerts, policy), in_parts(alerts, cuts, policy, data.draw(st.integers(0, 3)))
    assert parts.alerts_by_notification() == whole.alerts_by_notification()
    assert state(parts)[1:] == state(whole)[1:]  # type: ignore[index]


@given(streams(), st.integers(0, 2**32))
def test_reading_again_later_invents_no_notification_and_loses_no_alert(alerts: list[Alert], seed: int) -> None:
    policy = a_policy(oncall=MANY)
    # Given alerts that were read as they came, some of them so late that their group was closed ...
    rng, live = random.Random(seed), MemoryAlertStore()
    clock = TEN
    for alert in alerts:
        clock = max(clock, alert.at_ms) + rng.choice([500, 500, 20_000])
        live = taken([alert], policy, live.reopened(), now_ms=clock)
    # ... when all is read again into empty tables, long after ...
    again = taken(alerts, policy, now_ms=clock + 3_600_000)
    # ... then ids are some of those that were sent (ends follow the part of their beginning: without stragglers, they
    # too), and each receiver gets each alert as often: once.
    assert begun(again) <= begun(live)
    if all(notification.group_key.split("|")[3] in "01" for notification in live.notifications.values()):
        assert set(again.alerts_by_notification()) <= set(live.alerts_by_notification())
    assert counted(again) == counted(live)
    assert set(counted(live).values()) <= {1}


@given(streams(), st.randoms(use_true_random=False))
def test_what_is_not_urgent_is_grouped_the_same_in_any_order(alerts: list[Alert], rng: random.Random) -> None:
    calm = [an_alert(alert.customer_id, at_ms=alert.at_ms, cycle=alert.id) for alert in alerts]
    mixed = [*calm]
    rng.shuffle(mixed)
    policy = a_policy(oncall=MANY)
    assert (
        taken(mixed, policy, now_ms=TEN).alerts_by_notification()
        == taken(calm, policy, now_ms=TEN).alerts_by_notification()
    )


@given(streams(), st.integers(1, 5))
def test_no_day_has_more_beginnings_than_its_budget_and_one_digest(alerts: list[Alert], budget: int) -> None:
    alert_store = taken(alerts, a_policy(oncall={"daily_budget": budget}))
    kinds = Counter((notification.status, notification.digest) for notification in alert_store.notifications.values())
    assert kinds["firing", False] <= budget
    assert kinds["firing", True] <= 1
    beginnings = {alert.id for alert in alerts if alert.status == "firing"}
    assert beginnings <= {
        name for notification in alert_store.notifications.values() for name in notification.alert_ids
    }


def begun(alert_store: MemoryAlertStore) -> set[str]:
    return {name for name, notification in alert_store.notifications.items() if notification.status == "firing"}


def counted(alert_store: MemoryAlertStore) -> Counter[tuple[str, str]]:
    return Counter(
        (receiver, alert) for receiver, alerts in alert_store.alerts_by_notification().values() for alert in alerts
    )
