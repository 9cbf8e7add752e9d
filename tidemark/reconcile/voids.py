"""Voids that match no counted event, or an event with other values: not drift, but probably a mistake of the sender."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import psycopg
from psycopg import sql

from tidemark.core.names import Names
from tidemark.oracle.oracle import Oracle
from tidemark.reconcile.findings import MOST_FINDINGS, Finding, Outcome
from tidemark.reconcile.sample import Wanted
from udfs.values import instant

_COUNTED = """
SELECT count(*) FROM amounted AS a
JOIN outcomes AS v ON v.partition = a.partition AND v."offset" = a."offset" AND v.outcome = 'counted'
WHERE a.voids IS NOT NULL
"""
# What an event adds and a void subtracts, for meters with voids: equal except for the sign if they match.
_UNMATCHED = """
WITH counted AS (
    SELECT a.partition, a."offset", a.tenant_id, a.customer_id, a.source, a.event_id, a.voids, a.event_ms
    FROM amounted AS a
    JOIN outcomes AS v ON v.partition = a.partition AND v."offset" = a."offset" AND v.outcome = 'counted'
),
void AS (
    SELECT * FROM counted WHERE voids IS NOT NULL
),
-- Copies may have different ids. A void that names itself does not take back another event.
void_id AS (
    SELECT DISTINCT a.tenant_id, a.source, a.event_id
    FROM amounted AS a
    JOIN outcomes AS v ON v.partition = a.partition AND v."offset" = a."offset"
    WHERE v.outcome IN ('counted', 'duplicate') AND a.voids IS NOT NULL AND a.voids <> a.event_id
),
effect AS (
    SELECT partition, "offset", list_sort(list(
        (customer_id, meter, dims, part, minute_utc, day, period_start,
         CASE WHEN is_void THEN -amount ELSE amount END, CASE WHEN is_void THEN -samples ELSE samples END)::VARCHAR
    )) AS what
    FROM usage
    WHERE aggregation IN ('count', 'sum', 'avg', 'weighted_sum')
    GROUP BY partition, "offset"
)
SELECT v.tenant_id, v.customer_id, v.source, v.event_id, v.voids, v.event_ms,
    CASE
        WHEN o.event_id IS NOT NULL THEN 'other_values'
        WHEN i.event_id IS NOT NULL THEN 'void_of_a_void'
        ELSE 'no_original'
    END AS why
FROM void AS v
LEFT JOIN counted AS o
    ON o.voids IS NULL AND o.tenant_id = v.tenant_id AND o.source = v.source AND o.event_id = v.voids
LEFT JOIN void_id AS i ON i.tenant_id = v.tenant_id AND i.source = v.source AND i.event_id = v.voids
LEFT JOIN effect AS t ON t.partition = v.partition AND t."offset" = v."offset"
LEFT JOIN effect AS a ON a.partition = o.partition AND a."offset" = o."offset"
WHERE o.event_id IS NULL OR t.what IS DISTINCT FROM a.what
ORDER BY v.tenant_id, v.customer_id, v.event_ms, v.source, v.voids
"""
_DELETE = "DELETE FROM {} WHERE %(tenant)s::text IS NULL OR tenant_id = %(tenant)s"
_INSERT = """
INSERT INTO {} (tenant_id, customer_id, source, event_id, voids, why, event_at, reconcile_id)
VALUES (%(tenant_id)s, %(customer_id)s, %(source)s, %(event_id)s, %(voids)s, %(why)s, %(event_at)s, %(reconcile_id)s)
"""


def check(oracle: Oracle, names: Names, wanted: Wanted, *, whole: bool) -> Outcome:
    """Search the original of every counted void.

    Parameters
    ----------
    oracle:
        The recomputed usage.
    names:
        For the schema in which finance reads the findings.
    wanted:
        Which customers are checked; a sample lacks originals of other customers.
    whole:
        Whether the source topics still have their first records; else the original of a void may have been removed.
    """
    if wanted.share < 1:
        return Outcome(not_checked="an original may belong to a customer outside the sample")
    rows = oracle.db.execute(_UNMATCHED).fetchall()
    findings = [_finding(row) for row in rows if whole or row[-1] != "no_original"]
    notes = [] if whole else ["voids without an original are not listed: the first records of the source are gone"]
    if findings:
        notes.append(f"{len(findings):,} match no counted event: see {names.report_schema}.unmatched_void")
    if len(findings) > MOST_FINDINGS:
        notes.append(f"the first {MOST_FINDINGS:,} of them are listed")
    return Outcome(oracle.number(_COUNTED), notes=notes, noted=findings[:MOST_FINDINGS])


def record(connection: psycopg.Connection, names: Names, wanted: Wanted, number: int, outcome: Outcome) -> None:
    """Replace the findings of an earlier run by those of run `number`; in a transaction of the caller."""
    table = sql.Identifier(names.billing_schema, "void_finding")
    connection.execute(sql.SQL(_DELETE).format(table), {"tenant": wanted.tenant})
    rows = [
        {**finding.subject, "why": finding.actual, "event_at": finding.bucket_at, "reconcile_id": number}
        for finding in outcome.noted
    ]
    with connection.cursor() as cursor:
        cursor.executemany(sql.SQL(_INSERT).format(table), rows)


def _finding(row: tuple[Any, ...]) -> Finding:
    *ids, event_ms, why = row
    subject: Mapping[str, Any] = dict(
        zip(("tenant_id", "customer_id", "source", "event_id", "voids"), ids, strict=True)
    )
    return Finding(subject, None, why, bucket_at=instant(event_ms))
