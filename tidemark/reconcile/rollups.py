"""Compares rollups with the independent recomputation, row by row in both directions, except rows that still change."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import psycopg
from psycopg import sql

from tidemark.core.rollup_views import Overlay
from tidemark.oracle.oracle import Oracle
from tidemark.oracle.relations import GRAINS, load, schema_of
from tidemark.reconcile.findings import MOST_FINDINGS, Finding, Outcome, Subject, capped, row_finding
from tidemark.reconcile.sample import Wanted
from udfs.values import rfc3339

_BATCH = 20_000
_SERIES = ("tenant_id", "customer_id", "meter", "dims", "part")
# A local day may begin 14 hours before that of UTC: this long after the first known event time it is complete.
_WHOLE_DAY = timedelta(days=2)
# The first instant of a bucket in each relation.
BUCKETS = {
    "usage_minute": "minute_start",
    "usage_hour": "hour_start",
    "usage_day": "day",
    "usage_period": "period_start",
}
_VALUES = ("n", "samples", "total", "lo", "hi", "latest")
_EXACT = ("n", "samples", "latest")
# Buckets of events after the applied offsets, found by the minute.
_MOVING = """
CREATE OR REPLACE TABLE moving AS
SELECT DISTINCT tenant_id, customer_id, meter, dims, part,
    timezone('UTC', minute_utc)                         AS minute_start,
    timezone('UTC', date_trunc('hour', minute_utc))     AS hour_start,
    day, period_start
FROM usage
JOIN edges USING (partition)
WHERE usage."offset" >= edges."offset"
"""
_JOINED = """
WITH o AS (
    SELECT * FROM {relation}
    SEMI JOIN wanted_customers USING (tenant_id, customer_id)
    WHERE {bucket} >= $since::TIMESTAMPTZ AND {included}
)
SELECT {keys}, {values}, o.n IS NOT NULL, s.n IS NOT NULL, count(*) OVER ()
FROM o
FULL JOIN stored_{relation} AS s ON {same}
WHERE ({differs})
  AND NOT EXISTS (FROM moving AS m WHERE {moves})
ORDER BY ALL
LIMIT {most}
"""


@dataclass(frozen=True, slots=True)
class Scope:
    """Which rows of the rollups are compared.

    Parameters
    ----------
    schema:
        Schema of the rollups.
    wanted:
        Customers.
    since:
        First event time for which the source topic is complete; None: all.
    overlays:
        Promoted replays whose rows are left out: they are compared by their own rules.
    inside:
        The promoted replay whose rows are compared; None: those of the live run.
    """

    schema: str
    wanted: Wanted
    since: datetime | None = None
    overlays: Sequence[Overlay] = ()
    inside: Overlay | None = None

    def holds(self, relation: str) -> str:
        """SQL condition, for both databases, of the rows that are compared."""
        left_out = f"NOT ({_covered(relation, self.overlays)})" if self.overlays else "true"
        return left_out if self.inside is None else f"{left_out} AND ({_covered(relation, [self.inside])})"


def check(
    connection: psycopg.Connection, oracle: Oracle, edges: Mapping[int, int], scope: Scope, tolerance: Decimal
) -> Outcome:
    """Compare every grain; the connection is in the transaction whose snapshot is compared.

    Parameters
    ----------
    connection:
        In a transaction with one snapshot.
    oracle:
        Recomputed from records up to an end that is not before the snapshot.
    edges:
        Offset by partition, as the oracle numbers them, before which every record is in the snapshot.
    scope:
        Which rows are compared.
    tolerance:
        Greatest difference of quantities that counts as equal.
    """
    _prepare(oracle, edges, scope.wanted)
    findings: list[Finding] = []
    compared = differing = 0
    for relation in GRAINS:
        load(oracle, f"stored_{relation}", schema_of(relation), _stored(connection, relation, scope))
        compared += oracle.number(f"SELECT count(*) FROM stored_{relation}")
        differences, count = _differences(oracle, relation, scope, tolerance)
        findings += differences
        differing += count
    return Outcome(
        compared=compared,
        findings=capped(findings, differing),
        differing=differing,
        moving=oracle.number("SELECT count(*) FROM moving"),
        notes=_notes(scope),
        unseen=_unseen(oracle),
    )


def _prepare(oracle: Oracle, edges: Mapping[int, int], wanted: Wanted) -> None:
    """Create tables in the oracle's database: applied offsets, buckets of later events, customers to compare."""
    rows = sorted(edges.items())
    oracle.db.execute('CREATE OR REPLACE TABLE edges (partition INTEGER, "offset" BIGINT)')
    if rows:
        oracle.db.executemany("INSERT INTO edges VALUES (?, ?)", rows)
    oracle.db.execute(_MOVING)
    owners = oracle.db.execute("SELECT DISTINCT tenant_id, customer_id FROM usage").fetchall()
    taken = [owner for owner in owners if wanted.takes(*owner)]
    oracle.db.execute("CREATE OR REPLACE TABLE wanted_customers (tenant_id VARCHAR, customer_id VARCHAR)")
    if taken:
        oracle.db.executemany("INSERT INTO wanted_customers VALUES (?, ?)", taken)


def _stored(connection: psycopg.Connection, relation: str, scope: Scope) -> Iterator[tuple[Any, ...]]:
    """Stored rows of the customers to compare, from the first event time that can be compared."""
    columns = sql.SQL(", ").join(map(sql.Identifier, schema_of(relation).names))
    statement = sql.SQL("SELECT {} FROM {} WHERE {} >= {} AND {} AND {}").format(
        columns,
        sql.Identifier(scope.schema, relation),
        sql.Identifier(BUCKETS[relation]),
        sql.Literal(_since(relation, scope)),
        sql.SQL("true") if scope.wanted.tenant is None else sql.SQL("tenant_id = {}").format(scope.wanted.tenant),
        sql.SQL(scope.holds(relation)),
    )
    with connection.cursor(name=f"reconcile_{relation}") as cursor:
        cursor.itersize = _BATCH
        cursor.execute(statement)
        yield from (row for row in cursor if scope.wanted.takes(row[0], row[1]))


def _differences(oracle: Oracle, relation: str, scope: Scope, tolerance: Decimal) -> tuple[list[Finding], int]:
    bucket = BUCKETS[relation]
    keys, values = (*_SERIES, bucket), (*(("period_end",) if relation == "usage_period" else ()), *_VALUES)
    exact = [name for name in values if name not in ("total", "lo", "hi")]
    differs = [f"o.{name} IS DISTINCT FROM s.{name}" for name in exact]
    differs += [
        f"(o.{name} IS NULL) <> (s.{name} IS NULL) OR abs(o.{name} - s.{name}) > $tolerance::DECIMAL(38, 9)"
        for name in ("total", "lo", "hi")
    ]
    statement = _JOINED.format(
        relation=relation,
        bucket=bucket,
        included=scope.holds(relation),
        keys=", ".join(f"coalesce(o.{name}, s.{name})" for name in keys),
        values=", ".join(f"{side}.{name}" for side in "os" for name in values),
        same=" AND ".join(f"o.{name} = s.{name}" for name in keys),
        differs=" OR ".join(differs),
        moves=" AND ".join(f"m.{name} = coalesce(o.{name}, s.{name})" for name in keys),
        most=MOST_FINDINGS,
    )
    rows = oracle.db.execute(statement, {"since": _since(relation, scope), "tolerance": str(tolerance)}).fetchall()
    findings = [_finding(relation, keys, values, row, tolerance) for row in rows]
    return [finding for finding in findings if finding is not None], rows[0][-1] if rows else 0


def _finding(
    relation: str, keys: Sequence[str], values: Sequence[str], row: Sequence[Any], tolerance: Decimal
) -> Finding | None:
    width = len(values)
    named = dict(zip(keys, row, strict=False))
    sides = (row[len(keys) + side * width : len(keys) + (side + 1) * width] for side in (0, 1))
    present = row[-3:-1]
    expected, actual = (
        dict(zip(values, side, strict=True)) if exists else None for side, exists in zip(sides, present, strict=True)
    )
    bucket = named[keys[-1]]
    at = bucket if isinstance(bucket, datetime) else datetime.combine(bucket, datetime.min.time(), UTC)
    return row_finding({"grain": relation, **named}, expected, actual, at, tolerance=tolerance)


def _since(relation: str, scope: Scope) -> str:
    if scope.since is None:
        return "-infinity"
    # As a date, so that both databases compare dates.
    return (scope.since + _WHOLE_DAY).date().isoformat() if relation == "usage_day" else scope.since.isoformat()


def _covered(relation: str, overlays: Sequence[Overlay]) -> str:
    """SQL condition, for both databases, of the rows that promoted replays cover; false for none."""
    conditions = []
    for overlay in overlays:
        start = f"TIMESTAMPTZ '{overlay.start.astimezone(UTC).isoformat()}'"
        end = f"TIMESTAMPTZ '{overlay.end.astimezone(UTC).isoformat()}'" if overlay.end else "TIMESTAMPTZ 'infinity'"
        bucket = BUCKETS[relation]
        bounds = f"{bucket} >= {start} AND {bucket} < {end}"
        if relation == "usage_day":
            bounds = f"{bucket} >= ({start} AT TIME ZONE 'UTC')::DATE AND {bucket} < ({end} AT TIME ZONE 'UTC')::DATE"
        if relation == "usage_period":
            bounds = f"period_start >= {start} AND period_end <= {end}"
        names = ", ".join("'" + tenant.replace("'", "''") + "'" for tenant in overlay.tenants)
        conditions.append(f"({bounds}{f' AND tenant_id IN ({names})' if names else ''})")
    return " OR ".join(conditions) or "false"


def _notes(scope: Scope) -> list[str]:
    if scope.since is None:
        return []
    return [f"usage before {rfc3339(scope.since)} is not compared: the source topic is no longer complete there"]


def _unseen(oracle: Oracle) -> Callable[[Subject], bool]:
    """Whether a row that differed before still changes; all such rows are read now, before the oracle is closed."""
    if not oracle.number("SELECT count(*) FROM moving"):
        return lambda _: False
    rows = oracle.db.execute("FROM moving").fetchall()
    names = (*_SERIES, "minute_start", "hour_start", "day", "period_start")
    seen = {
        (*row[:5], bucket, str(_plain(value))) for row in rows for bucket, value in zip(names[5:], row[5:], strict=True)
    }

    def unseen(subject: Subject) -> bool:
        bucket = BUCKETS.get(str(subject.get("grain")), "")
        return (*(subject.get(name) for name in _SERIES), bucket, str(subject.get(bucket))) in seen

    return unseen


def _plain(value: Any) -> Any:
    """A bucket in the form of subjects."""
    return rfc3339(value) if isinstance(value, datetime) else value
