"""Candidates for alerts on their way from Python to Flink SQL: one text a row, which SQL takes apart again."""

from __future__ import annotations

from collections.abc import Sequence

from udfs.alerts.event import Alert, without_id
from udfs.wire import CANDIDATE


def packed_candidates(alerts: Sequence[Alert]) -> str | None:
    """Fingerprint, status, tenant and body without id of each candidate; None for no candidates."""
    if not alerts:
        return None
    return CANDIDATE.between.join(
        CANDIDATE.pack(alert.fingerprint, alert.status, alert.tenant_id or "", without_id(alert)) for alert in alerts
    )
