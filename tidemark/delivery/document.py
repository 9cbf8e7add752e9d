"""A notification as it is stored, in the terms of every mapping: its alerts, its identity, its summary."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

from udfs.alerts.event import SEVERITIES, Alert, Severity, Status, fingerprint, from_event
from udfs.values import rfc3339

_MORE = "…"


class NotificationError(ValueError):
    """A stored body is not a valid notification; the text says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Notification:
    """What one receiver is sent at one time.

    Parameters
    ----------
    id:
        The same whenever it is sent again: the idempotency key.
    status, severity:
        Of all its alerts together.
    group_key:
        Names what its alerts have in common; the same for the start and the ends of it.
    summary:
        One sentence for people.
    events, alerts:
        At least one: as they came (CloudEvents), and parsed.
    digest:
        Whether it lists what was over the budget of a day.
    """

    id: str
    status: Status
    severity: Severity
    group_key: str
    summary: str
    events: tuple[Mapping[str, Any], ...]
    alerts: tuple[Alert, ...]
    digest: bool = False


def of_body(notification_id: str, body: Mapping[str, Any]) -> Notification:
    """The notification of a stored body.

    Raises
    ------
    NotificationError
        A part is missing or wrong.
    """
    try:
        events = tuple(body["alerts"])
        alerts = tuple(map(from_event, events))
        if not alerts or body["status"] not in get_args(Status) or body["severity"] not in SEVERITIES:
            raise ValueError("no alerts, or no status or severity that is known")  # noqa: TRY301  reported like the others
        return Notification(
            id=notification_id,
            status=body["status"],
            severity=body["severity"],
            group_key=str(body["group_key"]),
            summary=str(body["summary"]),
            events=events,
            alerts=alerts,
            digest=bool(body["digest"]),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise NotificationError(f"not a valid notification: {type(error).__name__}: {error}"[:300]) from error


def facts(alert: Alert) -> dict[str, str]:
    """Fields of an alert as short texts, named as in its contract; only those it has."""
    period = " to ".join(map(rfc3339, alert.period_ms)) if alert.period_ms else None
    texts = {
        "type": alert.type, "severity": alert.severity, "tenant_id": alert.tenant_id, "customer_id": alert.customer_id,
        "meter": alert.meter, "value": alert.value, "threshold": alert.threshold, "period": period, "rule": alert.rule,
        "rule_version": alert.rule_version, "at": rfc3339(alert.at_ms), "suggested_action": alert.suggested_action,
        "runbook": alert.runbook,
    }  # fmt: skip
    return {name: text for name, text in texts.items() if text}


def cut(text: str, length: int) -> str:
    """At most `length` characters of a text, the last one an ellipsis where something was cut off."""
    return text if len(text) <= length else text[: length - 1] + _MORE


def bounded_key(text: str, length: int) -> str:
    """A key as it is, or its hash where it is longer than a receiver takes: cutting would make keys equal."""
    return text if len(text) <= length else fingerprint(text)


def encoded(document: Any) -> bytes:
    """JSON as bytes; half of a surrogate pair, which no UTF-8 has, becomes a question mark."""
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
