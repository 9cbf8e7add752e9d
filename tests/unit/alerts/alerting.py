"""A store in memory for the tests of the alert router, and alerts for them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tidemark.alerts.notification import Notification
from tidemark.alerts.policy import Policy, policy_of
from tidemark.alerts.router import AlertRouter, Budget, Earlier
from tidemark.core.times import given_ms
from udfs.alerts.event import Alert, Severity, Status, fingerprint

# A century ahead: no group is closed by the clock while a test runs.
TEN = given_ms("2126-07-01T10:00:00Z")
JULY = (given_ms("2126-07-01T00:00:00Z"), given_ms("2126-08-01T00:00:00Z"))
WAIT_MS = 10_000
VERSION_MS = given_ms("2126-06-01T00:00:00Z")
ONCALL: dict[str, Any] = {
    "kind": "pagerduty",
    "url": "https://events.example/v2",
    "secret_file": "PD",
    "daily_budget": 20,
}
EVERYTHING: dict[str, Any] = {"types": [], "severities": [], "tenants": [], "receivers": ["oncall"]}


@dataclass
class MemoryAlertStore:
    """What the tables hold; `reopened` is what a restart finds."""

    alerts: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    notifications: dict[str, Notification] = field(default_factory=dict)
    budgets: dict[tuple[str, int], Budget] = field(default_factory=dict)
    touched: set[str] = field(default_factory=set)

    def record(self, alert: Alert, severity: Severity, key: str, suppressed_by: str | None) -> bool:
        if (alert.id, alert.source) in self.alerts:
            return False
        self.alerts[alert.id, alert.source] = {
            "alert": alert,
            "severity": severity,
            "key": key,
            "suppressed_by": suppressed_by,
        }
        return True

    def suppress(self, alert: Alert, suppressed_by: str) -> None:
        self.alerts[alert.id, alert.source]["suppressed_by"] = suppressed_by

    def earlier(self, fingerprint: str) -> Sequence[Earlier]:
        rows = (row for row in self.alerts.values() if row["alert"].fingerprint == fingerprint)
        return [Earlier(r["alert"].id, r["alert"].status, r["alert"].at_ms, r["key"], r["suppressed_by"]) for r in rows]

    def still_firing(self, alert_ids: Sequence[str], at_ms: int) -> int:
        alerts = [row["alert"] for row in self.alerts.values()]
        over = {(alert.fingerprint, alert.at_ms) for alert in alerts if alert.status == "resolved"}
        return sum(
            1
            for alert in alerts
            if alert.id in alert_ids
            and alert.status == "firing"
            and (alert.period_ms is None or alert.period_ms[1] > at_ms)
            and not any(name == alert.fingerprint and ended >= alert.at_ms for name, ended in over)
        )

    def find(self, notification_id: str) -> Notification | None:
        return self.notifications.get(notification_id)

    def containing(self, alert_id: str) -> Sequence[Notification]:
        return [
            notification for _, notification in sorted(self.notifications.items()) if alert_id in notification.alert_ids
        ]

    def put(self, notification: Notification) -> None:
        self.notifications[notification.notification_id] = notification
        self.touched.add(notification.notification_id)

    def changed(self) -> Iterable[Notification]:
        return [self.notifications[name] for name in sorted(self.touched)]

    def budget(self, receiver: str, day_ms: int) -> Budget:
        return self.budgets.setdefault((receiver, day_ms), Budget())

    def reopened(self) -> MemoryAlertStore:
        notifications = {
            name: replace(
                notification,
                group_key=notification.body()["group_key"],
                alert_ids=[*notification.alert_ids],
                sources=[*notification.sources],
                events=[*notification.events],
                resolves=None,
                remaining=0,
            )
            for name, notification in self.notifications.items()
        }
        budgets = {key: replace(notification) for key, notification in self.budgets.items()}
        return MemoryAlertStore({key: {**row} for key, row in self.alerts.items()}, notifications, budgets)

    def alerts_by_notification(self) -> dict[str, tuple[str, frozenset[str]]]:
        """Receiver and alerts of each notification, by id."""
        return {
            name: (notification.receiver, frozenset(notification.alert_ids))
            for name, notification in self.notifications.items()
        }


def an_alert(
    customer: str | None = "c1", *, at_ms: int = TEN, status: Status = "firing", kind: str = "limit.exceeded",
    severity: Severity = "warning", tenant: str | None = "acme", meter: str | None = "api_calls", mode: str = "hard",
    cycle: str = "", period_ms: tuple[int, int] | None = JULY,
) -> Alert:  # fmt: skip
    """An alert whose id follows from what it is about, its status and its time."""
    condition = fingerprint(kind, tenant or "", customer or "", meter or "", cycle)
    return Alert(
        type=kind,
        status=status,
        severity=severity,
        summary=f"{customer} {status}",
        suggested_action="Look.",
        runbook="docs/alerts.md#limit-exceeded",
        at_ms=at_ms,
        source="tidemark/meter",
        fingerprint=condition,
        id=fingerprint(condition, status, str(at_ms)),
        tenant_id=tenant,
        customer_id=customer,
        meter=meter,
        value="5",
        threshold="4",
        period_ms=period_ms,
        rule="customer/c1",
        rule_version="1",
        evidence={"mode": mode, "cap": "4", "share": "1.25"},
    )


def a_policy(*rows: tuple[str, str, dict[str, Any]], oncall: dict[str, Any] | None = None) -> Policy:
    """One receiver that gets everything, and these rows."""
    base = (("receiver", "oncall", ONCALL | (oncall or {})), ("route", "all", EVERYTHING))
    return policy_of((kind, name, body, VERSION_MS) for kind, name, body in (*base, *rows))


def taken(
    alerts: Iterable[Alert], policy: Policy, alert_store: MemoryAlertStore | None = None, *, now_ms: int | None = None
) -> MemoryAlertStore:
    """What the router makes of alerts in order, at a clock that follows them (or is always `now_ms`)."""
    alert_store = alert_store or MemoryAlertStore()
    router = AlertRouter(alert_store, lambda _: policy, WAIT_MS)
    for alert in alerts:
        router.take(alert, alert.severity, alert.at_ms + 1_000 if now_ms is None else now_ms)
    router.finish()
    return alert_store
