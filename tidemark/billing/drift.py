"""Open differences that reconciliation found: they block a close until somebody explains them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

import psycopg
from psycopg import sql
from psycopg.rows import class_row

from tidemark.core.names import Names

_COLUMNS = (
    "id, reconcile_id, check_name, tenant_id, customer_id, meter, subject, bucket_at, expected, actual, delta, found_at"
)
_OPEN = f"""
SELECT {_COLUMNS} FROM {{schema}}.drift_open
WHERE %(tenant)s::text IS NULL OR tenant_id IS NULL OR tenant_id = %(tenant)s
ORDER BY id
"""


@dataclass(frozen=True, slots=True)
class Drift:
    """An open difference: unexplained, and not checked again by a later run of the same check.

    `tenant_id` None: it concerns all tenants, as a partition does; `customer_id` None: the whole tenant. `subject` is
    JSON text; the other fields are those of `Finding`.
    """

    id: int
    reconcile_id: int
    check_name: str
    tenant_id: str | None
    customer_id: str | None
    meter: str | None
    subject: str
    bucket_at: datetime | None
    expected: str | None
    actual: str | None
    delta: Decimal | None
    found_at: datetime

    @property
    def text(self) -> str:
        """The difference as text."""
        expected, actual = (side or "nothing" for side in (self.expected, self.actual))
        return f"drift {self.id} ({self.check_name}): {self.subject} is {actual}, expected {expected}"


def open_drift(connection: psycopg.Connection, names: Names, tenant: str | None = None) -> list[Drift]:
    """Open differences, the oldest first: all, or those that concern one tenant or all tenants."""
    statement = sql.SQL(_OPEN).format(schema=sql.Identifier(names.billing_schema))
    with connection.cursor(row_factory=class_row(Drift)) as cursor:
        return cursor.execute(statement, {"tenant": tenant}).fetchall()
