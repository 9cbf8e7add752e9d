"""Compares producers' manifests with the source topic: whether everything that was sent has arrived."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from tidemark.core import audit
from tidemark.core.names import Names
from tidemark.oracle.oracle import Oracle
from tidemark.reconcile.files import Column, count, decimal, hour, read_rows, text
from tidemark.reconcile.findings import Finding, Outcome, outcome_of, row_finding
from tidemark.reconcile.manifest import Digest
from tidemark.reconcile.sample import Wanted

_HASH = re.compile(r"[0-9a-f]{32}")
_HOUR_MS = 3_600_000

# Events as the producer identifies them: tenant, source, id, and the id they take back. The first copy counts; an event
# redriven for one meter is not counted again. The hour is that of the event time; an unreadable event has no hour, and
# is missing from its manifest.
_EVENTS = """
SELECT t.tenant_id, t.source, t.event_ms // 3600000 AS hour, t.event_id, coalesce(t.voids, '') AS voids,
       arg_min(coalesce(a.quantity, 0), (t.partition, t."offset")) AS quantity
FROM typed AS t
JOIN opened AS o ON o.partition = t.partition AND o."offset" = t."offset" AND o.only_meter IS NULL
LEFT JOIN amounted AS a ON a.partition = t.partition AND a."offset" = t."offset"
SEMI JOIN stated AS s ON s.tenant_id = t.tenant_id AND s.source = t.source AND s.hour = t.event_ms // 3600000
GROUP BY ALL
"""
_STORED = """
SELECT tenant_id, source, hour_start, events, quantity_sum, hash
FROM {} WHERE (%(tenant)s::text IS NULL OR tenant_id = %(tenant)s) AND hour_start >= %(since)s
"""
_IMPORT = """
INSERT INTO {} (tenant_id, source, hour_start, events, quantity_sum, hash)
VALUES (%(tenant_id)s, %(source)s, %(hour_start)s, %(events)s, %(quantity_sum)s, %(hash)s)
ON CONFLICT (tenant_id, source, hour_start) DO UPDATE
SET events = EXCLUDED.events, quantity_sum = EXCLUDED.quantity_sum, hash = EXCLUDED.hash,
    received_at = clock_timestamp()
"""


def load(connection: psycopg.Connection, names: Names, path: Path, by: str = "") -> int:
    """Import a file of manifests, all or nothing; a manifest of the same hour is replaced. Returns how many.

    Raises
    ------
    UsageError
        The file cannot be read or has faults.
    """
    columns = {
        "tenant_id": Column(text),
        "source": Column(text, required=False, default=""),
        "hour_start": Column(hour),
        "events": Column(count),
        "quantity_sum": Column(decimal, required=False),
        "hash": Column(_hash, required=False),
    }
    rows = read_rows(path, columns)
    statement = sql.SQL(_IMPORT).format(sql.Identifier(names.billing_schema, "producer_manifest"))
    with connection.transaction(), connection.cursor() as cursor:
        cursor.executemany(statement, rows)
        audit.record(connection, names.run_id, "reconcile.import_manifests", path.name, by=by, lines=len(rows))
    return len(rows)


def check(
    connection: psycopg.Connection,
    names: Names,
    oracle: Oracle,
    wanted: Wanted,
    tolerance: Decimal,
    since: datetime | None = None,
) -> Outcome:
    """Compare every manifest with the different events of its hour, from `since` on, where the topic is complete."""
    if wanted.share < 1:
        return Outcome(not_checked="a manifest covers a whole tenant, and this run checks a sample of customers")
    statement = sql.SQL(_STORED).format(sql.Identifier(names.billing_schema, "producer_manifest"))
    given = {"tenant": wanted.tenant, "since": since or "-infinity"}
    manifests = connection.execute(statement, given).fetchall()
    digests = _digests(oracle, [row[:3] for row in manifests])
    findings: list[Finding] = []
    for row in manifests:
        finding = _compare(row, digests.get((row[0], row[1], _hour(row[2])), Digest()), tolerance)
        if finding is not None:
            findings.append(finding)
    return outcome_of(findings, len(manifests))


def _digests(oracle: Oracle, stated: Iterable[Sequence[Any]]) -> dict[tuple[str, str, int], Digest]:
    """By tenant, source and hour, for those that have a manifest."""
    oracle.db.execute("CREATE OR REPLACE TABLE stated (tenant_id VARCHAR, source VARCHAR, hour BIGINT)")
    rows = [(tenant, source, _hour(start)) for tenant, source, start in stated]
    if rows:
        oracle.db.executemany("INSERT INTO stated VALUES (?, ?, ?)", rows)
    digests: dict[tuple[str, str, int], Digest] = {}
    for tenant, source, at, event_id, voids, quantity in oracle.db.execute(_EVENTS).fetchall():
        digests.setdefault((tenant, source, at), Digest()).add(event_id, quantity, voids)
    return digests


def _compare(row: Sequence[Any], digest: Digest, tolerance: Decimal) -> Finding | None:
    tenant, source, start, events, quantity, stated = row
    # Values that the producer does not report are not compared.
    expected = {"events": events}
    actual: dict[str, Any] = {"events": digest.events}
    if quantity is not None:
        expected["quantity_sum"], actual["quantity_sum"] = quantity, digest.quantity
    if stated is not None:
        expected["hash"], actual["hash"] = stated, digest.hash
    subject = {"tenant_id": tenant, "source": source, "hour_start": start}
    return row_finding(subject, expected, actual, start, "events", tolerance)


def _hour(start: datetime) -> int:
    return int(start.astimezone(UTC).timestamp()) * 1_000 // _HOUR_MS


def _hash(value: str) -> str:
    digits = value.lower()
    if not _HASH.fullmatch(digits):
        raise ValueError(f"{value!r} is not a hash of 32 hex digits")
    return digits
