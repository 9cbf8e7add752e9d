"""An alarm in the schema of the ledger, of which one runs at a time."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC
from typing import Any, Protocol

from tidemark.core.alarms import Alarms, Stored
from udfs.alerts.event import Alert, Status, id_of
from udfs.values import epoch_ms, rfc3339


class Made(Protocol):
    """Makes the alert of a condition."""

    def __call__(self, status: Status, *, evidence: Mapping[str, Any], at_ms: int, event_id: str) -> Alert:
        """The alert of its begin (`firing`) or end (`resolved`)."""
        ...


def ledger_alarm(table: str, type_: str, made: Made, ended: Mapping[str, Any]) -> Alarms:
    """The alarm of a table.

    Parameters
    ----------
    table:
        Of the schema of the ledger.
    type_:
        Type of its alerts.
    made:
        Makes them.
    ended:
        Evidence of its end, beside `since`.
    """

    def make(topic: str, stored: Stored, status: Status) -> Alert:
        event_id = id_of(topic, type_, stored.since.astimezone(UTC).isoformat(), status)
        if status == "resolved":
            shown = {**ended, "since": rfc3339(stored.since)}
            at = stored.resolved_at or stored.since
            return made(status, evidence=shown, at_ms=epoch_ms(at), event_id=event_id)
        return made(status, evidence=stored.evidence, at_ms=epoch_ms(stored.since), event_id=event_id)

    return Alarms(table, lambda names: names.billing_schema, make)
