"""docs/cost.md: what events, series and a month cost, from measured figures."""

from __future__ import annotations

import pytest

from tests.bench.report import cost
from tests.bench.report.results import Found, Results
from tests.bench.runs.storage import summed

FIGURES = {
    "own_cpu": 20.0, "all_cpu": 30.0, "wal": 100.0, "memory": 4.0, "id": 50.0, "events_topic": 100.0,
    "deltas_topic": 40.0, "archive": 20.0, "counter": 300.0, "minute_row": 200.0, "hour_row": 200.0, "day_row": 200.0,
    "period_row": 400.0, "minute_rows": 0.5, "hour_rows": 0.1, "day_rows": 0.05, "period_rows": 0.01,
}  # fmt: skip


def needs(**changes: float) -> dict[str, cost.Need]:
    return {need.what: need for need in cost.month({**FIGURES, **changes})}


def test_a_series_costs_its_rows_and_tiers_take_the_fine_ones():
    rows = 43_200, 720, 30
    whole, hours, coarse = cost.series_bytes(rows, FIGURES)
    assert coarse == 30 * 200 + 400
    assert (hours - coarse, whole - hours) == (720 * 200, 43_200 * 200)


def test_a_month_is_a_rate_and_its_peak_at_sixty_percent():
    # 4.2 billion in 30 days are 1 620 a second; 30 us each are 0.05 cores.
    found = needs(all_cpu=3_000.0)
    assert found["cores in the mean"].amount == 9
    assert found["cores for a peak of 3 times the mean"].amount == 25


def test_bytes_are_events_times_what_is_kept():
    found = needs()
    assert found["WAL written"].amount == pytest.approx(420)
    assert found["topic of events, 14 days, 3 replicas"].amount == pytest.approx(420 * 14 / 30 * 3)
    assert found["minutes, 90 days"].amount == pytest.approx(4.2 * 3 * 0.5 * 200)
    assert found["hours, 760 days"].amount == pytest.approx(4.2 * 760 / 30 * 0.1 * 200)
    assert found["archive, a year of it"].amount == pytest.approx(12 * 4.2 * 20)
    assert found["archive, a year of it"].price == pytest.approx(12 * 4.2 * 20 * 0.023)


def test_what_was_not_measured_is_said_and_no_sum_is_made_of_it():
    made = cost.blocks([])
    assert made["series"] == "Not measured yet.\n"
    assert "in all" not in made["month"]
    assert made["month"].count(cost.UNMEASURED) == 10
    assert f"| WAL of Postgres | {cost.UNMEASURED} | GB |" in made["million"]


def test_with_everything_measured_there_is_a_price_for_a_million_events():
    measures: dict[str, Found] = {}
    for name, source in cost.SOURCES.items():
        measures.setdefault(source.measure, Found()).add(source.subject, **{source.quantity: FIGURES[name]})
    made = cost.blocks([Results({"mode": "quick"}, measures)])
    assert "| CPU of both jobs | 20.0 | CPU seconds |" in made["million"]
    assert "| every minute | 8 790 | 150 | 6.4 |" in made["series"]
    assert "| a million events | | |" in made["month"]
    assert cost.UNMEASURED not in "".join(made.values())


def test_bytes_of_a_topic_are_those_of_all_partitions_and_brokers():
    partitions = [{"partition_index": 0, "partition_size": 5}, {"partition_index": 1, "partition_size": 7}]
    folder = {"log_dir": "/data", "topics": [{"name": "t", "partitions": partitions}]}
    assert (
        summed(
            [
                {"broker": 1, "log_dirs": [folder, {"log_dir": "/more", "topics": []}]},
                {"broker": 2, "log_dirs": [folder]},
            ]
        )
        == 24
    )
