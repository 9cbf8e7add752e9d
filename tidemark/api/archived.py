"""Buckets beyond the retention of rollups, from the archive through DuckDB, and proven by the days that are kept."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from datetime import date
from typing import Any

from psycopg import sql

from tidemark.api.problem import Problem
from tidemark.api.reading import Asked
from tidemark.api.tiers import MOST_ROWS, SHORTENED, Missing, Row, check_days, not_archived, too_much
from tidemark.api.usage_query import UsageAsked
from tidemark.archive.index import Index
from tidemark.archive.reader import raw_records
from tidemark.core.kafka import RawRecord
from tidemark.core.settings import Settings
from tidemark.oracle.oracle import Oracle
from tidemark.reconcile.catalog import history
from tidemark.reconcile.raw import rules_of, tenant_of

_WHO = """
tenant_id = %(tenant)s AND meter = %(meter)s AND (%(customers)s::text[] IS NULL OR customer_id = ANY (%(customers)s))
"""
_DAYS = f"SELECT min(day), max(day) FROM usage_day WHERE day BETWEEN %(first)s AND %(last)s AND {_WHO}"
_FIGURES = "customer_id, dims, part, {start}, n, samples, total, lo, hi, latest"
_STORED = f"""
SELECT day, {_FIGURES} FROM usage_day WHERE day BETWEEN %(first)s AND %(last)s AND {_WHO} LIMIT %(most)s
""".replace("{start}", "day")
_OF_DAYS = "SELECT day, {figures} FROM usage_day WHERE day BETWEEN $first AND $last AND {who}"
_BUCKETS = "SELECT {figures} FROM {relation} WHERE {start} >= $from AND {start} < $to AND {who} ORDER BY ALL"
_WHO_DUCKDB = (
    "tenant_id = $tenant AND meter = $meter AND ($customers IS NULL OR list_contains($customers, customer_id))"
)
# One at a time: each holds its records in memory.
_BUSY_S = 20.0
_only_one = threading.Lock()


def archived_rows(of: Asked, asked: UsageAsked, missing: Missing) -> Sequence[Row]:
    """Rows of a table that it no longer has: customer, dims, part, start, n, samples, total, lo, hi, latest.

    Raises
    ------
    Problem
        422 where there is no archive, or it would take too much of it; 503 while another read does the same, and where
        the archive does not come to the stored days.
    TidemarkError
        The archive cannot be read.
    """
    who = {"tenant": of.tenant, "meter": asked.meter, "customers": list(asked.customers) or None}
    first, last = missing.days
    (bounds,) = of.db.execute(sql.SQL(_DAYS), {**who, "first": first, "last": last}).fetchall()
    if bounds[0] is None:
        return ()
    if not of.settings.archive.dir or not of.settings.api.archive_records:
        raise not_archived(missing)
    if not _only_one.acquire(timeout=_BUSY_S):
        raise Problem(503, "archive_busy", "another read takes the archive; send it again.", retry_after_s=10)
    try:
        return _recomputed(of, who, missing.narrowed(*bounds))
    finally:
        _only_one.release()


def _recomputed(of: Asked, who: dict[str, Any], missing: Missing) -> Sequence[Row]:
    steps = history(of.db, of.tenant)
    days = dict(zip(("first", "last"), missing.days, strict=True))
    with Oracle(steps, _records(of, missing), rules_of(of.settings)) as oracle:
        check_days(_stored(of, who, days, missing), _select(oracle, _OF_DAYS, "day", {**who, **days}))
        bounds = {"from": missing.start, "to": missing.end}
        rows = _select(oracle, _BUCKETS, SHORTENED[missing.relation], {**who, **bounds}, missing.relation)
    if len(rows) > MOST_ROWS:
        raise too_much(missing, "rows", len(rows), MOST_ROWS)
    return rows


def _stored(of: Asked, who: dict[str, Any], days: dict[str, date], missing: Missing) -> list[Row]:
    rows: list[Row] = list(of.db.execute(sql.SQL(_STORED), {**who, **days, "most": MOST_ROWS + 1}))
    if len(rows) > MOST_ROWS:
        raise too_much(missing, "rows of days or more", len(rows), MOST_ROWS)
    return rows


def _select(oracle: Oracle, text: str, start: str, values: dict[str, Any], relation: str = "") -> list[Row]:
    figures = _FIGURES.format(start=start)
    statement = text.format(figures=figures, who=_WHO_DUCKDB, start=start, relation=relation)
    rows: list[Row] = oracle.db.execute(statement, values).fetchall()
    return rows


def _records(of: Asked, missing: Missing) -> Iterator[RawRecord]:
    """Archived records of the tenant that decide what was counted."""
    settings, index = of.settings, Index(of.db)
    since_ms, until_ms = missing.arrivals_ms(settings.events, rules_of(settings).late_until_ms)
    topics = (settings.topics.events, settings.topics.redrive)
    count = sum(file.rows for topic in topics for file in index.files(topic, None, since_ms, until_ms))
    if count > settings.api.archive_records:
        raise too_much(missing, "records", count, settings.api.archive_records)
    return _of_tenant(settings, of.tenant, since_ms, until_ms)


def _of_tenant(settings: Settings, tenant: str, since_ms: int, until_ms: int) -> Iterator[RawRecord]:
    for record in raw_records(settings, since_ms=since_ms, until_ms=until_ms):
        if tenant_of(settings, record[3]) == tenant:
            yield record
