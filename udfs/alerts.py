"""Alerts: CloudEvents 1.0 in structured JSON, one each time a condition begins or ends."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal

from udfs.volume import Rule

SOURCE = "tidemark/meter"
WATCH_SOURCE = "tidemark/watch"
LIVE_COUNTERS = "pipeline.live_counters"
LIVE_COUNTERS_RUNBOOK = "docs/architecture.md#redis-being-away"

Status = Literal["firing", "resolved"]
Severity = Literal["info", "warning", "critical"]

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


def cloud_event(
    kind: str,
    *,
    status: Status,
    severity: Severity,
    summary: str,
    runbook: str,
    evidence: Mapping[str, Any],
    at_ms: int,
    event_id: str = "",
    source: str = SOURCE,
) -> str:
    """One alert as JSON text.

    Parameters
    ----------
    kind:
        CloudEvents type: what is watched, for example `pipeline.live_counters`.
    status, severity, summary, runbook, evidence:
        What began or ended, how bad it is, in words, what to do, and the figures it was decided by (JSON values).
    at_ms:
        When it was seen, UTC epoch milliseconds.
    event_id:
        Unique within the source; a random one when empty.
    source:
        Who saw it: SOURCE or WATCH_SOURCE.

    """
    at = datetime.fromtimestamp(at_ms / 1_000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    event = {
        "specversion": "1.0",
        "id": event_id or uuid.uuid4().hex,
        "source": source,
        "type": kind,
        "time": at,
        "datacontenttype": "application/json",
        "data": {
            "status": status,
            "severity": severity,
            "summary": summary,
            "runbook": runbook,
            "evidence": dict(evidence),
        },
    }
    return json.dumps(event, ensure_ascii=False, separators=(",", ":"))


def live_counters(status: Status, *, at_ms: int, evidence: Mapping[str, Any], event_id: str = "") -> str:
    """Redis was lost to the meter job (`firing`), or can be written again (`resolved`)."""
    return cloud_event(
        LIVE_COUNTERS,
        status=status,
        severity="warning",
        summary=_LIVE_SUMMARIES[status],
        runbook=LIVE_COUNTERS_RUNBOOK,
        evidence=evidence,
        at_ms=at_ms,
        event_id=event_id,
    )


def tenant_alarm(rule: Rule, status: Status, *, evidence: Mapping[str, Any], at_ms: int, event_id: str) -> str:
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
    return cloud_event(
        f"pipeline.{rule}",
        status=status,
        severity="warning",
        summary=f"Tenant {evidence['tenant_id']} {verb} the bound of {evidence['bound']} {_TENANT_FIGURES[rule]} "
        f"(greatest: {evidence['value']}). Nothing is dropped.",
        runbook=_TENANT_RUNBOOKS[rule],
        evidence=evidence,
        at_ms=at_ms,
        event_id=event_id,
        source=WATCH_SOURCE,
    )
