"""The plan of `rollup`: one aggregate per grain, no materialising sink, no join, short lives for small buckets."""

from __future__ import annotations

from typing import Any

import pytest

from jobs.flink.bounds import Bounds
from jobs.rollup import job
from tests.flink.environment import new_environment
from tidemark.core.settings import Settings

Plan = dict[str, Any]
DAY_MS = 86_400_000


@pytest.fixture(scope="module")
def plan() -> Plan:
    return job.plan(new_environment(), Settings(), Bounds())


@pytest.fixture(scope="module")
def plan_of_tenants() -> Plan:
    return job.plan(new_environment(), Settings(rollup={"customer_windows": False}), Bounds())


def described(plan: Plan, text: str) -> list[str]:
    return [node["description"] for node in plan["nodes"] if text in node["description"]]


def test_no_sink_keeps_a_copy_of_its_rows(plan: Plan) -> None:
    sinks = described(plan, "Sink(")
    assert len(sinks) == len(job.tables(Settings())) == 6
    assert not any("upsertMaterialize" in sink for sink in sinks)


def test_no_join_forces_everything_through_one_task(plan: Plan) -> None:
    assert not [node["type"] for node in plan["nodes"] if "join" in node["type"]]
    assert not described(plan, "distribution=[single]")


def test_each_grain_is_one_aggregate(plan: Plan) -> None:
    keys = [text.split("]")[0].split(", ")[-1] for text in described(plan, "GlobalGroupAggregate(")]
    assert keys == ["minute_start", "hour_start", "local_day", "period_starts"]


def test_stored_totals_do_not_wait_for_event_time(plan: Plan) -> None:
    # The source without a watermark feeds mini-batches on processing time; the other one feeds the windows alone.
    assert len(described(plan, "MiniBatchAssigner(interval=[2000ms], mode=[ProcTime])")) == 1
    for scan in described(plan, "deltas_for_totals"):
        assert "watermark=" not in scan


def windows(plan: Plan, keys: str, kind: str) -> list[str]:
    """Sizes of the windows of some keys, in the order of the plan."""
    nodes = described(plan, f"GlobalWindowAggregate(groupBy=[{keys}], window=[{kind}(")
    return [node.split("size=[")[1].split("]")[0] for node in nodes]


def test_all_sliding_windows_read_the_topic_and_cut_it_into_minutes_once(plan: Plan) -> None:
    assert len(described(plan, "TableSourceScan")) == 2
    assert len(described(plan, "deltas_for_sliding")) == 1
    assert len(described(plan, "WatermarkAssigner") + described(plan, "watermark=[")) == 1
    assert windows(plan, job.CUSTOMER_KEYS, "TUMBLE") == ["1 min"]
    assert len(described(plan, "window=[TUMBLE")) == 2, "the part before the exchange, and the part behind it"


def test_no_row_is_copied_into_its_windows_before_it_is_added_up(plan: Plan) -> None:
    kinds = {node["type"].rpartition("stream-exec-")[2].partition("_")[0] for node in plan["nodes"]}
    # Window table functions, Expand and UNNEST (correlate) make a row per window.
    assert not kinds & {"window-table-function", "expand", "correlate"}
    assert kinds >= {"local-window-aggregate", "global-window-aggregate"}


def test_tenants_have_four_windows_and_customers_two(plan: Plan) -> None:
    assert windows(plan, job.TENANT_KEYS, "HOP") == ["5 min", "1 h", "1 d", "7 d"]
    assert windows(plan, job.CUSTOMER_KEYS, "HOP") == ["5 min", "1 h"]
    assert len(described(plan, "WindowAggregate(")) == 2 * (1 + 4 + 2)


def test_windows_are_written_once_and_never_taken_back(plan: Plan) -> None:
    for sink in described(plan, "Sink(table=[default_catalog.default_database.usage_sliding"):
        assert "upsertMaterialize" not in sink
    assert not described(plan, "ChangelogNormalize")


def test_only_minutes_of_recent_windows_are_added_up(plan: Plan) -> None:
    # 7 days of history, and 7 more for the longest window that ends in it; days behind the clock, as the plan has them.
    minutes = [text for text in described(plan, "Calc(") if "1209600000" in text]
    assert len(minutes) == 1
    assert "LOCALTIMESTAMP" in minutes[0]
    windows_kept = [text for text in described(plan, "Calc(") if "604800000:" in text and "LOCALTIMESTAMP" in text]
    assert len(windows_kept) >= 2


def test_without_a_bound_every_window_is_written() -> None:
    unbounded = job.plan(new_environment(), Settings(rollup={"sliding_history_s": 0}), Bounds())
    begins = [text for text in described(unbounded, "Calc(") if "LOCALTIMESTAMP" in text]
    assert begins
    assert all(f"{999 * 12}:INTERVAL YEAR" in text for text in begins)


def test_the_bound_of_what_is_written_changes_no_operator(plan: Plan) -> None:
    for history_s in (0, 3_600):
        other = job.plan(new_environment(), Settings(rollup={"sliding_history_s": history_s}), Bounds())
        assert [node["type"] for node in other["nodes"]] == [node["type"] for node in plan["nodes"]]


def test_without_windows_of_customers_minutes_are_kept_per_tenant(plan_of_tenants: Plan) -> None:
    assert windows(plan_of_tenants, job.TENANT_KEYS, "TUMBLE") == ["1 min"]
    assert windows(plan_of_tenants, job.TENANT_KEYS, "HOP") == ["5 min", "1 h", "1 d", "7 d"]
    assert not described(plan_of_tenants, f"WindowAggregate(groupBy=[{job.CUSTOMER_KEYS}]")
    assert len(described(plan_of_tenants, "Sink(")) == 5


def test_totals_of_small_buckets_live_as_long_as_they_can_change(plan: Plan) -> None:
    lives = [node["state"][0]["ttl"] for node in plan["nodes"] if node.get("state")]
    closed_after_ms = Settings().events.dedupe_ttl_ms
    assert lives == [
        f"{closed_after_ms + 60_000} ms",
        f"{closed_after_ms + 3_600_000} ms",
        f"{closed_after_ms + 2 * DAY_MS} ms",
        "400 d",
    ]


def test_the_plan_holds_no_address_and_no_password(plan: Plan) -> None:
    assert "127.0.0.1" not in str(plan)
    assert "password" not in str(plan).lower()
