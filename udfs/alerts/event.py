"""An alert: one each time a condition begins or ends; on the topic a CloudEvent 1.0 in structured JSON."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Any, Literal, cast, get_args

from udfs.values import epoch_ms, parse_rfc3339, rfc3339

Status = Literal["firing", "resolved"]
Severity = Literal["info", "warning", "critical"]
SEVERITIES: tuple[Severity, ...] = get_args(Severity)

FINGERPRINT_BYTES = 16


class AlertError(ValueError):
    """A text is no alert of this version; says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Alert:
    """A condition that began (`firing`) or ended (`resolved`).

    Parameters
    ----------
    type:
        What is watched: `limit.*`, `anomaly.*` or `pipeline.*`.
    status, severity:
        Whether it began or ended; how bad it is.
    summary, suggested_action, runbook:
        In words: what it is, what to do, and where it says more.
    at_ms:
        When it was seen, UTC epoch ms.
    source:
        Who saw it: `tidemark/meter`, `tidemark/watch`, `tidemark/anomaly`, `tidemark/reconcile`, `tidemark/health`, …
    fingerprint:
        The same for the beginning and the end of one condition, and for no other; see `fingerprint`.
    id:
        The same whenever the same alert is made again: receivers take an id once. Empty while it is not known.
    tenant_id, customer_id, meter:
        What it is about, as far as it is about one.
    value, threshold:
        What was seen and what it is compared with, decimal text in the unit of the meter.
    period_ms:
        Billing period it belongs to, half-open, UTC epoch ms: with its end the condition is over, also unannounced.
    rule, rule_version:
        What decided: the limit or detector, and its version.
    evidence:
        The figures it was decided by and others that help, JSON values.
    """

    type: str
    status: Status
    severity: Severity
    summary: str
    suggested_action: str
    runbook: str
    at_ms: int
    source: str
    fingerprint: str
    id: str = ""
    tenant_id: str | None = None
    customer_id: str | None = None
    meter: str | None = None
    value: str | None = None
    threshold: str | None = None
    period_ms: tuple[int, int] | None = None
    rule: str | None = None
    rule_version: str | None = None
    evidence: Mapping[str, Any] = field(default_factory=dict)


# Fields of `data` that are written as they are, where there is something to write.
_PLAIN = (
    "status", "severity", "summary", "suggested_action", "runbook", "fingerprint", "tenant_id", "customer_id", "meter",
    "value", "threshold", "rule", "rule_version",
)  # fmt: skip
_REQUIRED = ("status", "severity", "summary", "runbook")
_OPTIONAL_TEXTS = tuple(name for name in _PLAIN if name not in _REQUIRED)


def fingerprint(*parts: str) -> str:
    """32 hex digits that name a condition; lengths in front keep ("a", "bc") and ("ab", "c") apart."""
    text = "".join(f"{len(part)}:{part}" for part in parts)
    return blake2b(text.encode(), digest_size=FINGERPRINT_BYTES).hexdigest()


def to_event(alert: Alert) -> dict[str, Any]:
    """An alert as a CloudEvent, its id first (`without_id` relies on it)."""
    data: dict[str, Any] = {name: value for name in _PLAIN if (value := getattr(alert, name)) is not None}
    if alert.period_ms is not None:
        data["period"] = dict(zip(("start", "end"), map(rfc3339, alert.period_ms), strict=True))
    data["evidence"] = dict(alert.evidence)
    return {
        "id": alert.id,
        "specversion": "1.0",
        "source": alert.source,
        "type": alert.type,
        "time": rfc3339(alert.at_ms),
        "datacontenttype": "application/json",
        "data": data,
    }


def to_json(alert: Alert) -> str:
    """The JSON text of `to_event`."""
    return json.dumps(to_event(alert), ensure_ascii=False, separators=(",", ":"))


def without_id(alert: Alert) -> str:
    """What `to_json` writes behind the id: for a writer that puts `{"id":"…",` in front."""
    return to_json(replace(alert, id="")).partition(",")[2]


def parse(text: str | bytes) -> Alert:
    """The alert of a JSON text; alerts of earlier versions get the fingerprint of their type and source.

    Raises
    ------
    AlertError
        It is no JSON, or lacks what every alert has.
    """
    try:
        event = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise AlertError(f"no alert: {type(error).__name__}: {error}"[:300]) from error
    return from_event(event)


def from_event(event: Any) -> Alert:
    """The alert of a CloudEvent, as `to_event` makes it.

    Raises
    ------
    AlertError
        It lacks what every alert has.
    """
    try:
        data = event["data"]
        kind, source = str(event["type"]), str(event["source"])
        named = {name: str(data[name]) for name in _OPTIONAL_TEXTS if data.get(name) is not None}
        tenant = {"tenant_id": str(found)} if (found := data["evidence"].get("tenant_id")) else {}
        texts = {
            "suggested_action": "", "fingerprint": fingerprint(kind, source, *tenant.values()), **tenant, **named,
        }  # fmt: skip
        return Alert(
            type=kind,
            source=source,
            id=str(event["id"]),
            at_ms=_ms(event["time"]),
            status=_one_of(data["status"], get_args(Status)),
            severity=_one_of(data["severity"], SEVERITIES),
            summary=str(data["summary"]),
            runbook=str(data["runbook"]),
            period_ms=_period(data.get("period")),
            evidence=dict(data["evidence"]),
            **cast("dict[str, Any]", texts),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise AlertError(f"no alert: {type(error).__name__}: {error}"[:300]) from error


def id_of(*parts: str) -> str:
    """The id of an alert that is stored before it is sent: the same parts make the same one, however often it is."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(parts)))


def _ms(text: str) -> int:
    return epoch_ms(parse_rfc3339(text))


def _period(value: Any) -> tuple[int, int] | None:
    return None if value is None else (_ms(value["start"]), _ms(value["end"]))


def _one_of(value: Any, allowed: tuple[Any, ...]) -> Any:
    if value not in allowed:
        raise ValueError(f"{value!r} is not one of {', '.join(allowed)}")
    return value
