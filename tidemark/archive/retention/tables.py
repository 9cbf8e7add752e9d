"""Chunks of rollups and sliding windows that are old enough to be dropped; days and periods are kept for ever."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any, LiteralString

import psycopg
from psycopg import sql

from tidemark.archive.retention.steps import NOTHING, Step
from tidemark.core.names import Names
from tidemark.core.rollup_views import overlays
from tidemark.core.settings import RetentionSettings
from udfs.values import rfc3339

# Only whole chunks are dropped, so a row may stay longer by up to a chunk.
_CHUNKS: LiteralString = """
SELECT count(*), coalesce(sum(pg_total_relation_size(chunk)), 0) FROM show_chunks({table}, older_than => {before}) chunk
"""
_DROP: LiteralString = "SELECT count(*) FROM drop_chunks({table}, older_than => {before})"
# Of chunks that are dropped, the end of the last one; a shorter retention of another version does not turn it back.
_KEPT: LiteralString = """
INSERT INTO {ledger}.rollup_kept (relation, kept_from)
SELECT {relation}, max(range_end) FROM timescaledb_information.chunks
WHERE hypertable_schema = {schema} AND hypertable_name = {relation} AND range_end <= {before}
HAVING max(range_end) IS NOT NULL
ON CONFLICT (relation) DO UPDATE SET kept_from = greatest(rollup_kept.kept_from, excluded.kept_from)
"""
_OPEN: LiteralString = """
SELECT tenant_id, customer_id, period_start FROM {schema}.usage_period p
WHERE period_start < %s AND NOT EXISTS (
    SELECT FROM {schema}.period_status s
    WHERE (s.tenant_id, s.customer_id, s.period_start) = (p.tenant_id, p.customer_id, p.period_start) AND s.is_current
)
ORDER BY period_start, tenant_id, customer_id LIMIT 1
"""
# A level is the sum of all earlier changes: none of them may be removed.
_LEVELS: LiteralString = """
SELECT u.tenant_id, u.meter, min(u.minute_start) FROM {usage}.usage_minute u
JOIN {usage}.meter_kind k USING (tenant_id, meter)
WHERE k.aggregation = 'weighted_sum' AND u.minute_start < %s
GROUP BY u.tenant_id, u.meter ORDER BY 3, 1, 2 LIMIT 1
"""
_SLIDING = ("usage_sliding", "usage_sliding_customer")


def steps(connection: psycopg.Connection, names: Names, retention: RetentionSettings, now: datetime) -> Iterator[Step]:
    """Steps for all tables that have a retention, of this run and of its promoted replays."""
    schemas = [names.usage_schema, *(overlay.usage_schema for overlay in overlays(connection, names))]
    for table, days in (
        ("usage_minute", retention.minute_days),
        ("usage_hour", retention.hour_days),
        *((sliding, retention.sliding_days) for sliding in _SLIDING),
    ):
        for schema in schemas if days else ():
            before = now - timedelta(days=days)
            bounds = [] if table in _SLIDING else _Bounds(connection, names, schema).of(table, before)
            yield _step(connection, names, schema, table, days, before, bounds)


def open_period(connection: psycopg.Connection, names: Names, before: datetime) -> tuple[datetime, str] | None:
    """The earliest open period that began before an instant: its start, and a description."""
    statement = sql.SQL(_OPEN).format(schema=sql.Identifier(names.billing_schema))
    row = connection.execute(statement, [before]).fetchone()
    if row is None:
        return None
    return row[2], f"the period of {row[0]}/{row[1]} from {rfc3339(row[2])} is not closed"


class _Bounds:
    """What must stay in a table, whatever its age."""

    def __init__(self, connection: psycopg.Connection, names: Names, schema: str) -> None:
        self._connection, self._names, self._schema = connection, names, schema

    def of(self, table: str, before: datetime) -> list[tuple[datetime, str]]:
        """Instants from which on everything must stay, each with its reason."""
        bounds = []
        period = open_period(self._connection, self._names, before)
        if period is not None:
            bounds.append(period)
        if table == "usage_minute":
            statement = sql.SQL(_LEVELS).format(usage=sql.Identifier(self._schema))
            row = self._connection.execute(statement, [before]).fetchone()
            if row is not None:
                bounds.append((row[2], f"levels of meter {row[1]} of {row[0]} are sums of all minutes before them"))
        return bounds


def _step(
    connection: psycopg.Connection, names: Names, schema: str, table: str, days: int, before: datetime,
    bounds: Sequence[tuple[datetime, str]],
) -> Step:  # fmt: skip
    """The step for one table; the earliest bound decides."""
    wanted, _ = _chunks(connection, schema, table, before)
    earliest = min(bounds, default=None)
    cut = before if earliest is None else min(before, earliest[0])
    count, size = _chunks(connection, schema, table, cut)
    limited = earliest[1] if earliest is not None and count < wanted else ""
    return Step(
        target=f"{schema}.{table}",
        does="drop chunks" if count else "nothing is due",
        days=days,
        before=cut,
        count=count,
        size=size,
        limited=limited,
        act=partial(_drop, connection, names, schema, table, cut) if count else NOTHING,
        atomic=True,
    )


def _chunks(connection: psycopg.Connection, schema: str, table: str, before: datetime) -> tuple[int, int]:
    row = connection.execute(_named(_CHUNKS, schema, table, before)).fetchone()
    return (int(row[0]), int(row[1])) if row else (0, 0)


def _drop(connection: psycopg.Connection, names: Names, schema: str, table: str, before: datetime) -> None:
    if table not in _SLIDING:
        kept = sql.SQL(_KEPT).format(
            ledger=sql.Identifier(names.billing_schema), relation=sql.Literal(table), schema=sql.Literal(schema),
            before=sql.Literal(before),
        )  # fmt: skip
        connection.execute(kept)
    connection.execute(_named(_DROP, schema, table, before))


def _named(statement: LiteralString, schema: str, table: str, before: datetime) -> sql.Composed:
    regclass: Any = sql.SQL("{}::regclass").format(sql.Literal(sql.Identifier(schema, table).as_string()))
    return sql.SQL(statement).format(table=regclass, before=sql.Literal(before))
