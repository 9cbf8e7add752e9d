"""Suspension: a customer that reached a hard limit is denied everything until the period or the condition ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import LiteralString

import psycopg
from psycopg.rows import class_row

from tidemark.core import audit
from tidemark.responses import store
from tidemark.responses.flags import Flags
from tidemark.responses.handler import Start
from udfs.alerts.event import Alert
from udfs.catalog.model import Pair
from udfs.values import instant

NAME = "suspend"

_OPEN: LiteralString = "lifted_at IS NULL AND (until IS NULL OR until > now())"
_SUSPEND: LiteralString = """
INSERT INTO suspension (tenant_id, customer_id, source_fingerprint, reason, since, until)
VALUES (%s, %s, %s, %s, %s, %s)
ON CONFLICT DO NOTHING
"""
_LIFT: LiteralString = f"""
UPDATE suspension SET lifted_at = now(), lifted_by = %s
WHERE tenant_id = %s AND customer_id = %s AND source_fingerprint = %s AND {_OPEN}
"""
_LIFT_ALL: LiteralString = f"""
UPDATE suspension SET lifted_at = now(), lifted_by = %s
WHERE tenant_id = %s AND customer_id = %s AND {_OPEN}
RETURNING source_fingerprint
"""
_LIST: LiteralString = f"""
SELECT tenant_id, customer_id, source_fingerprint, reason, since, until, lifted_at, lifted_by, {_OPEN} AS is_open
FROM suspension
WHERE %(all)s OR ({_OPEN})
ORDER BY since DESC, tenant_id, customer_id, source_fingerprint
LIMIT %(limit)s
"""


@dataclass(frozen=True, slots=True)
class Suspension:
    """One row of the table; `is_open` while it denies."""

    tenant_id: str
    customer_id: str
    source_fingerprint: str
    reason: str
    since: datetime
    until: datetime | None
    lifted_at: datetime | None
    lifted_by: str | None
    is_open: bool


class Suspend:
    """Handler: `limit.exceeded` of a hard limit suspends, its end lifts.

    The table is the truth. The flag in Redis that readers use is a copy: written after the transaction, and again
    whenever it is missing or differs from the table.

    Parameters
    ----------
    flags:
        The flags in Redis.
    """

    name = NAME
    # Conditions of the past that still hold suspend as well.
    start: Start = "beginning"

    def __init__(self, flags: Flags) -> None:
        self._flags = flags

    def wants(self, alert: Alert) -> bool:
        """Whether a customer reached the cap of a hard limit in a period that was not over."""
        return (
            alert.type == "limit.exceeded"
            and alert.evidence.get("mode") == "hard"
            and bool(alert.tenant_id and alert.customer_id)
            and alert.period_ms is not None
            and alert.at_ms < alert.period_ms[1]
        )

    def begin(self, connection: psycopg.Connection, alert: Alert) -> None:
        """Suspend the customer to the end of the period."""
        until = None if alert.period_ms is None else instant(alert.period_ms[1])
        reason = f"{alert.meter} reached its limit of {alert.threshold}"
        who = [alert.tenant_id, alert.customer_id, alert.fingerprint]
        connection.execute(_SUSPEND, [*who, reason, instant(alert.at_ms), until])

    def undo(self, connection: psycopg.Connection, alert: Alert) -> None:
        """Lift the suspension of this condition; others of the customer stay."""
        connection.execute(_LIFT, [alert.type, alert.tenant_id, alert.customer_id, alert.fingerprint])

    def sync(self, connection: psycopg.Connection) -> int:
        """Write missing flags and delete those of lifted suspensions."""
        return self._flags.sync(connection)

    def close(self) -> None:
        """Give the connection to Redis back."""
        self._flags.close()


def lift(connection: psycopg.Connection, run_id: str, customer: Pair, by: str) -> Sequence[str]:
    """Lift all open suspensions of a customer by hand; returns their conditions.

    The same condition suspends no second time: only another one does, as that of the next period.
    """
    with connection.transaction():
        lifted = [row[0] for row in connection.execute(_LIFT_ALL, [by, *customer])]
        store.end_by_hand(connection, NAME, lifted, by)
        if lifted:
            audit.record(connection, run_id, "respond.undo", "/".join(customer), by=by, conditions=lifted)
    return lifted


def suspensions(connection: psycopg.Connection, *, everything: bool, limit: int) -> list[Suspension]:
    """Open suspensions, or all, newest first."""
    with connection.cursor(row_factory=class_row(Suspension)) as cursor:
        return cursor.execute(_LIST, {"all": everything, "limit": limit}).fetchall()
