"""The plan of `anomaly`: one window over all it reads, watermarks in the sources, no sink that keeps rows."""

from __future__ import annotations

import pytest

from jobs.anomaly import job
from jobs.flink.bounds import Bounds
from tidemark.core.settings import Settings


@pytest.fixture(scope="module")
def minutes() -> str:
    """Plan of the minutes, up to Python."""
    env = job.environment()
    job.configure(env, Settings())
    plan: str = job.declare(env, Settings(), Bounds()).explain()
    return plan.partition("== Optimized Execution Plan ==")[2]


def test_one_window_makes_the_minutes_of_all_series(minutes: str) -> None:
    assert minutes.count("GlobalWindowAggregate(") == 1
    assert minutes.count("Expand(") == 1


def test_watermarks_of_topics_are_kept_by_partition_and_the_clock_has_its_own(minutes: str) -> None:
    scans = [line for line in minutes.splitlines() if "TableSourceScan" in line]
    assert ["watermark=" in line for line in scans] == [True, True, False]
    assert minutes.count("WatermarkAssigner(") == 1


def test_a_bounded_run_has_no_clock_to_keep_it_from_ending() -> None:
    env = job.environment()
    job.configure(env, Settings())
    assert "clock" not in job.declare(env, Settings(), Bounds(end="latest")).explain()


def test_no_sink_keeps_a_copy_of_its_rows_and_detectors_run_once() -> None:
    plan = job.build(job.environment(), Settings(), Bounds()).explain()
    executed = plan.partition("== Optimized Execution Plan ==")[2]
    assert executed.count("Sink(") == len(job.INSERTS)
    assert "upsertMaterialize" not in executed
    assert executed.count("TableSourceScan(") == 1
