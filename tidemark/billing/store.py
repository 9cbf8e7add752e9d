"""The ledger in Postgres: its entries, the lines the rollups give, and the only function that adds to it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import islice
from types import MappingProxyType
from typing import Any, TypeVar

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from tidemark.billing import chain
from tidemark.billing.lines import Line, LineKey, Lines, PeriodKey, content_hash
from tidemark.billing.messages import Context, close_message, correction_message, key_of
from tidemark.billing.true_up import Cause, Change, Entry, TrueUp, cause_of
from tidemark.core.names import Names
from tidemark.core.postgres import lock_in_transaction

BATCH = 1_000
_Item = TypeVar("_Item")
# In the order of their references.
_TABLES = ("period_close", "period_close_line", "correction", "correction_line", "outbox")
_GIVEN = """
given AS (
    SELECT * FROM unnest(%(tenants)s::text[], %(customers)s::text[], %(starts)s::timestamptz[], %(ends)s::timestamptz[])
        AS given (tenant_id, customer_id, period_start, period_end)
)
"""
_KEY = "tenant_id, customer_id, period_start, period_end"

# The newest record of each line of a period; a line that was removed has no value.
_ENTRIES = f"""
WITH {_GIVEN}
SELECT {_KEY}, s.corrections, s.is_current, l.meter, l.dims, l.aggregation, l.unit, l.n, l.samples, l.value
FROM given
JOIN {{schema}}.period_status s USING ({_KEY})
LEFT JOIN LATERAL (
    SELECT DISTINCT ON (meter, dims) meter, dims, aggregation, unit, n, samples, value
    FROM (
        SELECT meter, dims, aggregation, unit, n, samples, value, 0 AS correction_no
        FROM {{schema}}.period_close_line c
        WHERE (c.tenant_id, c.customer_id, c.period_start, c.period_end)
            = (given.tenant_id, given.customer_id, given.period_start, given.period_end)
        UNION ALL
        SELECT meter, dims, aggregation, unit, after_n, after_samples, after, correction_no
        FROM {{schema}}.correction_line c
        WHERE (c.tenant_id, c.customer_id, c.period_start, c.period_end)
            = (given.tenant_id, given.customer_id, given.period_start, given.period_end)
    ) history
    ORDER BY meter, dims, correction_no DESC
) l ON l.value IS NOT NULL
"""

# A level that no event changed has no rows in the period: it keeps the value that earlier periods left.
_WANTED = f"""
WITH {_GIVEN}
SELECT a.tenant_id, a.customer_id, a.period_start, a.period_end,
       -- The values of percentile bins have more decimals than the ledger keeps.
       v.meter, v.dims, v.aggregation, v.unit, u.n, v.samples, round({{value}}, 9)
FROM given a
CROSS JOIN LATERAL (
    SELECT meter, dims, aggregation, unit, samples, value, projected_value
    FROM {{schema}}.usage_period_value v
    WHERE (v.tenant_id, v.customer_id, v.period_start) = (a.tenant_id, a.customer_id, a.period_start)
) v
CROSS JOIN LATERAL (
    SELECT sum(u.n)::bigint AS n
    FROM {{schema}}.usage_period u
    WHERE (u.tenant_id, u.customer_id, u.meter, u.dims, u.period_start)
        = (a.tenant_id, a.customer_id, v.meter, v.dims, a.period_start)
) u
UNION ALL
SELECT a.tenant_id, a.customer_id, a.period_start, a.period_end, h.meter, h.dims, 'weighted_sum', h.unit, 0, 0,
       {{schema}}.divide_half_even(
           h.level * floor(extract(epoch FROM {{upto}} - a.period_start) * 1000), h.per_ms
       )
FROM given a
CROSS JOIN LATERAL (
    SELECT u.meter, u.dims, k.unit, sum(u.total) AS level,
           CASE k.per WHEN 'second' THEN 1000 WHEN 'minute' THEN 60000 WHEN 'day' THEN 86400000 ELSE 3600000 END
               AS per_ms
    FROM {{schema}}.usage_period u
    JOIN {{schema}}.meter_kind k USING (tenant_id, meter)
    WHERE u.tenant_id = a.tenant_id AND u.customer_id = a.customer_id AND u.period_start < a.period_start
      AND k.aggregation = 'weighted_sum' AND u.part = ''
      AND NOT EXISTS (
          SELECT FROM {{schema}}.usage_period x
          WHERE (x.tenant_id, x.customer_id, x.meter, x.dims, x.period_start)
              = (u.tenant_id, u.customer_id, u.meter, u.dims, a.period_start)
      )
    GROUP BY u.meter, u.dims, k.unit, k.per
    HAVING sum(u.total) <> 0
) h
"""
_TO_THE_END = {"value": sql.SQL("coalesce(v.projected_value, v.value)"), "upto": sql.SQL("a.period_end")}
_SO_FAR = {"value": sql.SQL("v.value"), "upto": sql.SQL("greatest(a.period_start, least(a.period_end, now()))")}


def lock_ledger(connection: psycopg.Connection, names: Names) -> None:
    """Wait for all other writers of this ledger, until the end of the transaction: the outbox ascends with commits."""
    lock_in_transaction(connection, f"ledger {names.billing_schema}")


def now(connection: psycopg.Connection) -> datetime:
    """Instant by the clock of the database."""
    moment: datetime = _value(connection, "SELECT clock_timestamp()")
    return moment


def catalog_revision(connection: psycopg.Connection) -> int:
    """Revision of the catalog."""
    return int(_value(connection, "SELECT revision FROM catalog.revision"))


def read_entries(connection: psycopg.Connection, names: Names, keys: Iterable[PeriodKey]) -> dict[PeriodKey, Entry]:
    """The ledger's entries of these periods; periods that were never closed are absent."""
    entries: dict[PeriodKey, tuple[int, bool, dict[LineKey, Line]]] = {}
    for row in _query(connection, names, _ENTRIES, keys):
        key, (corrections, is_current), line = PeriodKey(*row[:4]), row[4:6], row[6:]
        _, _, lines = entries.setdefault(key, (corrections, is_current, {}))
        if line[0] is not None:
            lines[LineKey(*line[:2])] = Line(*line[2:])
    return {key: Entry(lines, corrections, is_current) for key, (corrections, is_current, lines) in entries.items()}


def wanted_lines(
    connection: psycopg.Connection, names: Names, keys: Sequence[PeriodKey], *, so_far: bool = False
) -> dict[PeriodKey, Lines]:
    """Lines of these periods by the active rollups, matched by their start; a period without usage has no lines.

    Levels last to the end of the period; with `so_far`, to the clock of the database if that is earlier.
    """
    wanted: dict[PeriodKey, dict[LineKey, Line]] = {key: {} for key in keys}
    for row in _query(connection, names, _WANTED, keys, _SO_FAR if so_far else _TO_THE_END):
        wanted[PeriodKey(*row[:4])][LineKey(*row[4:6])] = Line(*row[6:])
    return dict(wanted)


def append(
    connection: psycopg.Connection,
    names: Names,
    due: TrueUp,
    context: Context,
    *,
    cause: Cause | None = None,
    replay_id: str | None = None,
    dead_letters: Mapping[PeriodKey, int] | None = None,
) -> None:
    """Add closes and corrections, and their outbox rows; in a transaction of the caller, after `lock_ledger`.

    Without a `cause` each correction gets the cause that its lines show.
    """
    counts = dead_letters or {}
    rows: dict[str, list[dict[str, Any]]] = {table: [] for table in _TABLES}
    keys = [*(close.key for close in due.closes), *(correction.key for correction in due.corrections)]
    links = chain.read(connection, names, {key.tenant_id for key in keys})
    for close in due.closes:
        tenant, count = close.key.tenant_id, counts.get(close.key, 0)
        body = close_message(close, context, count, links.link(tenant))
        row = {
            **_columns(close.key),
            "closed_at": context.at, "closed_by": context.by, "catalog_revision": context.catalog_revision,
            "watermark": context.watermark, "dead_letters": count, "lines": len(close.lines),
            **_shared(close.key, close.lines, context), **links.add(tenant, body),
        }  # fmt: skip
        rows["period_close"].append(row)
        rows["period_close_line"] += _close_lines(close.key, close.lines)
        rows["outbox"].append(_outbox_row("closes", close.key, body))
    for correction in due.corrections:
        key, changes = correction.key, correction.changes
        why = cause or ("catalog_change" if not correction.is_current else cause_of(changes))
        number = {"correction_no": correction.number}
        body = correction_message(correction, context, why, replay_id, links.link(key.tenant_id))
        row = {
            **_columns(key), **number, "cause": why, "replay_id": replay_id, "is_current": correction.is_current,
            "made_at": context.at, "made_by": context.by, **_shared(key, correction.lines, context),
            **links.add(key.tenant_id, body),
        }  # fmt: skip
        rows["correction"].append(row)
        rows["correction_line"] += [{**_columns(key), **number, **_change(*change)} for change in changes.items()]
        rows["outbox"].append(_outbox_row("corrections", key, body))
    for table, table_rows in rows.items():
        insert(connection, names, table, table_rows)


def batches(items: Iterable[_Item], size: int = BATCH) -> Iterator[list[_Item]]:
    """Parts of at most `size`."""
    iterator = iter(items)
    while part := list(islice(iterator, size)):
        yield part


def _query(
    connection: psycopg.Connection, names: Names, statement: str, keys: Iterable[PeriodKey],
    parts: Mapping[str, sql.SQL] = MappingProxyType({}),
) -> Iterator[Any]:  # fmt: skip
    text = sql.SQL(statement).format(schema=sql.Identifier(names.billing_schema), **parts)
    for part in batches(keys):
        tenants, customers, starts, ends = (list(column) for column in zip(*part, strict=True))
        values = {"tenants": tenants, "customers": customers, "starts": starts, "ends": ends}
        yield from connection.execute(text, values).fetchall()


def insert(connection: psycopg.Connection, names: Names, table: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Add rows to a table of the ledger; in a transaction of the caller, after `lock_ledger`."""
    if not rows:
        return
    columns = list(rows[0])
    statement = sql.SQL("INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE VALUES ({})").format(
        sql.Identifier(names.billing_schema, table),
        sql.SQL(", ").join(map(sql.Identifier, columns)),
        sql.SQL(", ").join(map(sql.Placeholder, columns)),
    )
    with connection.cursor() as cursor:
        cursor.executemany(statement, rows)


def _outbox_row(topic: str, key: PeriodKey, body: str) -> dict[str, str]:
    return {"topic": topic, "key": key_of(key), "body": body}


def _columns(key: PeriodKey) -> dict[str, Any]:
    return dict(zip(("tenant_id", "customer_id", "period_start", "period_end"), key, strict=True))


def _shared(key: PeriodKey, lines: Lines, context: Context) -> dict[str, Any]:
    return {"run_id": context.run_id, "rests_on": Jsonb(context.rests_on), "content_hash": content_hash(key, lines)}


def _close_lines(key: PeriodKey, lines: Lines) -> list[dict[str, Any]]:
    return [
        {
            **_columns(key), "meter": at.meter, "dims": at.dims, "aggregation": line.aggregation, "unit": line.unit,
            "n": line.n, "samples": line.samples, "value": line.value,
        }
        for at, line in lines.items()
    ]  # fmt: skip


def _change(at: LineKey, change: Change) -> dict[str, Any]:
    before, after = change.before, change.after
    kind = after or before
    return {
        "meter": at.meter, "dims": at.dims,
        "aggregation": kind.aggregation if kind else "", "unit": kind.unit if kind else "",
        "before": before.value if before else None, "after": after.value if after else None, "delta": change.delta,
        "before_n": before.n if before else 0, "after_n": after.n if after else 0,
        "before_samples": before.samples if before else 0, "after_samples": after.samples if after else 0,
    }  # fmt: skip


def _value(connection: psycopg.Connection, statement: str) -> Any:
    return connection.execute(statement.encode()).fetchall()[0][0]
