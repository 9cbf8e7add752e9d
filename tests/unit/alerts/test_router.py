"""The alert router: what becomes one notification, what is suppressed, what the budget leaves, who gets the ends."""

from __future__ import annotations

import pytest

from tests.unit.alerts.alerting import TEN, VERSION_MS, WAIT_MS, MemoryAlertStore, a_policy, an_alert, taken
from tidemark.alerts.grouping import DAY_MS, SETTLE_MS, group_key
from tidemark.alerts.notification import LISTED, Notification
from tidemark.alerts.period_ends import KEEP_OPEN, end_of
from tidemark.alerts.router import AlertRouter
from udfs.alerts.event import Alert
from udfs.values import rfc3339

SECOND = 1_000
MAINTENANCE = ("maintenance", "upgrade", {"from": rfc3339(TEN), "until": rfc3339(TEN + 60_000), "reason": "upgrade"})


def only(alert_store: MemoryAlertStore) -> Notification:
    (notification,) = alert_store.notifications.values()
    return notification


def suppressed_by(alert_store: MemoryAlertStore, alert: Alert) -> object:
    return alert_store.alerts[alert.id, alert.source]["suppressed_by"]


def customers(notification: Notification) -> list[str]:
    return [event["data"]["customer_id"] for event in notification.events]


def test_alerts_of_one_tenant_and_cause_within_a_window_are_one_notification() -> None:
    #  10:00:00  c1
    #  10:00:04     c2           -> one, when the window and what it takes to read it are over
    #  10:00:10 ---------- c3    -> another
    alert_store = taken(
        [an_alert("c1"), an_alert("c2", at_ms=TEN + 4 * SECOND), an_alert("c3", at_ms=TEN + WAIT_MS)], a_policy()
    )
    first, second = sorted(alert_store.notifications.values(), key=lambda notification: notification.due_ms)
    assert (customers(first), customers(second)) == (["c1", "c2"], ["c3"])
    assert first.due_ms == TEN + WAIT_MS + SETTLE_MS
    assert first.body()["summary"] == "2 limit alerts firing, tenant acme, meter api_calls: c1, c2"
    assert second.body()["summary"] == "c3 firing"


@pytest.mark.parametrize(
    "other",
    [
        an_alert(tenant="globex"),
        an_alert(meter="storage"),
        an_alert(kind="anomaly.customer_spike"),
        an_alert(kind="pipeline.tenant_volume"),
        an_alert(at_ms=TEN + WAIT_MS),
        an_alert(at_ms=TEN - 1),
    ],
)
def test_another_tenant_cause_or_window_is_another_group(other: Alert) -> None:
    assert group_key(other, WAIT_MS) != group_key(an_alert(), WAIT_MS)


def test_types_of_a_family_share_a_cause_and_pipeline_types_do_not() -> None:
    assert group_key(an_alert(kind="limit.threshold"), WAIT_MS) == group_key(an_alert(), WAIT_MS)
    assert len({group_key(an_alert(kind=kind), WAIT_MS) for kind in ("pipeline.a", "pipeline.b")}) == 2


def test_ids_with_separators_in_them_never_share_a_group() -> None:
    assert group_key(an_alert(tenant="a|limit"), WAIT_MS) != group_key(an_alert(tenant="a"), WAIT_MS)
    assert group_key(an_alert(meter="x/y"), WAIT_MS) != group_key(an_alert(meter="x%2Fy"), WAIT_MS)


def test_the_first_critical_alert_of_a_group_does_not_wait_and_the_rest_are_one() -> None:
    alerts = [an_alert(f"c{number}", severity="critical", at_ms=TEN + number * SECOND) for number in range(4)]
    alert_store = taken([an_alert("calm"), *alerts], a_policy())
    urgent, rest = sorted(alert_store.notifications.values(), key=lambda notification: notification.due_ms)
    assert (customers(urgent), urgent.due_ms) == (["c0"], TEN + SECOND)
    assert (customers(rest), rest.due_ms) == (["calm", "c1", "c2", "c3"], TEN + WAIT_MS + SETTLE_MS)
    assert urgent.body()["group_key"] != rest.body()["group_key"]
    assert rest.severity == "critical"


def test_an_alert_that_is_read_after_its_group_was_closed_begins_another_part() -> None:
    policy, late = a_policy(), TEN + 60 * SECOND
    alert_store = taken([an_alert("c1")], policy)
    taken([an_alert("c2"), an_alert("c3")], policy, alert_store, now_ms=late)
    first, stragglers = sorted(alert_store.notifications.values(), key=lambda notification: notification.due_ms)
    assert (customers(first), customers(stragglers)) == (["c1"], ["c2", "c3"])
    assert stragglers.due_ms == late + SETTLE_MS


def test_no_alert_joins_a_notification_whose_sending_was_begun() -> None:
    policy = a_policy()
    alert_store = taken([an_alert("c1")], policy)
    only(alert_store).closed = True
    taken([an_alert("c2")], policy, alert_store)
    assert sorted(map(len, (notification.alert_ids for notification in alert_store.notifications.values()))) == [1, 1]


def test_an_alert_that_comes_twice_is_taken_once() -> None:
    alert_store = taken([an_alert(), an_alert()], a_policy())
    assert len(only(alert_store).alert_ids) == 1


def test_an_alert_without_a_route_is_stored_and_nobody_is_notified() -> None:
    policy = a_policy(("route", "all", {"tenants": ["globex"], "receivers": ["oncall"]}))
    alert = an_alert()
    policy = type(policy)(policy.receivers, policy.routes[1:])
    alert_store = taken([alert], policy)
    assert alert_store.notifications == {}
    assert suppressed_by(alert_store, alert) is None


def test_a_suppressed_alert_is_stored_with_the_rule_and_its_version() -> None:
    alert = an_alert()
    alert_store = taken([alert], a_policy(MAINTENANCE))
    assert alert_store.notifications == {}
    assert suppressed_by(alert_store, alert) == f"maintenance upgrade@{rfc3339(VERSION_MS)}"


def test_a_large_group_counts_all_and_lists_the_first() -> None:
    alert_store = taken([an_alert(f"c{number}") for number in range(LISTED + 1)], a_policy())
    notification = only(alert_store)
    assert (len(notification.alert_ids), len(notification.events)) == (LISTED + 1, LISTED)
    assert notification.body()["summary"].startswith(f"{LISTED + 1} limit alerts firing, tenant acme")


# The end.


def test_receivers_of_a_start_are_notified_of_its_end_even_in_maintenance() -> None:
    begun = an_alert(at_ms=TEN - WAIT_MS)
    ended = an_alert(at_ms=TEN + 1, status="resolved", kind="limit.exceeded")
    alert_store = taken([begun, ended], a_policy(MAINTENANCE))
    beginning, end = sorted(alert_store.notifications.values(), key=lambda notification: notification.due_ms)
    assert (beginning.status, end.status) == ("firing", "resolved")
    assert end.body()["group_key"] == beginning.body()["group_key"]
    assert suppressed_by(alert_store, ended) is None


def test_nobody_is_notified_of_the_end_of_a_suppressed_alert_which_has_the_same_reason() -> None:
    begun, ended = an_alert(), an_alert(at_ms=TEN + 120 * SECOND, status="resolved")
    alert_store = taken([begun, ended], a_policy(MAINTENANCE))
    assert alert_store.notifications == {}
    assert suppressed_by(alert_store, ended) == suppressed_by(alert_store, begun)


def test_an_end_goes_only_to_the_receivers_of_its_start() -> None:
    before = a_policy()
    after = a_policy(
        ("receiver", "chat", {"kind": "slack", "url": "https://chat.example"}),
        ("route", "more", {"receivers": ["chat"]}),
    )
    alert_store = taken([an_alert()], before)
    taken([an_alert(at_ms=TEN + 60 * SECOND, status="resolved")], after, alert_store)
    assert [notification.receiver for notification in alert_store.notifications.values()] == ["oncall", "oncall"]


def test_an_end_whose_start_could_not_be_delivered_is_not_sent() -> None:
    alert_store = taken([an_alert()], a_policy())
    only(alert_store).dead = True
    taken([an_alert(at_ms=TEN + 60 * SECOND, status="resolved")], a_policy(), alert_store)
    assert len(alert_store.notifications) == 1


def test_a_notification_of_a_response_is_resolved_by_the_response() -> None:
    begun = an_alert()
    alert_store = taken([begun], a_policy())
    alert_store.put(Notification("other", "oncall", "webhook", "firing", "dunning/1", TEN, alert_ids=[begun.id]))
    taken([an_alert(at_ms=TEN + 60 * SECOND, status="resolved")], a_policy(), alert_store)
    assert [only.group_key for only in alert_store.notifications.values()].count("dunning/1") == 1


def test_a_group_is_over_when_the_last_of_it_is() -> None:
    #  c1, c2 begin together; c1 ends at 10:01, c2 at 10:02
    alert_store = taken([an_alert("c1"), an_alert("c2")], a_policy())
    begun = only(alert_store).body()["group_key"]
    alert_store = taken(
        [an_alert("c1", at_ms=TEN + 60 * SECOND, status="resolved")], a_policy(), alert_store.reopened()
    )
    partly = max(alert_store.notifications.values(), key=lambda notification: notification.due_ms)
    assert partly.body()["group_key"] == f"{begun}|partly"
    assert partly.body()["summary"] == "c1 resolved (1 of the group still firing)"
    alert_store = taken(
        [an_alert("c2", at_ms=TEN + 120 * SECOND, status="resolved")], a_policy(), alert_store.reopened()
    )
    last = max(alert_store.notifications.values(), key=lambda notification: notification.due_ms)
    assert (last.body()["group_key"], last.body()["summary"]) == (begun, "c2 resolved")


def test_what_ends_with_its_period_no_longer_holds_a_group() -> None:
    short = (TEN - SECOND, TEN + 30 * SECOND)
    alert_store = taken([an_alert("c1"), an_alert("c2", period_ms=short)], a_policy())
    alert_store = taken([an_alert("c1", at_ms=TEN + 60 * SECOND, status="resolved")], a_policy(), alert_store)
    last = max(alert_store.notifications.values(), key=lambda notification: notification.due_ms)
    assert last.remaining == 0


def test_a_condition_that_comes_back_is_notified_again_and_its_end_resolves_the_last_start() -> None:
    times = ((0, "firing"), (60, "resolved"), (120, "firing"), (180, "resolved"))
    alerts = [an_alert(at_ms=TEN + second * SECOND, status=status) for second, status in times]  # type: ignore[arg-type]
    notification = sorted(taken(alerts, a_policy()).notifications.values(), key=lambda only: only.due_ms)
    keys = [only.body()["group_key"] for only in notification]
    assert (keys[0], keys[2]) == (keys[1], keys[3])
    assert keys[0] != keys[2]


def test_a_start_that_is_read_after_its_end_is_suppressed() -> None:
    begun, ended = an_alert(), an_alert(at_ms=TEN + SECOND, status="resolved")
    alert_store = taken([ended, begun], a_policy())
    assert alert_store.notifications == {}
    assert suppressed_by(alert_store, begun) == "its end, which was read before it"


# The budget.


def groups(number: int, *, at_ms: int = TEN) -> list[Alert]:
    """Alerts that are each a group of their own."""
    return [an_alert(meter=f"m{place}", at_ms=at_ms + place) for place in range(number)]


def test_what_is_beyond_the_budget_of_a_day_is_one_digest_that_lists_it() -> None:
    alerts = groups(25)
    alert_store = taken(alerts, a_policy())
    digests = [notification for notification in alert_store.notifications.values() if notification.digest]
    assert len(alert_store.notifications) == 21
    assert digests[0].alert_ids == [alert.id for alert in alerts[20:]]
    assert [suppressed_by(alert_store, alert) for alert in alerts] == [None] * 20 + ["budget of oncall"] * 5
    body = digests[0].body()
    assert (body["digest"], body["summary"]) == (True, "5 alerts beyond the budget of 2126-07-01")
    # ... which comes when the day is over.
    midnight = TEN - TEN % DAY_MS + DAY_MS
    assert digests[0].due_ms == midnight
    (budget,) = alert_store.budgets.values()
    assert (budget.sent, budget.digested) == (20, 5)


def test_the_next_day_has_a_budget_of_its_own() -> None:
    policy = a_policy(oncall={"daily_budget": 2})
    alert_store = taken([*groups(3), *groups(3, at_ms=TEN + DAY_MS)], policy)
    assert (
        sorted(notification.digest for notification in alert_store.notifications.values()) == [False] * 4 + [True] * 2
    )


def test_alerts_of_a_group_that_is_open_cost_nothing_more() -> None:
    policy = a_policy(oncall={"daily_budget": 1})
    alert_store = taken([an_alert(f"c{number}") for number in range(50)], policy)
    assert not only(alert_store).digest


def test_a_critical_alert_counts_like_any_other() -> None:
    policy = a_policy(oncall={"daily_budget": 1})
    alert = an_alert(severity="critical", at_ms=TEN + WAIT_MS)
    alert_store = taken([an_alert(), alert], policy)
    assert suppressed_by(alert_store, alert) == "budget of oncall"


def test_an_end_is_sent_over_budget_where_its_start_was_sent() -> None:
    policy = a_policy(oncall={"daily_budget": 1})
    begun, beyond = groups(2)
    ends = [an_alert(meter=f"m{place}", at_ms=TEN + 60 * SECOND, status="resolved") for place in range(2)]
    alert_store = taken([begun, beyond, *ends], policy)
    reported = [
        notification for notification in alert_store.notifications.values() if notification.status == "resolved"
    ]
    (digest,) = (notification for notification in alert_store.notifications.values() if notification.digest)
    assert [notification.alert_ids for notification in reported] == [[ends[0].id]]
    # The digest is not sent yet: it lists both.
    assert digest.alert_ids == [beyond.id, ends[1].id]
    assert suppressed_by(alert_store, ends[1]) == "budget of oncall"


def test_each_receiver_has_a_budget_of_its_own() -> None:
    policy = a_policy(
        ("receiver", "chat", {"kind": "slack", "url": "https://chat.example"}),
        ("route", "more", {"receivers": ["chat"]}),
        oncall={"daily_budget": 1},
    )
    alerts = groups(2)
    alert_store = taken(alerts, policy)
    assert suppressed_by(alert_store, alerts[1]) == "budget of oncall"
    assert (
        sum(
            notification.receiver == "chat" and not notification.digest
            for notification in alert_store.notifications.values()
        )
        == 2
    )


def test_an_end_of_a_period_goes_to_those_alone_that_keep_incidents_open() -> None:
    pager, chat = (
        ("receiver", name, {"kind": kind, "url": "https://x.example", "daily_budget": 20})
        for name, kind in (("pager", "pagerduty"), ("chat", "slack"))
    )
    route = ("route", "both", {"types": [], "severities": [], "tenants": [], "receivers": ["pager", "chat"]})
    start = an_alert(period_ms=(TEN - SECOND, TEN + 60 * SECOND))
    alert_store = taken([start], a_policy(pager, chat, route))
    router = AlertRouter(alert_store, lambda _: a_policy(pager, chat, route), WAIT_MS)
    end = end_of(start)
    assert (end.status, end.type, end.at_ms, end.fingerprint) == (
        "resolved", "limit.resolved", TEN + 60 * SECOND, start.fingerprint,
    )  # fmt: skip
    assert router.take(end, "warning", end.at_ms, KEEP_OPEN) == "notified"
    assert router.take(end_of(start), "warning", end.at_ms, KEEP_OPEN) == "known"
    router.finish()
    firing, resolved = (
        {one.receiver: one for one in alert_store.notifications.values() if one.status == status}
        for status in ("firing", "resolved")
    )
    assert set(firing) == {"oncall", "pager", "chat"}
    assert set(resolved) == {"oncall", "pager"}
    assert resolved["pager"].body()["group_key"] == firing["pager"].group_key


def test_what_is_seen_after_its_period_has_ended_ends_at_once() -> None:
    late = an_alert(at_ms=TEN, period_ms=(TEN - 2 * SECOND, TEN - SECOND))
    assert end_of(late).at_ms == TEN
    with pytest.raises(ValueError, match="without a period"):
        end_of(an_alert(period_ms=None))
