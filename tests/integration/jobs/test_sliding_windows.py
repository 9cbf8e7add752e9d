"""Sliding windows on event time: all of a bounded run equal the oracle's; what is late is counted as such; ratios."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from jobs.flink.bounds import Bounds
from jobs.flink.rest import wait_until
from tests.integration.storage import own_run
from tests.pipeline import Pipeline, pipeline
from tests.streams import CATALOG, StreamRecord, generate
from tidemark.core import postgres
from tidemark.core.kafka import Sender
from tidemark.core.settings import Settings
from tidemark.oracle.compare import compare_postgres
from tidemark.oracle.relations import SLIDING

SIXTY_DAYS_S = 60 * 86_400
SIMPLE = {
    "tenants": {"acme": None},
    "meters": {"calls": {"event_types": ["call"], "aggregation": "count", "unit": "calls"}},
}
LATE = "numLateRecordsDropped"


def test_every_sliding_window_equals_the_oracle(stack: Any, tmp_path: Path) -> None:
    # Given events of 40 days, out of order, and a watermark bound that covers them ...
    changes = {"rollup.sliding_disorder_s": SIXTY_DAYS_S, "rollup.sliding_history_s": 0}
    with pipeline(stack.settings, "sliding", CATALOG, tmp_path, **changes) as run:
        run.send(generate(events=2_000, seed=3))
        # ... when both jobs run to the end of their input, which fires every window ...
        for job in ("meter", "rollup"):
            job_id = run.submit(job, Bounds(end="latest"))
            wait_until(lambda job_id=job_id: run.rest.details(job_id)["state"] == "FINISHED", 180, f"{job} to finish")  # type: ignore[misc]
        # ... then each window of tenants and of customers is stored once, with exact totals, and no other.
        with run.oracle() as oracle:
            assert compare_postgres(oracle, run.settings, SLIDING) == []
            for relation, sizes in zip(SLIDING, (4, 2), strict=True):
                assert oracle.number(f"SELECT count(*) FROM {relation}") > 1_000
                assert oracle.number(f"SELECT count(DISTINCT window_s) FROM {relation}") == sizes


@pytest.mark.drill
def test_windows_of_the_distant_past_are_not_written_and_recent_ones_are_whole(stack: Any, tmp_path: Path) -> None:
    # Given usage every hour of the last twenty days, and a history of two ...
    now = datetime.now(UTC)
    hours = [now.replace(minute=7, second=0, microsecond=0) - timedelta(hours=20 * 24 - n) for n in range(20 * 24)]
    changes = {"rollup.sliding_disorder_s": SIXTY_DAYS_S, "rollup.sliding_history_s": 2 * 86_400}
    with pipeline(stack.settings, "history", SIMPLE, tmp_path, **changes) as run:
        run.send(call(number, at) for number, at in enumerate(hours))
        # ... when it is loaded ...
        for job in ("meter", "rollup"):
            job_id = run.submit(job, Bounds(end="latest"))
            wait_until(lambda job_id=job_id: run.rest.details(job_id)["state"] == "FINISHED", 180, f"{job} to finish")  # type: ignore[misc]
        with run.oracle() as oracle:
            # ... then a week that ended within the history holds all of its hours, and none that ended before is there.
            assert compare_postgres(oracle, run.settings, SLIDING) == []
            assert not compare_postgres(oracle, run.settings)
        ended = rows(run, "SELECT min(window_end) >= now() - INTERVAL '2 days 10 minutes', count(*) FROM usage_sliding")
        assert ended[0][0]
        week = "SELECT max(n) FROM usage_sliding WHERE window_s = 604800 AND window_end <= now()"
        assert rows(run, week) == [(7 * 24,)]


def call(number: int, at: datetime) -> StreamRecord:
    event = {
        "event_id": f"e-{number}", "tenant_id": "acme", "customer_id": "c-1", "event_type": "call",
        "timestamp": at.isoformat(),
    }  # fmt: skip
    return StreamRecord(0, int(at.timestamp() * 1_000), b"acme", json.dumps(event).encode())


def delta(minute: str, total: str, customer: str = "c-1") -> bytes:
    """What `meter` says of a minute of 1 March 2024."""
    fields = {
        "tenant_id": "acme", "customer_id": customer, "meter": "calls", "dims": "", "part": "",
        "minute": f"2024-03-01T{minute}:00Z", "day": "2024-03-01", "period_start": "2024-03-01T00:00:00Z",
        "period_end": "2024-04-01T00:00:00Z", "n": 1, "samples": 1, "total": total, "lo": total, "hi": total,
        "latest": None,
    }  # fmt: skip
    return json.dumps(fields).encode()


def send_deltas(run: Pipeline, values: Iterable[bytes]) -> None:
    with Sender(run.settings.kafka) as sender:
        for value in values:
            sender.send(run.settings.names.deltas, value, partition=0)


def rows(run: Pipeline, query: str) -> list[tuple[Any, ...]]:
    with postgres.connect(run.settings.postgres) as connection:
        connection.execute(
            sql.SQL("SET search_path TO {}, public").format(sql.Identifier(run.settings.names.usage_schema))
        )
        return connection.execute(query).fetchall()  # type: ignore[arg-type]


def test_usage_within_the_watermark_bound_is_in_the_windows_and_later_one_is_counted_as_dropped(
    stack: Any, tmp_path: Path
) -> None:
    # The watermark is the latest minute less 10 minutes:
    #
    #   10:00    10:20    12:00 ... 12:05    12:10      16:00
    #   on time  late              in time   on time    closes the windows before
    #
    changes = {
        "topics.partitions": 1,
        "rollup.sliding_disorder_s": 600,
        "rollup.sliding_history_s": 0,
        "flink.source_idle_s": 3_600,
    }
    with pipeline(stack.settings, "late", CATALOG, tmp_path, **changes) as run:
        # Given a job whose watermark has passed 11:59, as the window of 10:00 that was stored says, ...
        job_id = run.submit("rollup")
        send_deltas(run, [delta("10:00", "1"), delta("12:10", "2")])
        hour = "SELECT window_end FROM usage_sliding WHERE window_s = 3600"
        wait_until(lambda: len(rows(run, hour)) >= 12, 120, "the windows of the first minute")
        assert run.rest.metric(job_id, LATE) == 0
        # ... when usage of before and of after it comes ...
        send_deltas(run, [delta("10:20", "100"), delta("12:05", "4"), delta("16:00", "8")])
        wait_until(lambda: run.rest.metric(job_id, LATE) >= 1, 120, "the late minute to be counted as dropped")
        seventh = "SELECT total FROM usage_sliding_customer WHERE window_s = 3600 AND window_end = '2024-03-01 13:00Z'"
        wait_until(lambda: bool(rows(run, seventh)), 120, "the window until 13:00")
        # ... then the one is in the windows, the other one in none of them, and counted once for all of them, ...
        assert rows(run, seventh) == [(Decimal(6),)]
        for table in SLIDING:
            assert rows(run, f"SELECT count(*) FROM {table} WHERE total >= 100") == [(0,)]
        assert run.rest.metric(job_id, LATE) == 1
        # ... and the stored totals have it.
        late = "SELECT total FROM usage_minute WHERE minute_start = '2024-03-01 10:20Z'"
        wait_until(lambda: rows(run, late) == [(Decimal(100),)], 60, "the late minute to be stored")


@pytest.fixture(scope="module")
def ratios(stack: Any) -> Iterator[Settings]:
    with own_run(stack.settings) as settings:
        yield settings


@pytest.fixture
def connection(ratios: Settings) -> Iterator[psycopg.Connection]:
    with postgres.connect(ratios.postgres) as connection:
        # Functions find their tables wherever they are called from.
        connection.execute("SELECT set_config('search_path', %s, false)", [f"pg_catalog, {ratios.names.usage_schema}"])
        yield connection


def window(
    connection: psycopg.Connection, meter: str, end: str, total: str, customer: str = "", size: int = 300
) -> None:
    """A window of tenant `shop`, or of a customer of it."""
    at = datetime.fromisoformat(f"2024-03-01T{end}Z")
    start = at - timedelta(seconds=size)
    row: dict[str, Any] = {"tenant_id": "shop", **({"customer_id": customer} if customer else {}), "meter": meter}
    row |= {"window_s": size, "window_start": start, "window_end": at, "n": 1, "total": total}
    table = "usage_sliding_customer" if customer else "usage_sliding"
    places = sql.SQL(", ").join(sql.Placeholder() * len(row))
    columns = sql.SQL(", ").join(map(sql.Identifier, row))
    statement = sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(sql.Identifier(table), columns, places)
    connection.execute(statement, list(row.values()))


def ratio_of(connection: psycopg.Connection, function: str, where: str = "true") -> list[tuple[Any, ...]]:
    query = f"""SELECT to_char(window_end, 'HH24:MI'), numerator, denominator, ratio
                FROM {function}('paid', 'started', 300) WHERE {where} ORDER BY 1"""
    return connection.execute(query).fetchall()  # type: ignore[arg-type]


def test_the_ratio_of_two_meters_is_exact_in_windows_that_end_together(connection: psycopg.Connection) -> None:
    #            12:05  12:06  12:07  12:08  12:09  12:10
    #   started     3      4      0      -      8      1024
    #   paid        1      -      2      5      1      0.000000512
    for end, total in (("12:05", "3"), ("12:06", "4"), ("12:07", "0"), ("12:09", "8"), ("12:10", "1024")):
        window(connection, "started", end, total)
    for end, total in (("12:05", "1"), ("12:07", "2"), ("12:08", "5"), ("12:09", "1"), ("12:10", "0.000000512")):
        window(connection, "paid", end, total)
    # Neither another size nor another meter is in it.
    window(connection, "paid", "12:00", "50", size=3_600)
    window(connection, "refunded", "12:05", "50")
    assert ratio_of(connection, "sliding_ratio") == [
        ("12:05", 1, 3, Decimal("0.333333333")),
        ("12:06", 0, 4, 0),
        ("12:07", 2, 0, None),
        ("12:08", 5, None, None),
        ("12:09", 1, 8, Decimal("0.125")),
        # Half of the ninth decimal goes to the even one.
        ("12:10", Decimal("0.000000512"), 1024, 0),
    ]


def test_ratios_of_customers_keep_them_apart(connection: psycopg.Connection) -> None:
    for customer, paid, started in (("a", "3", "2"), ("b", "0.000000003", "2")):
        window(connection, "paid", "12:05", paid, customer)
        window(connection, "started", "12:05", started, customer)
    window(connection, "paid", "12:06", "1", "a")
    window(connection, "started", "12:06", "1", "b")
    assert ratio_of(connection, "sliding_customer_ratio", "customer_id = 'a'") == [
        ("12:05", 3, 2, Decimal("1.5")), ("12:06", 1, None, None)
    ]  # fmt: skip
    # 1.5 of the ninth decimal goes to 2.
    assert ratio_of(connection, "sliding_customer_ratio", "customer_id = 'b'") == [
        ("12:05", Decimal("0.000000003"), 2, Decimal("0.000000002")), ("12:06", 0, 1, 0)
    ]  # fmt: skip


def test_a_condition_on_a_ratio_reaches_the_index(connection: psycopg.Connection) -> None:
    connection.execute("SET enable_seqscan = off")
    query = (
        "SELECT * FROM sliding_customer_ratio('paid', 'started', 300) WHERE customer_id = 'a' AND tenant_id = 'shop'"
    )
    lines = [row[0] for row in connection.execute(f"EXPLAIN {query}").fetchall()]  # type: ignore[arg-type]
    assert any("Index Cond" in line and "customer_id = 'a'" in line for line in lines), lines
