"""Database: migrations on the real server, the guard of every rollup, a comment on everything."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg import sql

from schemas import SqlFile, sql_files
from tests.integration.storage import own_run
from tidemark.core import migrate, postgres
from tidemark.core.errors import TidemarkError, UnavailableError
from tidemark.core.settings import Settings

SERIES = {"tenant_id": "EWR", "customer_id": "UA", "meter": "miles", "dims": "", "part": ""}
VALUES = {"samples": 2, "total": "2.5", "lo": "1", "hi": "1.5"}
# Per table: the rest of the primary key, then the other columns but n.
GRAINS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "usage_minute": ({**SERIES, "minute_start": "2013-01-01 10:17:00"}, VALUES),
    "usage_hour": ({**SERIES, "hour_start": "2013-01-01 10:00:00"}, VALUES),
    "usage_day": ({**SERIES, "day": "2013-01-01"}, VALUES),
    "usage_period": ({**SERIES, "period_start": "2013-01-01"}, {**VALUES, "period_end": "2013-02-01"}),
    "usage_sliding": (
        {"tenant_id": "EWR", "meter": "miles", "window_s": 300, "window_end": "2013-01-01 10:20:00"},
        {"window_start": "2013-01-01 10:15:00", "total": "2.5"},
    ),
    "usage_sliding_customer": (
        {
            "tenant_id": "EWR", "customer_id": "UA", "meter": "miles", "window_s": 300,
            "window_end": "2013-01-01 10:20:00",
        },
        {"window_start": "2013-01-01 10:15:00", "total": "2.5"},
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def run(stack: Any) -> Iterator[Settings]:
    with own_run(stack.settings) as settings:
        yield settings


@pytest.fixture
def connection(run: Settings) -> Iterator[psycopg.Connection]:
    with postgres.connect(run.postgres) as connection:
        connection.execute(sql.SQL("SET search_path TO {}, public").format(sql.Identifier(run.names.usage_schema)))
        yield connection


def upsert(connection: psycopg.Connection, table: str, n: int, **changed: Any) -> None:
    """Write a row with the statement that the JDBC connector generates."""
    key, rest = GRAINS[table]
    row = {**key, **rest, "n": n, **changed}
    others = [name for name in row if name not in key]
    statement = sql.SQL("INSERT INTO {} ({}) VALUES ({}) ON CONFLICT ({}) DO UPDATE SET {}").format(
        sql.Identifier(table),
        sql.SQL(", ").join(map(sql.Identifier, row)),
        sql.SQL(", ").join(sql.Placeholder() * len(row)),
        sql.SQL(", ").join(map(sql.Identifier, key)),
        sql.SQL(", ").join(sql.SQL("{0}=EXCLUDED.{0}").format(sql.Identifier(name)) for name in others),
    )
    connection.execute(statement, list(row.values()))


def stored(connection: psycopg.Connection, table: str) -> tuple[Any, ...]:
    (row,) = connection.execute(sql.SQL("SELECT n, total, updated_at FROM {}").format(sql.Identifier(table))).fetchall()
    return row


def test_a_current_database_is_left_alone(run: Settings) -> None:
    assert migrate.migrate(run) == []


def test_two_migrations_at_once_apply_each_file_once(stack: Any) -> None:
    run = stack.settings.with_changes({"run_id": "tatonce"})
    applied: list[migrate.Applied] = []
    threads = [threading.Thread(target=lambda: applied.extend(migrate.migrate(run))) for _ in range(3)]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        names = [one.name for one in applied if one.schema == run.names.usage_schema]
        assert sorted(names) == [file.name for file in sql_files("usage")]
    finally:
        with postgres.connect(run.postgres) as connection:
            connection.execute("DROP SCHEMA IF EXISTS report_tatonce, usage_tatonce, billing_tatonce CASCADE")


def test_a_changed_applied_file_is_refused(run: Settings, connection: psycopg.Connection) -> None:
    change = "UPDATE schema_migration SET checksum = %s WHERE name = '0003_sliding.sql' RETURNING checksum"
    read = "SELECT checksum FROM schema_migration WHERE name = '0003_sliding.sql'"
    (before,) = connection.execute(read).fetchall()[0]
    connection.execute(change, ["0" * 64])
    with pytest.raises(TidemarkError, match=r"0003_sliding\.sql was changed"):
        migrate.migrate(run)
    connection.execute(change, [before])
    assert migrate.migrate(run) == []


def test_a_file_that_fails_leaves_nothing_behind(run: Settings, connection: psycopg.Connection) -> None:
    broken = SqlFile("9999_broken.sql", b"CREATE TABLE half_done (a int); SELECT 1 / 0;")
    with pytest.raises(TidemarkError, match="division by zero"):
        migrate._apply(connection, run.names.usage_schema, broken)
    assert connection.execute("SELECT to_regclass('half_done')").fetchall() == [(None,)]
    assert connection.execute("SELECT 1 FROM schema_migration WHERE name LIKE '9999%'").fetchall() == []


def test_a_server_that_is_away_is_said_within_seconds(run: Settings) -> None:
    away = run.with_changes({"postgres.owner_url": "postgresql://tidemark@127.0.0.1:9/tidemark"})
    with pytest.raises(UnavailableError, match="cannot be used"):
        migrate.migrate(away)


def test_every_table_view_and_column_has_a_comment(run: Settings, connection: psycopg.Connection) -> None:
    bare = connection.execute(
        """
        SELECT n.nspname, c.relname, a.attname
        FROM pg_class c
        JOIN pg_namespace n ON n.oid = c.relnamespace
        LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
        WHERE (n.nspname = 'catalog' OR n.nspname = ANY(%s)) AND c.relkind IN ('r', 'v', 'p')
          AND (obj_description(c.oid, 'pg_class') IS NULL OR col_description(c.oid, a.attnum) IS NULL)
        """,
        [[run.names.usage_schema, run.names.billing_schema, run.names.report_schema]],
    ).fetchall()
    assert bare == []


def test_the_time_series_are_hypertables(run: Settings, connection: psycopg.Connection) -> None:
    found = connection.execute(
        "SELECT hypertable_name FROM timescaledb_information.hypertables WHERE hypertable_schema = %s ORDER BY 1",
        [run.names.usage_schema],
    ).fetchall()
    assert [row[0] for row in found] == [
        "usage_day", "usage_hour", "usage_minute", "usage_sliding", "usage_sliding_customer"
    ]  # fmt: skip


@pytest.mark.parametrize("table", GRAINS)
def test_the_guard_refuses_a_smaller_n_and_takes_the_others(connection: psycopg.Connection, table: str) -> None:
    upsert(connection, table, 5, total="5")
    first = stored(connection, table)
    upsert(connection, table, 4, total="4")
    assert stored(connection, table) == first, "a smaller n changes nothing, updated_at included"
    upsert(connection, table, 5, total="5.5")
    second = stored(connection, table)
    assert (second[0], str(second[1])) == (5, "5.500000000")
    upsert(connection, table, 6, total="6")
    third = stored(connection, table)
    assert (third[0], str(third[1])) == (6, "6.000000000")
    assert first[2] < second[2] < third[2]


@pytest.mark.parametrize(
    ("table", "column", "value"),
    [
        ("usage_minute", "minute_start", "2013-01-01 10:17:30"),
        ("usage_hour", "hour_start", "2013-01-01 10:30:00"),
        ("usage_period", "period_end", "2012-12-31"),
        ("usage_sliding", "window_start", "2013-01-01 10:16:00"),
        ("usage_sliding_customer", "window_start", "2013-01-01 10:16:00"),
    ],
)
def test_a_bucket_that_is_not_aligned_fails_loudly(
    connection: psycopg.Connection, table: str, column: str, value: str
) -> None:
    with pytest.raises(psycopg.errors.CheckViolation):
        upsert(connection, table, 1, **{column: value})
