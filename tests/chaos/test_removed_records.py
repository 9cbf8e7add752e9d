"""Kafka's retention overtakes a job that is stopped: it does not go on as if nothing were missing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from kafka import TopicPartition

from jobs.flink.rest import short_cause, wait_until
from jobs.flink.submit import start_again, stop, submit
from tests.pipeline import Pipeline, pipeline
from tests.streams import CATALOG, generate
from tidemark.core.errors import TidemarkError
from tidemark.core.kafka import clients, committed_offsets, end_offsets

pytestmark = pytest.mark.drill

LEFT = 10


def remove_all_but(run: Pipeline, left: int) -> None:
    """What retention does: the first records of each partition are gone."""
    topic = run.settings.topics.events
    ends = end_offsets(run.settings.kafka, topic)
    with clients.admin(run.settings.kafka) as admin:
        admin.delete_records({TopicPartition(topic, part): end - left for part, end in ends.items()})


def test_records_that_are_gone_are_named_and_never_passed_over(stack: Any, tmp_path: Path) -> None:
    records = list(generate(events=4_000, seed=24))
    with pipeline(stack.settings, "overtaken", CATALOG, tmp_path) as run:
        # Given a job that is stopped, and events that are gone before it has read them ...
        run.submit("meter")
        run.send(records[:2_000])
        run.wait_offsets()
        savepoint = stop(run.settings, "meter")
        assert savepoint
        run.send(records[2_000:])
        remove_all_but(run, LEFT)
        group, topic = run.settings.names.group("meter"), run.settings.topics.events
        positions, ends = committed_offsets(run.settings.kafka, group, topic), end_offsets(run.settings.kafka, topic)
        missing = ends[0] - LEFT - positions[0]
        assert missing > 100
        # ... when it is submitted, then each partition is named with how many are missing, and nothing is started.
        with pytest.raises(TidemarkError, match=f"{topic}, partition 0: {missing} from offset {positions[0]} on"):
            submit(run.settings, "meter")
        assert run.rest.active(run.settings.names.job("meter")) is None
        # Restored all the same, it ends where they are missing ...
        done = submit(run.settings, "meter", from_savepoint=savepoint)
        wait_until(
            lambda: "Kafka removed records" in short_cause(run.rest.root_cause(done.job_id)), 120, "the job to end"
        )
        assert committed_offsets(run.settings.kafka, group, topic) == positions
        run.cancel()
        # ... and goes on only for who accepts that they are not counted.
        accepting = submit(run.settings, "meter", accepted=["removed_records"])
        run.rest.wait_running(accepting.job_id)
        run.wait_offsets()
        # What is removed from then on ends it again, once it was started from its own savepoint.
        again = start_again(run.settings, "meter")
        assert (accepting.guarded, again.guarded) == (False, True)
        run.rest.wait_running(again.job_id)
