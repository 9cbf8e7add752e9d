"""Compares minutes, hours, days and periods: four tables of the same deltas have the same sums."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import psycopg
from psycopg import sql

from tidemark.reconcile.findings import MOST_FINDINGS, Finding, Outcome, Subject, merged, name_of, row_finding
from tidemark.reconcile.sample import Wanted

_SERIES = ("tenant_id", "customer_id", "meter", "dims", "part")
_VALUES = ("n", "samples", "total")
_POLL_S = 1.0

# Retention drops whole chunks, which begin at midnight UTC: from the start of the oldest chunk on, buckets are whole.
_FLOORS = """
SELECT min(range_start) FILTER (WHERE hypertable_name = 'usage_minute'),
       min(range_start) FILTER (WHERE hypertable_name = 'usage_hour'),
       min(range_start) FILTER (WHERE hypertable_name = 'usage_day')
FROM timescaledb_information.chunks
WHERE hypertable_schema = %s
"""
_FIRSTS = """
SELECT (SELECT min(day) FROM {schema}.usage_day WHERE part NOT LIKE 'u%'),
       (SELECT min(period_end) FROM {schema}.usage_period)
"""
_MINUTES = """
SELECT {series}, date_trunc('hour', minute_start) AS bucket, {sums}
FROM {schema}.usage_minute WHERE {wanted} GROUP BY {series}, bucket
"""
_HOURS = """
SELECT {series}, hour_start AS bucket, n, samples, total
FROM {schema}.usage_hour WHERE hour_start >= %(floor)s AND {wanted}
"""
# Since when days and hours cover the same: all of both, or, where hours were dropped, a local midnight after that.
_SINCE = """
WITH owner AS (
    SELECT tenant_id, customer_id FROM {schema}.usage_day WHERE {wanted}
    UNION
    SELECT tenant_id, customer_id FROM {schema}.usage_hour WHERE {wanted}
), zoned AS (
    SELECT o.tenant_id, o.customer_id,
           CASE WHEN %(day)s::date IS NULL THEN '-infinity'::timestamptz
                ELSE %(day)s::date::timestamp AT TIME ZONE coalesce(k.timezone, 'Etc/UTC') END AS since
    FROM owner o
    LEFT JOIN catalog.tenant t
        ON t.tenant_id = o.tenant_id AND t.valid_from <= %(day)s::date AND t.valid_to > %(day)s::date
    LEFT JOIN catalog.customer c
        ON c.tenant_id = o.tenant_id AND c.customer_id = o.customer_id
        AND c.valid_from <= %(day)s::date AND c.valid_to > %(day)s::date
    LEFT JOIN catalog.calendar k
        ON k.calendar_id = coalesce(c.calendar_id, t.calendar_id)
        AND k.valid_from <= %(day)s::date AND k.valid_to > %(day)s::date
)
SELECT * FROM zoned WHERE since = '-infinity' OR date_trunc('hour', since) = since
"""
_HOUR_SUMS = f"""
SELECT {{series}}, {{sums}} FROM {{schema}}.usage_hour JOIN ({_SINCE}) z USING (tenant_id, customer_id)
WHERE hour_start >= since AND {{wanted}} GROUP BY {{series}}
"""
_DAY_SUMS = f"""
SELECT {{series}}, {{sums}} FROM {{schema}}.usage_day JOIN ({_SINCE}) z USING (tenant_id, customer_id)
WHERE part NOT LIKE 'u%%' AND day >= coalesce(%(day)s::date, '-infinity') AND {{wanted}} GROUP BY {{series}}
"""
_ALL_DAYS = "SELECT {series}, {sums} FROM {schema}.usage_day WHERE {wanted} GROUP BY {series}"
_ALL_PERIODS = "SELECT {series}, {sums} FROM {schema}.usage_period WHERE {wanted} GROUP BY {series}"
_COMPARED = """
WITH a AS ({left}), b AS ({right}), pairs AS (
    SELECT {keys}, a.n AS an, a.samples AS asamples, a.total AS atotal, b.n AS bn, b.samples AS bsamples,
           b.total AS btotal
    FROM a FULL JOIN b USING ({keys})
)
SELECT {keys}, an, asamples, atotal, bn, bsamples, btotal, count(*) OVER () AS differing
FROM pairs
WHERE an IS DISTINCT FROM bn OR asamples IS DISTINCT FROM bsamples OR abs(atotal - btotal) > %(tolerance)s
ORDER BY {keys}
LIMIT %(most)s
"""


@dataclass(frozen=True, slots=True)
class _Pair:
    """Two grains: the sums of the finer one are expected in the coarser one."""

    name: str
    finer: str
    coarser: str
    by_bucket: bool = False


_PAIRS = (
    _Pair("minute = hour", _MINUTES, _HOURS, by_bucket=True),
    _Pair("hour = day", _HOUR_SUMS, _DAY_SUMS),
    _Pair("day = period", _ALL_DAYS, _ALL_PERIODS),
)


def check(
    connection: psycopg.Connection, schemas: Sequence[str], wanted: Wanted, tolerance: Decimal, patience_s: float
) -> Outcome:
    """Compare the grains within each schema, repeatedly while they differ; moving rows are left for the next run.

    Every row of the ledger's views is a row of one of the versions below them. Each version is compared separately,
    because at the edge of a promoted replay minutes of one version lie in a period of another. The connection must be
    outside a transaction: each comparison has a separate snapshot.
    """
    outcome = _compare_once(connection, schemas, wanted, tolerance)
    first = {finding.name: finding for finding in outcome.findings}
    last, deadline = first, time.monotonic() + patience_s
    while last and time.monotonic() < deadline:
        time.sleep(_POLL_S)
        outcome = _compare_once(connection, schemas, wanted, tolerance)
        last = {finding.name: finding for finding in outcome.findings if finding.name in last}
    # The sums of a series that is written all the time change, but a missing amount stays the same.
    moving = {name for name, finding in last.items() if finding.delta != first[name].delta}
    if {finding.name for finding in outcome.findings} == first.keys() and not moving:
        return outcome
    kept = [finding for name, finding in last.items() if name not in moving]
    unseen = _named(moving)
    return replace(outcome, findings=kept, differing=len(kept), moving=len(moving), unseen=unseen)


def _named(moving: Collection[str]) -> Callable[[Subject], bool]:
    return lambda subject: name_of(subject) in moving


def _compare_once(
    connection: psycopg.Connection, schemas: Sequence[str], wanted: Wanted, tolerance: Decimal
) -> Outcome:
    """One comparison, in one snapshot."""
    with connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        return merged([_of_schema(connection, schema, wanted, tolerance) for schema in schemas])


def _of_schema(connection: psycopg.Connection, schema: str, wanted: Wanted, tolerance: Decimal) -> Outcome:
    floors, skipped = _floors(connection, schema)
    findings: list[Finding] = []
    differing = 0
    for pair in _PAIRS:
        if pair.name not in skipped:
            differences, count = _compare(connection, schema, pair, {**floors, "tolerance": tolerance}, wanted)
            findings += differences
            differing += count
    notes = [f"{schema}: {why}" for why in skipped.values()]
    return Outcome(_rows(connection, schema), findings, differing, notes=notes)


def _floors(connection: psycopg.Connection, schema: str) -> tuple[dict[str, Any], dict[str, str]]:
    """Since when each pair covers the same time, and why a pair cannot be compared."""
    minutes, hours, days = connection.execute(_FLOORS, [schema]).fetchall()[0]
    firsts = sql.SQL(_FIRSTS).format(schema=sql.Identifier(schema))
    first_day, first_end = connection.execute(firsts).fetchall()[0]
    # A local day begins up to 14 hours before that of UTC, and ends up to 12 after it.
    dropped = None not in (hours, first_day) and first_day < hours.date() - timedelta(days=1)
    skipped: dict[str, str] = {}
    if None not in (days, first_end) and first_end < days - timedelta(days=1):
        skipped["day = period"] = f"days before {days.date()} were dropped, so periods are not compared with them"
    return {"floor": minutes, "day": hours.date() + timedelta(days=2) if dropped else None}, skipped


def _compare(
    connection: psycopg.Connection, schema: str, pair: _Pair, given: Mapping[str, Any], wanted: Wanted
) -> tuple[list[Finding], int]:
    keys = (*_SERIES, "bucket") if pair.by_bucket else _SERIES
    names = sql.SQL(", ").join(map(sql.Identifier, keys))
    parts = {
        "schema": sql.Identifier(schema),
        "series": sql.SQL(", ").join(map(sql.Identifier, _SERIES)),
        "sums": sql.SQL("sum(n)::bigint AS n, sum(samples)::bigint AS samples, sum(total) AS total"),
        "wanted": sql.SQL("true" if wanted.tenant is None else "tenant_id = %(tenant)s"),
    }
    left, right = (sql.SQL(text).format(**parts) for text in (pair.finer, pair.coarser))
    statement = sql.SQL(_COMPARED).format(keys=names, left=left, right=right)
    most = MOST_FINDINGS if wanted.share >= 1 else None
    rows = connection.execute(statement, {**given, "tenant": wanted.tenant, "most": most}).fetchall()
    findings = [*_findings(schema, pair, keys, rows, given["tolerance"], wanted)]
    return findings, rows[0][-1] if rows and wanted.share >= 1 else len(findings)


def _findings(
    schema: str, pair: _Pair, keys: Sequence[str], rows: Sequence[Sequence[Any]], tolerance: Decimal, wanted: Wanted
) -> Iterator[Finding]:
    width = len(keys)
    for row in rows:
        if not wanted.takes(row[0], row[1]):
            continue
        named = dict(zip(keys, row, strict=False))
        finer, coarser = row[width : width + 3], row[width + 3 : width + 6]
        expected, actual = (
            None if side[0] is None else dict(zip(_VALUES, side, strict=True)) for side in (finer, coarser)
        )
        subject = {"schema": schema, "grains": pair.name, **named}
        finding = row_finding(subject, expected, actual, named.get("bucket"), tolerance=tolerance)
        if finding is not None:
            yield finding


def _rows(connection: psycopg.Connection, schema: str) -> int:
    statement = sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(schema, "usage_period"))
    return int(connection.execute(statement).fetchall()[0][0])
