"""The plan of `rollup`: one aggregate per grain, no materialising sink, no join, short lives for small buckets."""

from __future__ import annotations

from typing import Any

import pytest

from jobs import rollup
from jobs.bounds import Bounds
from jobs.settings import Settings
from tests.flink.environment import new_environment

Plan = dict[str, Any]
DAY_MS = 86_400_000


@pytest.fixture(scope="module")
def plan() -> Plan:
    return rollup.plan(new_environment(), Settings(), Bounds())


def described(plan: Plan, text: str) -> list[str]:
    return [node["description"] for node in plan["nodes"] if text in node["description"]]


def test_no_sink_keeps_a_copy_of_its_rows(plan: Plan) -> None:
    sinks = described(plan, "Sink(")
    assert len(sinks) == len(rollup.TABLES)
    assert not any("upsertMaterialize" in sink for sink in sinks)


def test_no_join_forces_everything_through_one_task(plan: Plan) -> None:
    assert not [node["type"] for node in plan["nodes"] if "join" in node["type"]]
    assert not described(plan, "distribution=[single]")


def test_each_grain_is_one_aggregate(plan: Plan) -> None:
    keys = [text.split("]")[0].split(", ")[-1] for text in described(plan, "GlobalGroupAggregate(")]
    assert keys == ["minute_start", "hour_start", "local_day", "period_starts"]


def test_stored_totals_do_not_wait_for_event_time(plan: Plan) -> None:
    # The source without a watermark feeds mini-batches on processing time; the other one feeds the windows alone.
    assert len(described(plan, "MiniBatchAssigner(interval=[5000ms], mode=[ProcTime])")) == 1
    for scan in described(plan, "deltas_for_totals"):
        assert "watermark=" not in scan


def test_sliding_windows_are_three_and_keyed_by_tenant_and_meter(plan: Plan) -> None:
    windows = described(plan, "GlobalWindowAggregate(groupBy=[tenant_id, meter]")
    sizes = [window.split("size=[")[1].split("]")[0] for window in windows]
    assert sizes == ["5 min", "1 h", "1 d"]


def test_totals_of_small_buckets_live_as_long_as_they_can_change(plan: Plan) -> None:
    lives = [node["state"][0]["ttl"] for node in plan["nodes"] if node.get("state")]
    closed_after_ms = Settings().dedupe_ttl_ms
    assert lives == [
        f"{closed_after_ms + 60_000} ms",
        f"{closed_after_ms + 3_600_000} ms",
        f"{closed_after_ms + 2 * DAY_MS} ms",
        "400 d",
    ]


def test_the_plan_holds_no_address_and_no_password(plan: Plan) -> None:
    assert "127.0.0.1" not in str(plan)
    assert "password" not in str(plan).lower()
