"""Compares invoiced quantities with closed periods and their corrections."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from tidemark.core import audit
from tidemark.core.names import Names
from tidemark.reconcile.files import Column, decimal, instant, read_rows, text
from tidemark.reconcile.findings import Finding, Outcome, outcome_of, row_finding
from tidemark.reconcile.sample import Wanted

_IMPORT = """
INSERT INTO {} (invoice_id, tenant_id, customer_id, meter, dims, period_start, period_end, quantity)
VALUES (%(invoice_id)s, %(tenant_id)s, %(customer_id)s, %(meter)s, %(dims)s, %(period_start)s, %(period_end)s,
        %(quantity)s)
ON CONFLICT ON CONSTRAINT invoiced_once DO UPDATE SET quantity = EXCLUDED.quantity, imported_at = clock_timestamp()
"""
# Every line of the invoiced periods, on both sides: a meter that was invoiced over all dimensions is compared over all
# dimensions, the others line by line. Over dimensions, only additive meters and single lines have a value.
_LINES = """
WITH billed AS (
    SELECT tenant_id, customer_id, meter, dims, period_start, period_end, sum(quantity) AS quantity,
           string_agg(DISTINCT invoice_id, ', ' ORDER BY invoice_id) AS invoices
    FROM {schema}.invoiced
    WHERE %(tenant)s::text IS NULL OR tenant_id = %(tenant)s
    GROUP BY tenant_id, customer_id, meter, dims, period_start, period_end
), period AS (
    SELECT DISTINCT tenant_id, customer_id, period_start, period_end FROM billed
), whole AS (
    SELECT DISTINCT tenant_id, customer_id, meter, period_start, period_end FROM billed WHERE dims IS NULL
), closed AS (
    SELECT c.tenant_id, c.customer_id, c.meter, CASE WHEN w.meter IS NULL THEN c.dims END AS dims,
           c.period_start, c.period_end,
           CASE WHEN w.meter IS NULL OR count(*) = 1 OR min(c.aggregation) IN ('count', 'sum', 'weighted_sum')
                THEN sum(c.value) END AS quantity
    FROM {schema}.usage_corrected c
    JOIN period USING (tenant_id, customer_id, period_start, period_end)
    LEFT JOIN whole w USING (tenant_id, customer_id, meter, period_start, period_end)
    GROUP BY c.tenant_id, c.customer_id, c.meter, CASE WHEN w.meter IS NULL THEN c.dims END, w.meter,
             c.period_start, c.period_end
)
SELECT tenant_id, customer_id, meter, b.dims, c.dims, period_start, period_end, b.invoices, b.quantity, c.quantity,
       c.meter IS NOT NULL
FROM (SELECT *, coalesce(dims, '*') AS line FROM billed) b
FULL JOIN (SELECT *, coalesce(dims, '*') AS line FROM closed) c
    USING (tenant_id, customer_id, meter, period_start, period_end, line)
"""


def load(connection: psycopg.Connection, names: Names, path: Path, by: str = "") -> int:
    """Import lines of invoices, all or nothing; the same line of the same invoice is replaced. Returns how many.

    Raises
    ------
    UsageError
        The file cannot be read or has faults.
    """
    columns = {
        "invoice_id": Column(text),
        "tenant_id": Column(text),
        "customer_id": Column(text),
        "meter": Column(text),
        "dims": Column(text, required=False),
        "period_start": Column(instant),
        "period_end": Column(instant),
        "quantity": Column(decimal),
    }
    rows = read_rows(path, columns)
    statement = sql.SQL(_IMPORT).format(sql.Identifier(names.billing_schema, "invoiced"))
    with connection.transaction(), connection.cursor() as cursor:
        cursor.executemany(statement, rows)
        audit.record(connection, names.run_id, "reconcile.import_invoices", path.name, by=by, lines=len(rows))
    return len(rows)


def check(connection: psycopg.Connection, names: Names, wanted: Wanted, tolerance: Decimal) -> Outcome:
    """Compare every line of each period that has an invoice; a missing line counts as 0 on either side."""
    statement = sql.SQL(_LINES).format(schema=sql.Identifier(names.billing_schema))
    rows = connection.execute(statement, {"tenant": wanted.tenant}).fetchall()
    taken = [row for row in rows if wanted.takes(row[0], row[1])]
    findings = [finding for row in taken if (finding := _compare(row, tolerance)) is not None]
    return outcome_of(findings, len(taken))


def _compare(row: Sequence[Any], tolerance: Decimal) -> Finding | None:
    tenant, customer, meter, billed_dims, closed_dims, start, end, _, billed, closed, is_closed = row
    dims = billed_dims if billed is not None else closed_dims
    key = {"tenant_id": tenant, "customer_id": customer, "meter": meter, "period_start": start, "period_end": end}
    subject = key if dims is None else key | {"dims": dims}
    if is_closed and closed is None:
        # Its dimensions do not add up (for example distinct counts): the invoice has to name them.
        return Finding(subject | {"needs": "dims"}, None, f"quantity {billed}", None, start)
    expected, actual = {"quantity": closed or Decimal(0)}, {"quantity": billed or Decimal(0)}
    return row_finding(subject, expected, actual, start, "quantity", tolerance)
