"""The plan of `meter` is part of its contract: what is evaluated once, what keeps state and for how long."""

from __future__ import annotations

from typing import Any

import pytest

from jobs.flink.bounds import Bounds
from jobs.meter import job
from tests.flink.environment import new_environment
from tidemark.core.settings import Settings

Plan = dict[str, Any]


@pytest.fixture(scope="module", params=[Bounds(), Bounds(end="latest")], ids=["live", "bounded"])
def plan(request: pytest.FixtureRequest) -> Plan:
    return job.plan(new_environment(), Settings(), request.param)


def described(plan: Plan, text: str) -> list[str]:
    return [node["description"] for node in plan["nodes"] if text in node["description"]]


def test_an_event_is_decoded_once_for_all_sinks(plan: Plan) -> None:
    assert len(described(plan, "decode_events(")) == 1
    scans = described(plan, "TableSourceScan")
    assert len([scan for scan in scans if "raw_events" in scan]) == 1


def test_refusals_of_single_meters_are_written_after_the_dedupe_and_share_it_with_counting(plan: Plan) -> None:
    nodes = {node["id"]: node for node in plan["nodes"]}
    parents: dict[int, list[int]] = {}
    for edge in plan["edges"]:
        parents.setdefault(edge["target"], []).append(edge["source"])

    def above(number: int) -> set[int]:
        result = set(parents.get(number, ()))
        return result.union(*map(above, result))

    (sink,) = (
        number
        for number, node in nodes.items()
        if "Sink(table=[default_catalog.default_database.dlq_sink]" in node["description"]
    )
    (dedupe,) = (
        number
        for number, node in nodes.items()
        if "Deduplicate(" in node["description"] and "tenant_id" not in node["description"]
    )
    assert dedupe in above(sink)
    assert "partial_rejects" in "".join(nodes[number]["description"] for number in above(sink))


def test_a_total_is_published_once(plan: Plan) -> None:
    assert len(described(plan, "publish_live(")) == 1


def test_a_bounded_run_reads_no_reevaluations_and_a_live_one_reads_them_once(
    plan: Plan, request: pytest.FixtureRequest
) -> None:
    scans = [scan for scan in described(plan, "TableSourceScan") if "reevaluations" in scan]
    assert len(scans) == (0 if "bounded" in request.node.name.split("[")[-1] else 1)


def test_totals_and_the_news_of_a_condition_are_kept_in_three_insert_only_windows(plan: Plan) -> None:
    totals, before, transition = sorted(
        described(plan, "OverAggregate("), key=lambda one: ("fingerprint" in one, "LAG" not in one)
    )
    assert "partitionBy=[tenant_id, customer_id, meter, period_start_ms]" in totals
    assert "partitionBy=[fingerprint]" in before
    assert "LAG(status)" in before
    assert "partitionBy=[fingerprint]" in transition
    assert "COUNT(*)" in transition


def test_events_and_unique_values_are_deduplicated_once_and_only_inserted(plan: Plan) -> None:
    (events, values) = described(plan, "Deduplicate(")
    for dedupe in (events, values):
        assert "keep=[FirstRow]" in dedupe
        assert "order=[PROCTIME]" in dedupe
        assert "outputInsertOnly=[true]" in dedupe
    assert "key=[tenant_id, customer_id, meter, part, period_start_ms]" in values


def windows(plan: Plan) -> list[str]:
    """The windows of the plan; a bounded one adds each up before and after the exchange."""
    return [text for text in described(plan, "WindowAggregate(") if not text.startswith("Local")]


def test_each_lane_has_one_window_for_deltas_and_totals_and_a_backlog_one_more_for_totals(plan: Plan) -> None:
    keys = sorted(text.partition("groupBy=[")[2].partition("]")[0] for text in windows(plan))
    assert keys == [
        "series, source_partition", "series, source_partition", "tenant_id, customer_id, meter, period_start_ms, dims",
    ]  # fmt: skip


def test_a_row_is_in_one_lane_and_all_ways_begin_after_one_dedupe(plan: Plan) -> None:
    def after(number: int) -> list[int]:
        return [edge["target"] for edge in plan["edges"] if edge["source"] == number]

    texts = {node["id"]: node["description"] for node in plan["nodes"]}
    (dedupe,) = (number for number, text in texts.items() if "Deduplicate(" in text and "tenant_id" not in text)
    (columns,) = after(dedupe)
    ways = sorted(texts[number].partition("where=")[2] for number in after(columns))
    assert ways == ["[NOT(backlog)])", "[backlog])", "[partial_rejects IS NOT NULL])"]


def test_rows_change_their_task_by_key_alone(plan: Plan) -> None:
    keys = [text.removeprefix("Exchange(distribution=[hash[").rstrip("])") for text in described(plan, "Exchange(")]
    assert sorted(keys)[1:] == [
        "fingerprint", "fingerprint", "series, source_partition", "series, source_partition",
        "tenant_id, customer_id, meter, part, period_start_ms", "tenant_id, customer_id, meter, period_start_ms",
        "tenant_id, customer_id, meter, period_start_ms, dims",
    ]  # fmt: skip


def test_no_sink_keeps_a_copy_of_its_rows(plan: Plan) -> None:
    sinks = described(plan, "Sink(")
    assert len(sinks) == 3
    assert not any("upsertMaterialize" in sink for sink in sinks)


def test_only_dedupe_keys_expire_before_the_period_ends(plan: Plan) -> None:
    settings = Settings()
    lives = [(node["type"], node["state"][0]["ttl"]) for node in plan["nodes"] if node.get("state")]
    dedupe = "stream-exec-deduplicate_1"
    assert lives == [(dedupe, f"{settings.events.dedupe_ttl_ms} ms"), (dedupe, "400 d")]
    assert settings.events.dedupe_ttl_ms == (172_800 + 300 + 86_400 + 86_400) * 1_000


def test_a_live_run_ticks_on_processing_time_and_a_bounded_one_on_arrival(
    plan: Plan, request: pytest.FixtureRequest
) -> None:
    bounded = "bounded" in request.node.name.split("[")[-1]
    column, sizes = ("arrival", ("1 min", "1 min")) if bounded else ("proc_time", ("100 ms", "2 s"))
    live, backlog, counters = described(plan, "TUMBLE(time_col")
    assert f"time_col=[{column}], size=[{sizes[0]}]" in live
    assert f"time_col=[{column}], size=[{sizes[1]}]" in backlog
    assert f"time_col=[tick_time], size=[{sizes[1]}]" in counters


def test_the_plan_holds_no_address(plan: Plan) -> None:
    assert "127.0.0.1" not in str(plan)


def test_both_topics_are_read_unless_offsets_name_places_of_one() -> None:
    settings = Settings()
    assert job.source_topics(settings, Bounds()) == "usage.events;usage.events.redrive"
    assert job.source_topics(settings, Bounds(start="0:100;1:250", end="latest")) == "usage.events"
