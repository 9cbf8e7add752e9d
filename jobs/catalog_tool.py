"""Catalog tool: a YAML file into Postgres in one transaction, as new versions of the rows that differ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import psycopg
from psycopg import sql

from jobs import catalog_file
from jobs.catalog_file import Row
from jobs.db import connect
from jobs.errors import TidemarkError
from jobs.settings import Settings

_STATEMENT_TIMEOUT_S = 60
# Locks the one row, so applies follow each other. The instant is later than the last apply's even if the clock is not:
# versions never begin where another one began. Whole milliseconds, as event times are compared in them.
_BEGIN = """
SELECT revision, greatest(date_trunc('milliseconds', clock_timestamp()), applied_at + interval '1 ms')
FROM catalog.revision FOR UPDATE
"""

# Per table: the columns that identify a row, then those that make a version.
TABLES: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "calendar": (("calendar_id",), ("anchor", "interval", "timezone")),
    "tenant": (("tenant_id",), ("calendar_id",)),
    "customer": (("tenant_id", "customer_id"), ("calendar_id",)),
    "meter": (("tenant_id", "meter"), ("event_types", "aggregation", "value", "group_by", "unit", "allow_negative")),
}


@dataclass(frozen=True, slots=True)
class Change:
    """One row that an apply added, or closed and opened again."""

    table: str
    key: tuple[str | None, ...]
    kind: Literal["added", "changed"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an apply did; `revision` is the catalog's after it."""

    revision: int
    changes: tuple[Change, ...]
    unchanged: int


@dataclass(frozen=True, slots=True)
class TablePlan:
    """Rows of one table to add, to open a new version of, and how many stay as they are."""

    added: tuple[Row, ...]
    changed: tuple[Row, ...]
    unchanged: int


def apply(settings: Settings, path: Path) -> Outcome:
    """Make the catalog say what the file says; rows the file does not name stay as they are.

    A row that differs is closed now and opened again from now on, so earlier events keep the old version. A row that
    is new holds from the beginning of time.

    Raises
    ------
    UsageError
        Every fault of the file at once, each with its path.
    UnavailableError, TidemarkError
        Postgres is away, or not migrated.

    """
    file = catalog_file.read(path)
    with _transaction(settings) as connection:
        revision, now = connection.execute(_BEGIN).fetchall()[0]
        # A calendar that a tenant or customer names may come from an earlier file.
        known = [row[0] for row in connection.execute("SELECT DISTINCT calendar_id FROM catalog.calendar")]
        faults = catalog_file.check(file, known_calendars=known, longest_period_days=settings.state_ttl_days)
        catalog_file.fail(path, faults)
        return _apply_rows(connection, catalog_file.rows(file), revision, now)


def show(settings: Settings) -> dict[str, Any]:
    """Read the revision, and the versions that are open now, by table."""
    with _transaction(settings) as connection:
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        revision, applied_at = connection.execute("SELECT revision, applied_at FROM catalog.revision").fetchall()[0]
        tables = {f"{table}s": _shown(connection, table) for table in TABLES}
    return {"revision": revision, "applied_at": applied_at.isoformat(), **tables}


def plan(stored: Mapping[tuple[Any, ...], tuple[Any, ...]], wanted: Sequence[Row]) -> TablePlan:
    """Compare the open versions of one table, by key, with the rows wanted."""
    added = tuple(row for row in wanted if row.key not in stored)
    changed = tuple(row for row in wanted if row.key in stored and stored[row.key] != row.values)
    return TablePlan(added, changed, len(wanted) - len(added) - len(changed))


def _apply_rows(
    connection: psycopg.Connection, wanted: Mapping[str, Sequence[Row]], revision: int, now: datetime
) -> Outcome:
    changes: list[Change] = []
    unchanged = 0
    for table, rows in wanted.items():
        step = plan(_open_versions(connection, table), rows)
        _close(connection, table, step.changed, now)
        _open(connection, table, step.changed, now)
        _open(connection, table, step.added, None)
        changes += [Change(table, row.key, "added") for row in step.added]
        changes += [Change(table, row.key, "changed") for row in step.changed]
        unchanged += step.unchanged
    if changes:
        revision += 1
        connection.execute("UPDATE catalog.revision SET revision = %s, applied_at = %s", [revision, now])
    return Outcome(revision, tuple(changes), unchanged)


def _open_versions(connection: psycopg.Connection, table: str) -> dict[tuple[Any, ...], tuple[Any, ...]]:
    keys, values = TABLES[table]
    statement = sql.SQL("SELECT {} FROM {} WHERE valid_to = 'infinity'").format(_columns(keys + values), _table(table))
    return {row[: len(keys)]: row[len(keys) :] for row in connection.execute(statement)}


def _close(connection: psycopg.Connection, table: str, rows: Sequence[Row], now: datetime) -> None:
    keys, _ = TABLES[table]
    # IS NOT DISTINCT FROM: a meter of all tenants has no tenant.
    same = sql.SQL(" AND ").join(sql.SQL("{} IS NOT DISTINCT FROM %s").format(sql.Identifier(key)) for key in keys)
    statement = sql.SQL("UPDATE {} SET valid_to = %s WHERE valid_to = 'infinity' AND {}").format(_table(table), same)
    connection.cursor().executemany(statement, [(now, *row.key) for row in rows])


def _open(connection: psycopg.Connection, table: str, rows: Sequence[Row], valid_from: datetime | None) -> None:
    """Insert open versions that hold from an instant, or from the beginning of time."""
    columns = sum(TABLES[table], ())
    places = sql.SQL(", ").join(sql.Placeholder() * len(columns))
    statement = sql.SQL("INSERT INTO {} ({}, valid_from) VALUES ({}, coalesce(%s, '-infinity'::timestamptz))").format(
        _table(table), _columns(columns), places
    )
    connection.cursor().executemany(statement, [(*row.key, *row.values, valid_from) for row in rows])


def _shown(connection: psycopg.Connection, table: str) -> list[dict[str, Any]]:
    columns = sum(TABLES[table], ())
    statement = sql.SQL("SELECT {} FROM {} WHERE valid_to = 'infinity' ORDER BY {}").format(
        _columns(columns), _table(table), _columns(TABLES[table][0])
    )
    return [dict(zip(columns, row, strict=True)) for row in connection.execute(statement)]


def _columns(names: Sequence[str]) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, names))


def _table(name: str) -> sql.Identifier:
    return sql.Identifier("catalog", name)


@contextmanager
def _transaction(settings: Settings) -> Iterator[psycopg.Connection]:
    try:
        with connect(settings, statement_timeout_s=_STATEMENT_TIMEOUT_S) as connection, connection.transaction():
            yield connection
    except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName, psycopg.errors.UndefinedColumn) as error:
        raise TidemarkError("the database has no current catalog tables.", "run `tidemark db migrate`.") from error
