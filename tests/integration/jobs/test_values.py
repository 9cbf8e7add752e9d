"""Views and functions that give people one value per meter, on the real server, with figures worked out by hand."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import psycopg
import pytest
import yaml
from psycopg import sql

from tests.integration.storage import own_run
from tidemark.catalog import tool as catalog_tool
from tidemark.core import postgres
from tidemark.core.settings import Settings

SEPARATOR = "\x1f"
METERS = {
    "calls": "count", "miles": "sum", "least": "min", "most": "max", "mean": "avg", "level": "latest",
    "tails": "unique", "delay": "percentile", "storage": "weighted_sum",
}  # fmt: skip
CATALOG = {
    "valid_from": "beginning",
    "tenants": {
        "values": {
            "meters": {
                name: {"event_types": ["x"], "aggregation": aggregation, "unit": "u", "value": "v"}
                if aggregation != "count"
                else {"event_types": ["x"], "aggregation": "count", "unit": "u"}
                for name, aggregation in METERS.items()
            }
        }
    },
}


@pytest.fixture(scope="module")
def run(stack: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    file = tmp_path_factory.mktemp("values") / "catalog.yaml"
    file.write_text(yaml.safe_dump(CATALOG))
    with own_run(stack.settings) as settings:
        catalog_tool.apply(settings, file, backdate=True, prune=True, all_tenants=True)
        yield settings


@pytest.fixture
def connection(run: Settings) -> Iterator[psycopg.Connection]:
    with postgres.connect(run.postgres) as connection:
        connection.execute(sql.SQL("SET search_path TO {}, public").format(sql.Identifier(run.names.usage_schema)))
        for grain in ("minute", "hour", "day", "period"):
            connection.execute(sql.SQL("TRUNCATE {}").format(sql.Identifier(f"usage_{grain}")))
        yield connection


def insert(connection: psycopg.Connection, table: str, meter: str, **columns: Any) -> None:
    bucket = {
        "usage_minute": {"minute_start": "2024-01-01"},
        "usage_hour": {"hour_start": "2024-01-01"},
        "usage_day": {"day": "2024-01-01"},
        "usage_period": {"period_start": "2024-01-01", "period_end": "2024-02-01"},
    }[table]
    row = {
        "tenant_id": "values", "customer_id": "c", "meter": meter, "dims": "", "part": "", "n": 1, "samples": 1,
        "total": 0, **bucket, **columns,
    }  # fmt: skip
    statement = sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(
        sql.Identifier(table),
        sql.SQL(", ").join(map(sql.Identifier, row)),
        sql.SQL(", ").join(sql.Placeholder() * len(row)),
    )
    connection.execute(statement, list(row.values()))


def one(connection: psycopg.Connection, query: str) -> Any:
    ((value,),) = connection.execute(query.encode()).fetchall()
    return value


def test_each_aggregation_has_its_value(connection: psycopg.Connection) -> None:
    latest = SEPARATOR.join(["001704067200000000000", "//eu/gateway", "e-1", "42.5"])
    for meter in ("calls", "miles", "least", "most", "mean"):
        insert(connection, "usage_hour", meter, n=4, samples=3, total=10, lo=-1, hi=8)
    insert(connection, "usage_hour", "level", total=99, lo=1, hi=98, latest=latest)

    values = dict(connection.execute("SELECT meter, value FROM usage_hour_value").fetchall())

    assert values == {
        "calls": 10, "miles": 10, "least": -1, "most": 8, "mean": Decimal("3.333333333"), "level": Decimal("42.5"),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("total", "samples", "mean"),
    [
        ("0.000000005", 2, "0.000000002"),
        ("0.000000007", 2, "0.000000004"),
        ("-0.000000005", 2, "-0.000000002"),
        ("-2", 3, "-0.666666667"),
        ("99999999999999999999999999999.999999999", 1, "99999999999999999999999999999.999999999"),
    ],
)
def test_an_average_is_rounded_half_even_to_nine_decimals(
    connection: psycopg.Connection, total: str, samples: int, mean: str
) -> None:
    insert(connection, "usage_day", "mean", total=total, samples=samples)
    assert one(connection, "SELECT value FROM usage_day_value") == Decimal(mean)


def test_a_bucket_of_voids_alone_has_no_value(connection: psycopg.Connection) -> None:
    insert(connection, "usage_hour", "most", samples=0)
    insert(connection, "usage_hour", "mean", samples=0)
    insert(connection, "usage_hour", "delay", samples=0, part="v")
    assert connection.execute("SELECT * FROM usage_hour_value").fetchall() == []


def test_unique_values_are_counted_once_over_all_dimensions(connection: psycopg.Connection) -> None:
    parts = ["u" + hashlib.sha256(tail.encode()).hexdigest()[:32] for tail in ("N1", "N2", "N3")]
    for dims, part in (('{"d":"1"}', parts[0]), ('{"d":"1"}', parts[1]), ('{"d":"2"}', parts[1]), ("", parts[2])):
        insert(connection, "usage_period", "tails", dims=dims, part=part)

    by_dims = dict(connection.execute("SELECT dims, value FROM usage_period_value").fetchall())

    assert by_dims == {'{"d":"1"}': 2, '{"d":"2"}': 1, "": 1}
    assert one(connection, "SELECT value FROM usage_total") == 3


def test_anyone_can_check_whether_a_value_was_counted(connection: psycopg.Connection) -> None:
    insert(connection, "usage_day", "tails", part="u" + hashlib.sha256("Ü 1".encode()).hexdigest()[:32])
    found = one(
        connection,
        "SELECT count(*) FROM usage_day WHERE part = 'u' || left(encode(sha256(convert_to('Ü 1', 'UTF8')), 'hex'), 32)",
    )
    assert found == 1


def test_a_percentile_is_clamped_to_what_its_bin_has_seen(connection: psycopg.Connection) -> None:
    #   bin   bn35 (-2)   b0 (0)   bp1 (1.02)   bp233 (100.0..101.0)
    for part, samples, lo, hi in (("bn35", 1, -2, -2), ("b0", 1, 0, 0), ("bp0", 7, 1, 1), ("bp233", 1, 100, 100)):
        insert(connection, "usage_minute", "delay", part=part, samples=samples, lo=lo, hi=hi)

    def percentile(p: str) -> Any:
        return one(connection, f"SELECT usage_percentile('values', 'c', 'delay', '2024-01-01', '2024-01-02', {p})")

    assert [percentile(p) for p in ("0.05", "0.1", "0.11", "0.2", "0.5", "0.9", "0.91", "1")] == [
        -2, -2, 0, 0, 1, 1, 100, 100,
    ]  # fmt: skip
    assert one(connection, "SELECT value FROM usage_minute_value") == 1


def test_a_bin_stands_for_its_values_within_one_percent(connection: psycopg.Connection) -> None:
    # Bin i holds (1.02^(i-1), 1.02^i].
    for index in (-400, -1, 0, 1, 35, 800):
        low, high = Decimal("1.02") ** (index - 1), Decimal("1.02") ** index
        estimate = one(connection, f"SELECT bin_estimate('bp{index}')")
        assert abs(estimate / low - 1) <= Decimal("0.00991")
        assert abs(estimate / high - 1) <= Decimal("0.00991")
        assert one(connection, f"SELECT bin_estimate('bn{index}')") == -estimate


def test_a_level_is_carried_over_periods_without_events(connection: psycopg.Connection) -> None:
    #            Jan 15        Feb      Mar 5
    #   level   ___|‾‾‾‾ 10 ‾‾‾‾‾‾‾‾‾‾‾|___ 0
    day_ms = 86_400_000
    january_15, march_5 = 1_705_276_800_000, 1_709_596_800_000
    for table, bucket in (("usage_minute", "minute_start"), ("usage_period", "period_start")):
        for at_ms, day, start, end, change in (
            (january_15, "2024-01-15", "2024-01-01", "2024-02-01", 10),
            (march_5, "2024-03-05", "2024-03-01", "2024-04-01", -10),
        ):
            period = {"period_start": start, "period_end": end}
            columns = {bucket: day} if table == "usage_minute" else period
            insert(connection, table, "storage", total=change, **columns)
            insert(connection, table, "storage", part="m", total=change * at_ms, **columns)

    def held(start: str, end: str) -> Any:
        return one(connection, f"SELECT usage_weighted_sum('values', 'c', 'storage', '{start}', '{end}')")

    assert held("2024-01-01", "2024-02-01") == 10 * 17 * 24
    assert held("2024-02-01", "2024-03-01") == 10 * 29 * 24
    assert held("2024-03-01", "2024-04-01") == 10 * 4 * 24
    assert held("2024-01-15", "2024-01-15 00:01") == Decimal("0.166666667")
    assert held("2024-01-01", "2024-04-01") == 10 * (march_5 - january_15) // day_ms * 24
    periods = connection.execute("SELECT value FROM usage_period_value ORDER BY period_start").fetchall()
    assert [value for (value,) in periods] == [10 * 17 * 24, 10 * 4 * 24]
    assert [row[0] for row in connection.execute("SELECT value FROM usage_total ORDER BY period_start")] == [4080, 960]


def test_a_total_of_a_period_sums_its_dimensions(connection: psycopg.Connection) -> None:
    for number, dims in enumerate(['{"dest":"IAH"}', '{"dest":"LAX"}'], start=1):
        insert(connection, "usage_period", "miles", dims=dims, total=f"{number}.1", samples=number)
    assert connection.execute("SELECT samples, value FROM usage_total").fetchall() == [(3, Decimal("3.2"))]
