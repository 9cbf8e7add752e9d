"""PagerDuty Events API v2: https://developer.pagerduty.com/docs/events-api-v2/trigger-events/."""

from __future__ import annotations

from typing import Any

from tidemark.delivery.document import Notification, bounded_key, cut, encoded, facts
from udfs.alerts.event import Alert, Severity
from udfs.values import rfc3339

# Limits of the API: "maximum permitted length" of payload.summary and dedup_key, and "Events API payloads are limited
# to 512 KB". Details get 400 000 bytes, so that the rest has room also where every character takes four.
SUMMARY_LENGTH = 1_024
KEY_LENGTH = 255
EVENT_BYTES = 512_000
_DETAIL_BYTES = 400_000
_EVIDENCE_BYTES = 20_000

# Of its four severities `error` is not used: an alert has three.
_SEVERITIES: dict[Severity, str] = {"info": "info", "warning": "warning", "critical": "critical"}


def event(notification: Notification, routing_key: str) -> dict[str, Any]:
    """The event that opens an incident, or ends the one with the same dedup_key.

    Parameters
    ----------
    notification:
        What is sent; resolved ones carry no more than the key.
    routing_key:
        Integration key of a service, the secret.
    """
    head = {
        "routing_key": routing_key,
        "dedup_key": bounded_key(notification.group_key, KEY_LENGTH),
        "client": "Tidemark",
    }
    if notification.status == "resolved":
        return head | {"event_action": "resolve"}
    made = head | {"event_action": "trigger", "payload": _payload(notification)}
    links = sorted(
        {alert.runbook for alert in notification.alerts if alert.runbook.startswith(("http://", "https://"))}
    )
    return made | ({"links": [{"href": links[0], "text": "Runbook"}]} if links else {})


def _payload(notification: Notification) -> dict[str, Any]:
    alerts = notification.alerts
    first = min(alerts, key=lambda alert: alert.at_ms)
    required = {
        "summary": cut(notification.summary, SUMMARY_LENGTH),
        "source": cut(first.source, SUMMARY_LENGTH),
        "severity": _SEVERITIES[notification.severity],
    }
    optional = {
        "timestamp": rfc3339(first.at_ms),
        "component": _common([alert.meter for alert in alerts]),
        "group": _common([alert.tenant_id for alert in alerts]),
        "class": "digest" if notification.digest else _common([alert.type for alert in alerts]),
        "custom_details": _details(notification),
    }
    return required | {name: value for name, value in optional.items() if value}


def _details(notification: Notification) -> dict[str, Any]:
    """Facts of every alert, with evidence, as many as there is room for."""
    shown: list[dict[str, Any]] = []
    left = _DETAIL_BYTES
    for alert in notification.alerts:
        detail = _detail(alert)
        left -= len(encoded(detail)) + 1
        if left < 0:
            break
        shown.append(detail)
    if len(notification.alerts) == 1 and shown:
        return shown[0]
    omitted = len(notification.alerts) - len(shown)
    counts = {"alert_count": len(notification.alerts)} | ({"alerts_left_out": omitted} if omitted else {})
    return counts | {"alerts": shown}


def _detail(alert: Alert) -> dict[str, Any]:
    texts = {"summary": alert.summary} | facts(alert)
    detail: dict[str, Any] = {name: cut(text, SUMMARY_LENGTH) for name, text in texts.items()}
    evidence = dict(alert.evidence)
    return detail | ({"evidence": evidence} if evidence and len(encoded(evidence)) <= _EVIDENCE_BYTES else {})


def _common(values: list[str | None]) -> str:
    """The value that all have; empty where they differ or have no value."""
    return cut(values[0], SUMMARY_LENGTH) if values[0] and set(values) == {values[0]} else ""
