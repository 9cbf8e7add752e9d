"""The SQL between dedupe and sinks, on a mini-cluster: fan-out, exact sums, voids, running totals, the last tick."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pyflink.table import TableEnvironment
from pyflink.table.expressions import col

from jobs.flink.statements import interval
from jobs.meter.job import LAYOUTS, view_statement
from udfs.meters.packing import Packed, pack

VIEWS = (
    "measurements", "live_measurements", "backlog_measurements", "live_ticks", "backlog_ticks", "ticks", "deltas",
    "first_values", "counted", "backlog_changes", "live_changes", "period_totals",
)  # fmt: skip
MINUTE_MS = 60_000


def packed(customer: str, meter: str, amount: str, minute: int = 0, **fields: Any) -> Packed:
    defaults = {"samples": 1, "latest": "", "dims": '{"dest":"LAX"}', "part": "", "period_end_ms": 2_678_400_000}
    return Packed(
        amount=amount, tenant="acme", customer=customer, meter=meter, minute_ms=minute * MINUTE_MS, day="1970-01-01",
        period_start_ms=0, **(defaults | fields),
    )  # fmt: skip


class Views:
    """The views of the job over a file of deduplicated events; ticks on arrival, every minute."""

    def __init__(self, env: TableEnvironment, folder: Path) -> None:
        self._env = env
        self._file = folder / "events.json"
        self._offset = 0
        env.get_config().set("table.local-time-zone", "UTC")
        env.get_config().set("parallelism.default", "1")

    def add(self, arrival_s: int, *measurements: Packed, backlog: bool = False) -> None:
        arrival = datetime.fromtimestamp(arrival_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        position = {"source_partition": 0, "source_offset": self._offset}
        row = {"measurements": pack(measurements), "backlog": backlog, "arrival": arrival, **position}
        self._offset += 1
        with self._file.open("a") as file:
            file.write(json.dumps(row) + "\n")

    def rows(self, view: str) -> list[dict[str, Any]]:
        self._env.execute_sql(
            f"""CREATE TEMPORARY TABLE first_seen (
                measurements STRING, backlog BOOLEAN, source_partition INT, source_offset BIGINT,
                arrival TIMESTAMP_LTZ(3), proc_time AS PROCTIME(),
                WATERMARK FOR arrival AS arrival - INTERVAL '1' HOUR
            ) WITH ('connector' = 'filesystem', 'path' = 'file://{self._file}', 'format' = 'json',
                'json.timestamp-format.standard' = 'ISO-8601')"""
        )
        ticks = {"tick_on": "arrival", "tick": interval(60), "backlog_tick": interval(120)}
        for name in VIEWS:
            text = view_statement(name, reevaluation_rows="", **ticks, **LAYOUTS)
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
    views.add(10, packed("a", "flights", "1"), packed("a", "miles", "2475"))
    views.add(20, packed("a", "flights", "1"), packed("a", "miles", "2475.000000001"))

    rows = {row["meter"]: row for row in views.rows("deltas")}

    assert rows["flights"]["n"] == rows["miles"]["n"] == 2
    assert rows["miles"]["total"] == Decimal("4950.000000001")
    assert (rows["miles"]["lo"], rows["miles"]["hi"]) == (Decimal(2475), Decimal("2475.000000001"))
    assert sum(row["events"] for row in rows.values()) == 2
    assert (rows["flights"]["first_offset"], rows["flights"]["last_offset"]) == (0, 1)


def test_the_packed_series_is_taken_apart_without_loss(views: Views) -> None:
    views.add(10, packed("c%/ü 1", "miles", "-0.5", minute=7, part="bn-3"))

    (row,) = views.rows("deltas")

    assert row["tenant_id"] == "acme"
    assert row["customer_id"] == "c%/ü 1"
    assert row["dims"] == '{"dest":"LAX"}'
    assert row["part"] == "bn-3"
    assert row["minute_ms"] == 7 * MINUTE_MS
    assert (row["local_day"], row["period_start_ms"], row["period_end_ms"]) == ("1970-01-01", 0, 2_678_400_000)
    assert row["total"] == Decimal("-0.5")


def test_a_total_that_doubles_cannot_hold_stays_exact(views: Views) -> None:
    for arrival_s in (10, 20, 30):
        views.add(arrival_s, packed("a", "miles", "999999999999999999.999999999"))

    (row,) = views.rows("deltas")

    assert row["total"] == Decimal("2999999999999999999.999999997")


def test_running_totals_hold_every_delta_up_to_their_own(views: Views) -> None:
    #  arrival   0m        1m        2m
    #  amount    1  2      4         8      two minutes of one period, one tick each minute of arrival
    for arrival_s, minute, amount in ((5, 0, "1"), (6, 1, "2"), (65, 0, "4"), (125, 1, "8")):
        views.add(arrival_s, packed("a", "miles", amount, minute))

    totals = sorted((row["n"], row["total"]) for row in views.rows("period_totals"))

    assert [n for n, _ in totals] == [1, 2, 3, 4]
    assert totals[-1] == (4, Decimal(15))
    assert totals[-2] == (3, Decimal(7))


def test_a_backlog_makes_fewer_deltas_and_one_total_a_counter_and_tick_and_adds_up_to_the_same(views: Views) -> None:
    #  arrival   0m   1m   2m   3m        of a backlog up to 3m: ticks of two minutes
    #  amount    1    2    4    8  16
    for arrival_s, amount, backlog in ((5, "1", True), (65, "2", True), (125, "4", True), (185, "8", True)):
        views.add(arrival_s, packed("a", "miles", amount, minute=arrival_s // 120), backlog=backlog)
    views.add(186, packed("a", "miles", "16", minute=1))
    views.add(187, packed("a", "miles", "32", minute=7), packed("a", "tails", "1", part="ux"), backlog=True)

    totals = sorted((row["n"], row["total"], row["at_ms"]) for row in views.rows("period_totals"))

    #  the live event, ahead of the backlog or between its ticks, and the two ticks of the backlog
    miles = [one for one in totals if one[1] != 1]
    assert [n for n, *_ in miles][-1] == 6
    assert miles[-1][1:] == (Decimal(63), 7 * MINUTE_MS)
    assert len(miles) == 3


def test_the_deltas_of_a_backlog_are_those_of_its_longer_ticks(views: Views) -> None:
    for arrival_s in (5, 65, 125, 185):
        views.add(arrival_s, packed("a", "miles", "1"), backlog=True)
        views.add(arrival_s, packed("b", "miles", "1"))

    rows = [(row["customer_id"], row["n"], row["first_offset"]) for row in views.rows("deltas")]

    assert sorted(rows) == [("a", 2, 0), ("a", 2, 4), ("b", 1, 1), ("b", 1, 3), ("b", 1, 5), ("b", 1, 7)]


def test_the_last_tick_of_a_bounded_input_is_not_lost(views: Views) -> None:
    for second in range(300):
        views.add(second, packed("a", "miles", "1", second // 60))

    assert sum(row["n"] for row in views.rows("deltas")) == 300


def test_a_void_takes_its_amount_back_and_bounds_nothing(views: Views) -> None:
    views.add(10, packed("a", "miles", "7"))
    views.add(20, packed("a", "miles", "-100", samples=-1))

    (row,) = views.rows("deltas")

    assert (row["n"], row["samples"], row["total"]) == (2, 0, Decimal(-93))
    assert (row["lo"], row["hi"], row["latest"]) == (Decimal(7), Decimal(7), None)


def test_a_delta_of_voids_alone_has_no_smallest_and_no_largest_amount(views: Views) -> None:
    views.add(10, packed("a", "top", "0", samples=0))

    (row,) = views.rows("deltas")

    assert (row["n"], row["samples"], row["total"], row["lo"], row["hi"]) == (1, 0, Decimal(0), None, None)


def test_the_latest_is_by_event_time_then_by_source_then_by_id_whatever_came_last(views: Views) -> None:
    others = ("9000000\x1fs\x1f10\x1f91", "9000000\x1f\x1fz\x1f92", "8999999\x1ft\x1fz\x1f93")
    for latest in ("5000000\x1f\x1fb\x1f50", "9000000\x1fs\x1fa\x1f90", *others):
        views.add(10, packed("a", "level", "1", latest=latest))

    (row,) = views.rows("deltas")

    assert row["latest"] == "9000000\x1fs\x1fa\x1f90"


def test_a_live_total_of_a_unique_meter_counts_each_value_once_a_period(views: Views) -> None:
    #  arrival   0m     1m        2m
    #  value     x y    x         x z     x in two dimensions and several minutes
    seen = ((5, "ux", "{1}"), (6, "uy", "{1}"), (65, "ux", "{2}"), (125, "ux", "{1}"), (126, "uz", "{1}"))
    for arrival_s, part, dims in seen:
        views.add(arrival_s, packed("a", "tails", "1", arrival_s // 60, part=part, dims=dims))

    totals = [(row["n"], row["samples"], row["total"]) for row in views.rows("period_totals")]

    assert sorted(totals) == [(1, 1, Decimal(1)), (2, 2, Decimal(2)), (3, 3, Decimal(3))]


def test_bins_and_moments_are_no_live_totals(views: Views) -> None:
    views.add(10, packed("a", "delay", "5", part="bp82"), packed("a", "hours", "9", part="m"))

    assert views.rows("period_totals") == []


def test_a_period_that_is_cut_stays_one_total_with_the_earlier_end(views: Views) -> None:
    views.add(5, packed("a", "miles", "1"))
    views.add(65, packed("a", "miles", "2", minute=1, period_end_ms=1_000_000))

    totals = sorted((row["n"], row["total"], row["period_end_ms"]) for row in views.rows("period_totals"))

    assert totals == [(1, Decimal(1), 2_678_400_000), (2, Decimal(3), 1_000_000)]
