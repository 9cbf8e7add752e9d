"""Prometheus Alertmanager, `POST /api/v2/alerts`: https://prometheus.io/docs/alerting/latest/alerts_api/."""

from __future__ import annotations

from typing import Any

from tidemark.delivery.document import Notification, cut, facts
from udfs.alerts.event import Alert
from udfs.values import rfc3339

PATH = "/api/v2/alerts"
# Alertmanager itself has no limit; hosted ones refuse labels and annotations of many kilobytes.
TEXT_LENGTH = 2_048
# An alert without an end is taken as over after resolve_timeout (5 min) unless it is sent again, and ours are sent
# once. A condition without a period gets this; its end is announced, and ends it before.
OPEN_ENDED_MS = 7 * 86_400_000


def alerts(notification: Notification) -> list[dict[str, Any]]:
    """Every alert of a notification; Alertmanager does its own grouping."""
    return [_alert(alert) for alert in notification.alerts]


def _alert(alert: Alert) -> dict[str, Any]:
    made = {"labels": _labels(alert), "annotations": _annotations(alert)}
    if alert.status == "resolved":
        # Without a start it is merged into the one that it ends, which keeps its own.
        return made | {"endsAt": rfc3339(alert.at_ms)}
    end_ms = alert.period_ms[1] if alert.period_ms else alert.at_ms + OPEN_ENDED_MS
    # Late usage of a period that is over: an end before the start is refused.
    return made | {"startsAt": rfc3339(alert.at_ms), "endsAt": rfc3339(max(end_ms, alert.at_ms))}


def _labels(alert: Alert) -> dict[str, str]:
    """What identifies a condition, no more: the end of an alert must have the labels of its start.

    Therefore the severity is an annotation, and the name of all alerts of limits is one: `limit.resolved` ends both
    `limit.threshold` and `limit.exceeded`.
    """
    family = "limit" if alert.type.startswith("limit.") else alert.type
    name = "".join(word[:1].upper() + word[1:] for word in family.replace("_", ".").split("."))
    labels = {
        "alertname": f"Tidemark{name}", "fingerprint": alert.fingerprint, "tenant_id": alert.tenant_id,
        "customer_id": alert.customer_id, "meter": alert.meter,
    }  # fmt: skip
    return {label: cut(value, TEXT_LENGTH) for label, value in labels.items() if value}


def _annotations(alert: Alert) -> dict[str, str]:
    texts = {"summary": alert.summary, "source": alert.source} | facts(alert)
    identifying = {"tenant_id", "customer_id", "meter"}
    return {name: cut(text, TEXT_LENGTH) for name, text in texts.items() if text and name not in identifying}
