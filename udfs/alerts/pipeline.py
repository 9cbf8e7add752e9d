"""Alerts about the pipeline itself: what does not run, tenants over a bound, numbers that differ, closes that wait."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from udfs.alerts.event import Alert, Severity, Status, fingerprint

# Bounds of a tenant; the type of an alert is `pipeline.` and one of them.
Rule = Literal["tenant_volume", "tenant_series", "tenant_unique"]

# What is wrong with the pipeline; the type of an alert is `pipeline.` and one of them.
Trouble = Literal["job_down", "lag", "checkpoints", "role_failing", "disk"]

METER_SOURCE = "tidemark/meter"
WATCH_SOURCE = "tidemark/watch"
RECONCILE_SOURCE = "tidemark/reconcile"
CLOSE_SOURCE = "tidemark/close"
HEALTH_SOURCE = "tidemark/health"
LIVE_COUNTERS = "pipeline.live_counters"
RECONCILE = "pipeline.reconcile"
CLOSE = "pipeline.close"

_LIVE_SUMMARIES: dict[Status, str] = {
    "firing": "Redis cannot be written: live counters stand still, counting and stored totals go on.",
    "resolved": "Redis can be written again: counters that were dropped follow from the stored totals.",
}
_TENANT_RUNBOOKS: dict[Rule, str] = {
    "tenant_volume": "docs/operations.md#tenant-volume",
    "tenant_series": "docs/operations.md#tenant-series",
    "tenant_unique": "docs/operations.md#tenant-unique-values",
}
_TENANT_FIGURES: dict[Rule, str] = {
    "tenant_volume": "measurements in an hour of event time",
    "tenant_series": "series in an hour of event time",
    "tenant_unique": "unique values in open periods",
}

_TROUBLE_SEVERITIES: dict[Trouble, Severity] = {
    "job_down": "critical", "lag": "warning", "checkpoints": "critical", "role_failing": "critical", "disk": "warning",
}  # fmt: skip
_TROUBLE_ACTIONS: dict[Trouble, str] = {
    "job_down": "`tidemark status`; then `tidemark submit {subject}`, or the log of Flink if it does not stay.",
    "lag": "Compare the rate of events with what {subject} reads; more parallelism, or wait for a catch-up to end.",
    "checkpoints": "See the checkpoints of {subject} in Flink's UI: what fails or waits, and whether the disk is full.",
    "role_failing": "Read the log of `tidemark serve` for role {subject}; start it if no process runs it.",
    "disk": "Free space below {subject}, or make the disk larger, before jobs cannot write checkpoints.",
}
_RUNBOOKS: dict[Trouble, str] = {
    "job_down": "docs/operations.md#a-job-is-down",
    "lag": "docs/operations.md#a-job-lags",
    "checkpoints": "docs/operations.md#checkpoints-fail",
    "role_failing": "docs/operations.md#a-role-fails",
    "disk": "docs/operations.md#a-disk-is-full",
}


def health(trouble: Trouble, status: Status, *, evidence: Mapping[str, Any], at_ms: int, event_id: str) -> Alert:
    """Something of the pipeline does not run as it should (`firing`), or does again (`resolved`).

    Parameters
    ----------
    trouble:
        What is wrong; the type of the alert is `pipeline.` and this.
    status:
        Whether it begins or ends.
    evidence:
        At least subject (the job, role or disk), detail, value and threshold.
    at_ms:
        When it was seen, UTC epoch milliseconds.
    event_id:
        The same whenever the same alert is sent again.
    """
    subject = str(evidence["subject"])
    summaries: dict[Status, str] = {
        "firing": f"{evidence['detail']}.",
        "resolved": f"{trouble.replace('_', ' ').capitalize()}: {subject} is well again.",
    }
    return Alert(
        type=f"pipeline.{trouble}",
        status=status,
        severity=_TROUBLE_SEVERITIES[trouble],
        summary=summaries[status],
        suggested_action=_TROUBLE_ACTIONS[trouble].format(subject=subject),
        runbook=_RUNBOOKS[trouble],
        at_ms=at_ms,
        source=HEALTH_SOURCE,
        fingerprint=fingerprint(f"pipeline.{trouble}", subject),
        id=event_id,
        value=str(evidence["value"]),
        threshold=str(evidence["threshold"]),
        evidence=evidence,
    )


def live_counters(status: Status, *, at_ms: int, evidence: Mapping[str, Any]) -> Alert:
    """Redis was lost to the meter job (`firing`), or can be written again (`resolved`)."""
    return Alert(
        type=LIVE_COUNTERS,
        status=status,
        severity="warning",
        summary=_LIVE_SUMMARIES[status],
        suggested_action="Look at Redis: whether it runs, has memory left, and takes writes.",
        runbook="docs/architecture.md#when-redis-is-down",
        at_ms=at_ms,
        source=METER_SOURCE,
        fingerprint=fingerprint(LIVE_COUNTERS),
        evidence=evidence,
    )


def tenant_alarm(rule: Rule, status: Status, *, evidence: Mapping[str, Any], at_ms: int, event_id: str) -> Alert:
    """A tenant went over a bound of its volume (`firing`), or nothing of it was news for an hour (`resolved`).

    Parameters
    ----------
    rule:
        Which bound; the type of the alert is `pipeline.` and this.
    status:
        Whether it begins or ends.
    evidence:
        At least tenant_id, value and bound.
    at_ms:
        When it was seen, UTC epoch milliseconds.
    event_id:
        The same whenever the same alert is sent again.

    """
    verb = "passed" if status == "firing" else "no longer passes"
    tenant = str(evidence["tenant_id"])
    return Alert(
        type=f"pipeline.{rule}",
        status=status,
        severity="warning",
        summary=f"Tenant {tenant} {verb} the bound of {evidence['bound']} {_TENANT_FIGURES[rule]} "
        f"(greatest: {evidence['value']}). Nothing is dropped.",
        suggested_action=f"Ask whether the usage of {tenant} is real; if it is here to stay, raise the bound.",
        runbook=_TENANT_RUNBOOKS[rule],
        at_ms=at_ms,
        source=WATCH_SOURCE,
        fingerprint=fingerprint(rule, tenant),
        id=event_id,
        tenant_id=tenant,
        value=str(evidence["value"]),
        threshold=str(evidence["bound"]),
        evidence=evidence,
    )


def reconcile(status: Status, *, evidence: Mapping[str, Any], at_ms: int, event_id: str) -> Alert:
    """Reconciliation has found what nobody has explained (`firing`), or nothing of it is open any more (`resolved`).

    Parameters
    ----------
    status:
        Whether it begins or ends.
    evidence:
        At least open, the number of open differences.
    at_ms:
        When it was seen, UTC epoch milliseconds.
    event_id:
        The same whenever the same alert is sent again.

    """
    summaries: dict[Status, str] = {
        "firing": f"Reconciliation found {evidence['open']} unexplained differences; what they concern does not close.",
        "resolved": "No difference of the reconciliation is open any more.",
    }
    return Alert(
        type=RECONCILE,
        status=status,
        severity="critical",
        summary=summaries[status],
        suggested_action="`tidemark reconcile drift` lists them: find the cause, mend or explain it, reconcile again.",
        runbook="docs/operations.md#reconciliation-difference",
        at_ms=at_ms,
        source=RECONCILE_SOURCE,
        fingerprint=fingerprint(RECONCILE),
        id=event_id,
        value=str(evidence["open"]),
        threshold="0",
        evidence=evidence,
    )


def close(status: Status, *, evidence: Mapping[str, Any], at_ms: int, event_id: str) -> Alert:
    """Periods that are due are not closed before somebody says yes (`firing`), or none is held any more (`resolved`).

    Parameters
    ----------
    status:
        Whether it begins or ends.
    evidence:
        At least periods, the number of periods that are held.
    at_ms:
        When it was seen, UTC epoch milliseconds.
    event_id:
        The same whenever the same alert is sent again.

    """
    summaries: dict[Status, str] = {
        "firing": f"{evidence['periods']} periods are due and are not closed: the watermark jumped, or they are many.",
        "resolved": "No period waits for a yes any more.",
    }
    return Alert(
        type=CLOSE,
        status=status,
        severity="critical",
        summary=summaries[status],
        suggested_action="`tidemark close --dry-run --yes` shows all; if the watermark is right, leave out --dry-run.",
        runbook="docs/operations.md#a-period-does-not-close",
        at_ms=at_ms,
        source=CLOSE_SOURCE,
        fingerprint=fingerprint(CLOSE),
        id=event_id,
        value=str(evidence["periods"]),
        threshold="0",
        evidence=evidence,
    )
