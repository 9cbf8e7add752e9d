"""The catalog's tables: versions read as timelines, changes written, and what holds at an instant."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any, LiteralString

import psycopg
from psycopg import sql

from tidemark.catalog.check_limits import Known
from tidemark.catalog.entries import canonical_json
from tidemark.catalog.file import TABLES, Key
from tidemark.catalog.instants import shown, stored
from tidemark.catalog.timeline import Change, Timeline, Version
from udfs.catalog.model import stored_filter
from udfs.meters.meter import BEGINNING_MS, FOREVER_MS

_BOUNDS = sql.SQL("coalesce(catalog.epoch_ms(valid_from), {}), coalesce(catalog.epoch_ms(valid_to), {})").format(
    sql.Literal(BEGINNING_MS), sql.Literal(FOREVER_MS)
)
# The one column of a key that may be null: a meter of all tenants has no tenant.
_NULLABLE = ("meter", "tenant_id")
# Tables with a row per customer: of these only the tenants in question are read.
_LARGE = ("customer", "usage_limit")
# JSON as text, because a driver would read its decimals as binary fractions; decimals as plain text.
_SELECT: dict[str, LiteralString] = {
    "filter": "{}::text",
    "body": "{}::text",
    "cap": "trim_scale({})::text",
    "revenue_weight": "trim_scale({})::text",
}
_METERS: LiteralString = "SELECT tenant_id, meter, aggregation FROM catalog.meter WHERE valid_to = 'infinity'"
_PLANS: LiteralString = """
SELECT DISTINCT tenant_id, scope_id FROM catalog.usage_limit WHERE scope = 'plan' AND valid_to = 'infinity'
"""
_TENANTS_ON: LiteralString = "SELECT DISTINCT tenant_id FROM catalog.tenant WHERE calendar_id = ANY(%(calendars)s)"
_CUSTOMERS_ON: LiteralString = """
SELECT DISTINCT tenant_id FROM catalog.customer
WHERE calendar_id = ANY(%(calendars)s) AND tenant_id <> ALL(%(tenants)s)
"""
# A look-up for each: the planner may not know that they are few.
_WITH_USAGE = sql.SQL("""
SELECT c.tenant_id, c.customer_id
FROM unnest(%s::text[], %s::text[]) AS c (tenant_id, customer_id)
CROSS JOIN LATERAL (
    SELECT FROM {} u WHERE (u.tenant_id, u.customer_id) = (c.tenant_id, c.customer_id) LIMIT 1
) used
""")
_RECEIVERS: LiteralString = "SELECT name FROM catalog.alert_policy WHERE kind = 'receiver' AND valid_to = 'infinity'"


def read(
    connection: psycopg.Connection, tenants: Sequence[Any] | None, known_at: datetime | None = None
) -> dict[str, dict[Key, Timeline]]:
    """All versions by table and key; of customers and limits only those of some tenants, None for all.

    With `known_at` as they were known at that instant.
    """
    return {table: _timelines(connection, table, tenants if table in _LARGE else None, known_at) for table in TABLES}


def customers_on(connection: psycopg.Connection, calendars: Sequence[str]) -> dict[Key, Timeline]:
    """All versions of the customers that name one of some calendars in any of them, and of those on a default.

    A customer without a calendar of its own is on its tenant's, which may be one of them.
    """
    tenants = [row[0] for row in connection.execute(_TENANTS_ON, {"calendars": list(calendars)})]
    timelines = _timelines(connection, "customer", tenants)
    others = [row[0] for row in connection.execute(_CUSTOMERS_ON, {"calendars": list(calendars), "tenants": tenants})]
    return timelines | (_timelines(connection, "customer", others) if others else {})


def with_usage(connection: psycopg.Connection, schema: str, customers: Sequence[Key]) -> set[Key]:
    """Those of some customers that have usage in a period of a run; empty where nothing was ever counted."""
    table = sql.Identifier(schema, "usage_period")
    if not customers or not connection.execute("SELECT to_regclass(%s)", [table.as_string()]).fetchall()[0][0]:
        return set()
    pairs = [list(column) for column in zip(*customers, strict=True)]
    return {(tenant, customer) for tenant, customer in connection.execute(_WITH_USAGE.format(table), pairs)}


def known(connection: psycopg.Connection) -> Known:
    """What is stored and open, for a file to name."""
    return Known(
        meters={(tenant, name): aggregation for tenant, name, aggregation in connection.execute(_METERS)},
        plans={(tenant, name) for tenant, name in connection.execute(_PLANS)},
        receivers={name for (name,) in connection.execute(_RECEIVERS)},
    )


def write(connection: psycopg.Connection, changes: Sequence[Change]) -> None:
    """Carry changes out: cut the versions that hold when they start, remove later ones, insert the new."""
    for table in TABLES:
        todo = [change for change in changes if change.table == table]
        ending = [change for change in todo if change.kind != "added" or change.begin_ms < change.valid_from_ms]
        _cut(connection, table, ending)
        _insert(connection, table, [change for change in todo if change.new is not None])


def versions_at(
    connection: psycopg.Connection, table: str, at_ms: int, known_at: datetime | None = None
) -> list[dict[str, Any]]:
    """Versions that hold at an event time, by key; their columns, `valid_from` and `valid_to` as people read them.

    With `known_at` those that were known at that instant.
    """
    columns = sum(TABLES[table], ())
    statement = sql.SQL("SELECT {}, {} FROM {} WHERE valid_from <= %(at)s AND valid_to > %(at)s ORDER BY {}").format(
        _selected(columns), _BOUNDS, source(table, known_at), _names(TABLES[table][0])
    )
    return [
        dict(zip(columns, row[:-2], strict=True)) | {"valid_from": shown(row[-2]), "valid_to": shown(row[-1])}
        for row in connection.execute(statement, {"at": stored(at_ms)})
    ]


def source(table: str, known_at: datetime | None) -> sql.Composable:
    """What a statement selects from: a table of the catalog, or its rows as known at an instant."""
    if known_at is None:
        return _table(table)
    moment = sql.Literal(known_at)
    return sql.SQL("catalog.rows_known_at(NULL::{}, {})").format(_table(table), moment)


def _timelines(
    connection: psycopg.Connection, table: str, tenants: Sequence[Any] | None, known_at: datetime | None = None
) -> dict[Key, Timeline]:
    keys, values = TABLES[table]
    statement = sql.SQL("SELECT {}, {} FROM {} {} ORDER BY valid_from").format(
        _selected(keys + values),
        _BOUNDS,
        source(table, known_at),
        sql.SQL("" if tenants is None else "WHERE tenant_id = ANY(%s)"),
    )
    timelines: dict[Key, list[Version]] = {}
    for row in connection.execute(statement, None if tenants is None else [list(tenants)]):
        version = Version(_values(values, row[len(keys) : -2]), row[-2], row[-1])
        timelines.setdefault(row[: len(keys)], []).append(version)
    return {key: tuple(versions) for key, versions in timelines.items()}


def _values(columns: Sequence[str], row: Sequence[Any]) -> tuple[Any, ...]:
    """Values of a version as `catalog_file.Row` has them."""
    return tuple(_value(name, value) for name, value in zip(columns, row, strict=True))


def _value(name: str, value: Any) -> Any:
    if name == "filter":
        return stored_filter(value)
    if name == "body":
        return canonical_json(json.loads(value))
    return tuple(value or ()) if name == "boundaries" or isinstance(value, list) else value


def _cut(connection: psycopg.Connection, table: str, changes: Sequence[Change]) -> None:
    """One statement for all, not one each: the planner sees how many there are, and the history is written once."""
    if not changes:
        return
    keys = TABLES[table][0]
    same = sql.SQL(" AND ").join(
        sql.SQL("t.{0} IS NOT DISTINCT FROM c.{0}" if (table, key) == _NULLABLE else "t.{0} = c.{0}").format(
            sql.Identifier(key)
        )
        for key in keys
    )
    lists = [*zip(*(change.key for change in changes), strict=True), [stored(change.begin_ms) for change in changes]]
    changed = sql.SQL("unnest({}, %s::timestamptz[]) AS c ({}, begins)").format(
        sql.SQL(", ").join([sql.SQL("%s::text[]")] * len(keys)), _names(keys)
    )
    delete = sql.SQL("DELETE FROM {} t USING {} WHERE {} AND t.valid_from >= c.begins")
    update = sql.SQL(
        "UPDATE {} t SET valid_to = c.begins FROM {} WHERE {} AND t.valid_from < c.begins AND t.valid_to > c.begins"
    )
    for statement in (delete, update):
        connection.execute(statement.format(_table(table), changed, same), [list(column) for column in lists])


def _insert(connection: psycopg.Connection, table: str, changes: Sequence[Change]) -> None:
    keys, values = TABLES[table]
    copy = sql.SQL("COPY {} ({}, valid_from, valid_to) FROM STDIN").format(_table(table), _names(keys + values))
    with connection.cursor() as cursor, cursor.copy(copy) as rows:
        for change in changes:
            for version in change.versions:
                cells = [_cell(name, value) for name, value in zip(values, version.values, strict=True)]
                rows.write_row((*change.key, *cells, stored(version.valid_from_ms), stored(version.valid_to_ms)))


def _cell(name: str, value: Any) -> Any:
    """A value as its column takes it: lists, and null for no filter and no boundaries."""
    if name in ("filter", "boundaries"):
        value = value or None
    return list(value) if isinstance(value, tuple) else value


def _selected(columns: Sequence[str]) -> sql.Composed:
    """Columns to select, as `_SELECT` has them, under their own names."""
    parts = [sql.SQL(_SELECT.get(column, "{}")).format(sql.Identifier(column)) for column in columns]
    return sql.SQL(", ").join(parts)


def _names(columns: Sequence[str]) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, columns))


def _table(name: str) -> sql.Identifier:
    return sql.Identifier("catalog", name)
