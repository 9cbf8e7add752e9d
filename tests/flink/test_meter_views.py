"""The SQL between dedupe and sinks, on a mini-cluster: fan-out, exact sums, running totals, the last tick."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pyflink.table import TableEnvironment
from pyflink.table.expressions import col

from jobs.statements import interval, statement
from udfs.flink import pack

VIEWS = ("measurements", "ticks", "deltas", "period_totals")
MINUTE_MS = 60_000


def series(customer: str, meter: str, minute: int = 0) -> str:
    day, period_start, period_end = "1970-01-01", "0", "2678400000"
    return "\x1f".join(
        ["acme", customer, meter, '{"dest":"LAX"}', str(minute * MINUTE_MS), day, period_start, period_end]
    )


class Views:
    """The views of the job over a file of deduplicated events; ticks on arrival, every minute."""

    def __init__(self, env: TableEnvironment, folder: Path) -> None:
        self._env = env
        self._file = folder / "events.json"
        self._offset = 0
        env.get_config().set("table.local-time-zone", "UTC")
        env.get_config().set("parallelism.default", "1")

    def add(self, arrival_s: int, *measurements: tuple[str, str]) -> None:
        (packed,) = pack([[name for name, _ in measurements]], [[amount for _, amount in measurements]])
        arrival = datetime.fromtimestamp(arrival_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        row = {"measurements": packed, "source_partition": 0, "source_offset": self._offset, "arrival": arrival}
        self._offset += 1
        with self._file.open("a") as file:
            file.write(json.dumps(row) + "\n")

    def rows(self, view: str) -> list[dict[str, Any]]:
        self._env.execute_sql(
            f"""CREATE TEMPORARY TABLE first_seen (
                measurements STRING, source_partition INT, source_offset BIGINT, arrival TIMESTAMP_LTZ(3),
                proc_time AS PROCTIME(), WATERMARK FOR arrival AS arrival - INTERVAL '1' HOUR
            ) WITH ('connector' = 'filesystem', 'path' = 'file://{self._file}', 'format' = 'json',
                'json.timestamp-format.standard' = 'ISO-8601')"""
        )
        for name in VIEWS:
            text = statement("meter", name, tick_on="arrival", tick=interval(60))
            self._env.create_temporary_view(name, self._env.sql_query(text))
        table = self._env.from_path(view)
        columns = table.get_schema().get_field_names()
        if "tick_time" in columns:
            # PyFlink cannot hand an instant to Python.
            table = table.drop_columns(col("tick_time"))
        result = table.execute()
        columns = result.get_resolved_schema().get_column_names()
        with result.collect() as collected:
            return [dict(zip(columns, row, strict=True)) for row in collected]


@pytest.fixture
def views(env: TableEnvironment, tmp_path: Path) -> Views:
    return Views(env, tmp_path)


def test_one_event_feeds_several_meters_and_is_counted_once(views: Views) -> None:
    views.add(10, (series("a", "flights"), "1"), (series("a", "miles"), "2475"))
    views.add(20, (series("a", "flights"), "1"), (series("a", "miles"), "2475.000000001"))

    rows = {row["meter"]: row for row in views.rows("deltas")}

    assert rows["flights"]["n"] == rows["miles"]["n"] == 2
    assert rows["miles"]["total"] == Decimal("4950.000000001")
    assert (rows["miles"]["lo"], rows["miles"]["hi"]) == (Decimal(2475), Decimal("2475.000000001"))
    assert sum(row["events"] for row in rows.values()) == 2
    assert (rows["flights"]["first_offset"], rows["flights"]["last_offset"]) == (0, 1)


def test_the_packed_series_is_taken_apart_without_loss(views: Views) -> None:
    views.add(10, (series("c%/ü 1", "miles", minute=7), "-0.5"))

    (row,) = views.rows("deltas")

    assert row["tenant_id"] == "acme"
    assert row["customer_id"] == "c%/ü 1"
    assert row["dims"] == '{"dest":"LAX"}'
    assert row["minute_ms"] == 7 * MINUTE_MS
    assert (row["local_day"], row["period_start_ms"], row["period_end_ms"]) == ("1970-01-01", 0, 2_678_400_000)
    assert row["total"] == Decimal("-0.5")


def test_a_total_that_doubles_cannot_hold_stays_exact(views: Views) -> None:
    for arrival_s in (10, 20, 30):
        views.add(arrival_s, (series("a", "miles"), "999999999999999999.999999999"))

    (row,) = views.rows("deltas")

    assert row["total"] == Decimal("2999999999999999999.999999997")


def test_running_totals_hold_every_delta_up_to_their_own(views: Views) -> None:
    #  arrival   0m        1m        2m
    #  amount    1  2      4         8      two minutes of one period, one tick each minute of arrival
    for arrival_s, minute, amount in ((5, 0, "1"), (6, 1, "2"), (65, 0, "4"), (125, 1, "8")):
        views.add(arrival_s, (series("a", "miles", minute), amount))

    totals = sorted((row["n"], row["total"]) for row in views.rows("period_totals"))

    assert [n for n, _ in totals] == [1, 2, 3, 4]
    assert totals[-1] == (4, Decimal(15))
    assert totals[-2] == (3, Decimal(7))


def test_the_last_tick_of_a_bounded_input_is_not_lost(views: Views) -> None:
    for second in range(300):
        views.add(second, (series("a", "miles", second // 60), "1"))

    assert sum(row["n"] for row in views.rows("deltas")) == 300
