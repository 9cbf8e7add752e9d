"""Changes of anomalies in words: alerts for the topic, rows for the table."""

from __future__ import annotations

from decimal import Decimal
from typing import NamedTuple

from udfs.alerts.event import Alert, Severity, fingerprint, to_json
from udfs.anomaly.series import Change, Kind, Series
from udfs.anomaly.tuning import DAY_MS
from udfs.values import rfc3339

SOURCE = "tidemark/anomaly"
# Another version of the detectors is another condition.
RULE_VERSION = "1"


class _Words(NamedTuple):
    severity: Severity
    firing: str
    resolved: str
    action: str
    anchor: str


_WORDS: dict[Kind, _Words] = {
    "spike": _Words(
        "warning", "far more {what} than expected", "{what} is as expected again",
        "Look for a client that repeats itself, or for a change that measures twice.", "usage-spike",
    ),
    "drop": _Words(
        "warning", "far less {what} than expected", "{what} is as expected again",
        "Ask what stopped sending: compare customers and dimensions with the hours before.", "usage-drop",
    ),
    "missing": _Words(
        "critical", "no more {what} come, where there should be some", "{what} comes again",
        "See whether the producers run and reach Kafka, then whether the meter job makes progress.", "missing-usage",
    ),
    "drift": _Words(
        "info", "{what} has moved away slowly from what it was", "{what} is what it was, or has been so for weeks",
        "Decide whether it is growth, churn, or a meter that counts something else by now.", "slow-drift",
    ),
    "customer_spike": _Words(
        "warning", "far more {what} than the customer has", "{what} is as usual again",
        "Ask the customer before the invoice does; look for a leaked key or a loop.", "customer-spike",
    ),
    "error_rate": _Words(
        "warning", "an unusual share of the events cannot be counted", "as many events can be counted as usual",
        "`tidemark dlq list` names the reasons; correct the producer or the catalog, then redrive.", "error-rate",
    ),
}  # fmt: skip


class AlertRow(NamedTuple):
    """A change as it leaves the job: the alert for the topic, and the columns of the table `anomaly`.

    Parameters
    ----------
    alert:
        JSON text.
    tenant_id, customer_id, meter, kind, since_ms:
        Key; customer and meter are empty where there is none.
    status, expected, observed, threshold, score, at_ms:
        As in `Change`; decimals as text.
    """

    alert: str
    tenant_id: str
    customer_id: str
    meter: str
    kind: str
    since_ms: int
    status: str
    expected: str
    observed: str
    threshold: str
    score: str
    at_ms: int


def alert_of(series: Series, change: Change) -> Alert:
    """The alert of a change; its id is the same whenever the change is made again."""
    words = _WORDS[change.kind]
    kind = f"anomaly.{change.kind}"
    print_ = fingerprint(kind, RULE_VERSION, *series[1:])
    return Alert(
        type=kind,
        status=change.status,
        severity=words.severity,
        summary=_summary(series, change, words),
        suggested_action=words.action,
        runbook=f"docs/anomalies.md#{words.anchor}",
        at_ms=change.at_ms,
        source=SOURCE,
        fingerprint=print_,
        id=fingerprint(print_, str(change.since_ms), change.status),
        tenant_id=series.tenant_id,
        customer_id=series.customer_id or None,
        meter=series.meter or None,
        value=text_of(change.observed),
        threshold=text_of(change.threshold),
        rule=change.kind,
        rule_version=RULE_VERSION,
        evidence={
            "expected": text_of(change.expected),
            "observed": text_of(change.observed),
            "score": text_of(change.score),
            "since": rfc3339(change.since_ms),
            "window_s": change.window_ms // 1_000,
            "detector": change.kind,
        },
    )


def row_of(series: Series, change: Change) -> AlertRow:
    """What the job emits for a change."""
    return AlertRow(
        to_json(alert_of(series, change)),
        series.tenant_id,
        series.customer_id,
        series.meter,
        change.kind,
        change.since_ms,
        change.status,
        text_of(change.expected),
        text_of(change.observed),
        text_of(change.threshold),
        text_of(change.score),
        change.at_ms,
    )


def text_of(value: Decimal) -> str:
    """A decimal without an exponent, and without zeros behind the last digit."""
    text = f"{value:f}"
    return (text.rstrip("0").rstrip(".") or "0") if "." in text else text


def _summary(series: Series, change: Change, words: _Words) -> str:
    whose = f"Customer {series.customer_id} of tenant" if series.customer_id else "Tenant"
    said = (words.firing if change.status == "firing" else words.resolved).format(what=series.meter or "usage")
    length = "7 days" if change.window_ms >= DAY_MS else "hour"
    return (
        f"{whose} {series.tenant_id}: {said}. The last {length}: {text_of(change.observed)}, "
        f"expected {text_of(change.expected)}; since {rfc3339(change.since_ms)}."
    )
