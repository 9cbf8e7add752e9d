"""Candidates for alerts on their way from Python to Flink SQL: one text a row, which SQL takes apart again."""

from __future__ import annotations

from collections.abc import Sequence

from udfs.alerts.event import Alert, without_id
from udfs.calendars.calendar import SEPARATOR

# Between the candidates of one row; JSON and ids hold no control characters.
CANDIDATE_SEPARATOR = "\x1e"


def packed_candidates(alerts: Sequence[Alert]) -> str | None:
    """Fingerprint, status, tenant and body without id of each candidate; None for no candidates."""
    if not alerts:
        return None
    return CANDIDATE_SEPARATOR.join(
        SEPARATOR.join((one.fingerprint, one.status, one.tenant_id or "", without_id(one))) for one in alerts
    )
