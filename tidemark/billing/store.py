"""The ledger in Postgres: what it says, what the rollups say, and the one way anything is added to it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import islice
from types import MappingProxyType
from typing import Any, TypeVar

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from tidemark.billing.lines import Line, LineKey, Lines, PeriodKey, content_hash
from tidemark.billing.messages import Context, close_message, correction_message, key_of
from tidemark.billing.true_up import Cause, Change, Entry, TrueUp, cause_of
from tidemark.core.names import Names
from tidemark.core.postgres import lock_in_transaction

BATCH = 1_000
_Item = TypeVar("_Item")
# In the order of their references.
_TABLES = ("period_close", "period_close_line", "correction", "correction_line", "outbox")
_ASKED = """
asked AS (
    SELECT * FROM unnest(%(tenants)s::text[], %(customers)s::text[], %(starts)s::timestamptz[], %(ends)s::timestamptz[])
        AS asked (tenant_id, customer_id, period_start, period_end)
)
"""
_KEY = "tenant_id, customer_id, period_start, period_end"

# What was said last of each line of a period; a line that was taken away has no value.
_ENTRIES = f"""
WITH {_ASKED}
SELECT {_KEY}, s.corrections, s.stands, l.meter, l.dims, l.aggregation, l.unit, l.n, l.samples, l.value
FROM asked
JOIN {{schema}}.period_standing s USING ({_KEY})
LEFT JOIN LATERAL (
    SELECT DISTINCT ON (meter, dims) meter, dims, aggregation, unit, n, samples, value
    FROM (
        SELECT meter, dims, aggregation, unit, n, samples, value, 0 AS turn
        FROM {{schema}}.period_close_line c
        WHERE (c.tenant_id, c.customer_id, c.period_start, c.period_end)
            = (asked.tenant_id, asked.customer_id, asked.period_start, asked.period_end)
        UNION ALL
        SELECT meter, dims, aggregation, unit, after_n, after_samples, after, correction_no
        FROM {{schema}}.correction_line c
        WHERE (c.tenant_id, c.customer_id, c.period_start, c.period_end)
            = (asked.tenant_id, asked.customer_id, asked.period_start, asked.period_end)
    ) said
    ORDER BY meter, dims, turn DESC
) l ON l.value IS NOT NULL
"""

# A level that is only held has no rows in the period: what earlier periods have left, all the time.
_WANTED = f"""
WITH {_ASKED}
SELECT a.tenant_id, a.customer_id, a.period_start, a.period_end,
       -- Bins stand for values with more decimals than the ledger keeps.
       v.meter, v.dims, v.aggregation, v.unit, u.n, v.samples, round({{value}}, 9)
FROM asked a
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
FROM asked a
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


def take_turn(connection: psycopg.Connection, names: Names) -> None:
    """Wait for all other writers of this ledger, until the end of the transaction: the outbox ascends with commits."""
    lock_in_transaction(connection, f"ledger {names.billing_schema}")


def now(connection: psycopg.Connection) -> datetime:
    """Instant by the clock of the database."""
    moment: datetime = _one(connection, "SELECT clock_timestamp()")
    return moment


def catalog_revision(connection: psycopg.Connection) -> int:
    """Revision of the catalog."""
    return int(_one(connection, "SELECT revision FROM catalog.revision"))


def read_entries(connection: psycopg.Connection, names: Names, keys: Iterable[PeriodKey]) -> dict[PeriodKey, Entry]:
    """What the ledger says of these periods; those that were never closed are absent."""
    found: dict[PeriodKey, tuple[int, bool, dict[LineKey, Line]]] = {}
    for row in _ask(connection, names, _ENTRIES, keys):
        key, (corrections, stands), line = PeriodKey(*row[:4]), row[4:6], row[6:]
        _, _, lines = found.setdefault(key, (corrections, stands, {}))
        if line[0] is not None:
            lines[LineKey(*line[:2])] = Line(*line[2:])
    return {key: Entry(lines, corrections, stands) for key, (corrections, stands, lines) in found.items()}


def wanted_lines(
    connection: psycopg.Connection, names: Names, keys: Sequence[PeriodKey], *, so_far: bool = False
) -> dict[PeriodKey, Lines]:
    """What the rollups that people read say of these periods, each by its start; without usage there are no lines.

    Levels are held to the end of the period; `so_far`: to the clock of the database, where that is earlier.
    """
    wanted: dict[PeriodKey, dict[LineKey, Line]] = {key: {} for key in keys}
    for row in _ask(connection, names, _WANTED, keys, _SO_FAR if so_far else _TO_THE_END):
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
    """Add closes and corrections, and what is to be told of them; in a transaction of the caller, after `take_turn`.

    Without a `cause` each correction gets the one that its lines show.
    """
    letters = dead_letters or {}
    rows: dict[str, list[dict[str, Any]]] = {table: [] for table in _TABLES}
    for close in due.closes:
        count = letters.get(close.key, 0)
        own = {
            **_columns(close.key),
            "closed_at": context.at, "closed_by": context.by, "catalog_revision": context.catalog_revision,
            "watermark": context.watermark, "dead_letters": count, "lines": len(close.lines),
            **_shared(close.key, close.lines, context),
        }  # fmt: skip
        rows["period_close"].append(own)
        rows["period_close_line"] += _close_lines(close.key, close.lines)
        rows["outbox"].append(_told("closes", close.key, close_message(close, context, count)))
    for one in due.corrections:
        why = cause or ("catalog_change" if not one.stands else cause_of(one.changes))
        number = {"correction_no": one.number}
        own = {
            **_columns(one.key), **number,
            "cause": why, "replay_id": replay_id, "stands": one.stands, "made_at": context.at, "made_by": context.by,
            **_shared(one.key, one.lines, context),
        }  # fmt: skip
        rows["correction"].append(own)
        rows["correction_line"] += [{**_columns(one.key), **number, **_change(*item)} for item in one.changes.items()]
        rows["outbox"].append(_told("corrections", one.key, correction_message(one, context, why, replay_id)))
    for table, some in rows.items():
        _insert(connection, names, table, some)


def batches(items: Iterable[_Item], size: int = BATCH) -> Iterator[list[_Item]]:
    """Parts of at most `size`."""
    iterator = iter(items)
    while part := list(islice(iterator, size)):
        yield part


def _ask(
    connection: psycopg.Connection, names: Names, statement: str, keys: Iterable[PeriodKey],
    parts: Mapping[str, sql.SQL] = MappingProxyType({}),
) -> Iterator[Any]:  # fmt: skip
    text = sql.SQL(statement).format(schema=sql.Identifier(names.billing_schema), **parts)
    for part in batches(keys):
        tenants, customers, starts, ends = (list(column) for column in zip(*part, strict=True))
        asked = {"tenants": tenants, "customers": customers, "starts": starts, "ends": ends}
        yield from connection.execute(text, asked).fetchall()


def _insert(connection: psycopg.Connection, names: Names, table: str, rows: Sequence[Mapping[str, Any]]) -> None:
    if not rows:
        return
    columns = list(rows[0])
    statement = sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(
        sql.Identifier(names.billing_schema, table),
        sql.SQL(", ").join(map(sql.Identifier, columns)),
        sql.SQL(", ").join(map(sql.Placeholder, columns)),
    )
    with connection.cursor() as cursor:
        cursor.executemany(statement, rows)


def _told(topic: str, key: PeriodKey, body: str) -> dict[str, str]:
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


def _one(connection: psycopg.Connection, statement: str) -> Any:
    return connection.execute(statement.encode()).fetchall()[0][0]
