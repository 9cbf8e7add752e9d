"""A warm-up is worth what its plan has in common with that of `meter`, and must reach no store."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from jobs.flink.bounds import Bounds
from jobs.meter import job, warm_up
from tests.flink.environment import new_environment
from tidemark.core.settings import Settings

Plan = dict[str, Any]
KEEPS_STATE = ("deduplicate", "window-aggregate", "over-aggregate")


@pytest.fixture(scope="module")
def plans() -> tuple[Plan, Plan]:
    settings = Settings()
    return warm_up.plan(new_environment(), settings, Bounds()), job.plan(new_environment(), settings, Bounds())


def kinds(plan: Plan) -> Counter[str]:
    return Counter(node["type"] for node in plan["nodes"] if any(kind in node["type"] for kind in KEEPS_STATE))


def test_it_has_every_operator_with_state_that_the_job_has(plans: tuple[Plan, Plan]) -> None:
    warm, live = map(kinds, plans)
    assert warm == live
    assert sum(warm.values()) >= 7


def test_it_decodes_and_publishes_once(plans: tuple[Plan, Plan]) -> None:
    descriptions = " ".join(node["description"] for node in plans[0]["nodes"])
    assert descriptions.count("decode_events(") == descriptions.count("publish_live(") == 1


def test_it_reads_made_up_events_alone_and_writes_nowhere(plans: tuple[Plan, Plan]) -> None:
    descriptions = [node["description"] for node in plans[0]["nodes"]]
    assert [one for one in descriptions if "TableSourceScan" in one and "reevaluations" in one] == []
    sinks = [one for one in descriptions if one.startswith("Sink(")]
    assert len(sinks) == len(job.SINKS)
    assert all(".swallowed_" in sink for sink in sinks)
