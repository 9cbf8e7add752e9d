"""A warm-up of `meter` on a real cluster: it ends by itself, leaves nothing behind, and the job that follows counts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from jobs.flink.restore import checkpoint_dir, place
from jobs.flink.warm_up import NAME, warm_up
from tests.pipeline import Pipeline, pipeline
from tests.streams import CATALOG
from tidemark.core.kafka import clients
from tidemark.core.redis import client

pytestmark = pytest.mark.drill


def written(run: Pipeline) -> dict[str, int]:
    """End of each topic of the run, and its keys in Redis."""
    names, found = run.settings.names, {}
    with clients.consuming(run.settings.kafka) as consumer:
        for topic in (names.deltas, names.dlq, names.alerts, run.settings.topics.events):
            found[topic] = sum(consumer.end_offsets(clients.partitions(consumer, topic)).values())
    with client(run.settings.redis) as redis:
        found["redis"] = sum(1 for _ in redis.scan_iter(f"{names.redis_prefix}*"))
    return found


@pytest.mark.parametrize("longest_s", [60, 2], ids=["to its end", "ended early"])
def test_it_ends_and_writes_nothing(stack: Any, tmp_path: Path, longest_s: float) -> None:
    with pipeline(stack.settings, "warmed", CATALOG, tmp_path) as run:
        before = written(run)
        warm_up(run.settings, longest_s)
        assert written(run) == before
        name = run.settings.names.job(NAME)
        assert {job.state for job in run.rest.jobs() if job.name == name} <= {"FINISHED", "CANCELED"}
        assert not list(place(run.settings, checkpoint_dir(run.settings.flink, name)).files())
        # The job itself starts as ever.
        run.submit("meter")
        assert run.rest.active(run.settings.names.job("meter")) is not None
