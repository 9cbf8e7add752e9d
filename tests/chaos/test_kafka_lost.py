"""Kafka lost: topics are made anew, the archive is published into them, and all is counted again; nothing twice."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from jobs.flink.submit import JOBS, submit
from tests.chaos.losses import Clock, cancel, lose_topics
from tests.pipeline import Pipeline, pipeline
from tests.streams import CATALOG, StreamRecord, generate
from tidemark.archive import archiver, publish
from tidemark.backup import recount
from tidemark.billing import outbox
from tidemark.core import topics
from tidemark.core.errors import TidemarkError
from tidemark.core.kafka import end_offsets

pytestmark = pytest.mark.drill


def sent_anew(run: Pipeline) -> Pipeline:
    """The run with another source, into which the archive was published."""
    old = run.settings.topics
    fresh = run.settings.with_changes({"topics.events": f"{old.events}.2"})
    for source, topic in ((old.events, fresh.topics.events), (old.redrive, fresh.topics.redrive)):
        publish.publish(fresh, source, topic)
    topics.apply(fresh, create_time=True)
    outbox.publish(fresh, again=True)
    return Pipeline(fresh, run.catalog)


def from_the_beginning(run: Pipeline) -> None:
    for job in JOBS:
        run.rest.wait_running(submit(run.settings, job, from_beginning=True).job_id)


def parts(records: list[StreamRecord], *cuts: int) -> list[list[StreamRecord]]:
    """Tenths of a stream."""
    tenth = len(records) // 10
    edges = [0, *(cut * tenth for cut in cuts), len(records)]
    return [records[begin:end] for begin, end in pairwise(edges)]


def test_kafka_comes_back_from_the_archive_and_nothing_is_counted_twice(stack: Any, tmp_path: Path) -> None:
    archived, lost, after = parts(list(generate(events=20_000, seed=32)), 7, 8)
    changes: dict[str, Any] = {"archive.dir": (tmp_path / "archive").as_uri()}
    with pipeline(stack.settings, "kafkalost", CATALOG, tmp_path, **changes) as old:
        old.start()
        old.send(archived)
        old.wait_drained()
        archiver.run(old.settings)
        # Given events that were counted and are nowhere but in Kafka, ...
        old.send(lost)
        old.wait_drained()
        with old.oracle() as oracle:
            old.assert_exact(oracle)
        cancel(old, JOBS)
        lose_topics(old.settings)
        # ... when the topics are made again, then no state is gone on from beside them, ...
        clock = Clock("Kafka lost")
        topics.apply(old.settings, create_time=True)
        for job in JOBS:
            with pytest.raises(TidemarkError, match="made again"):
                submit(old.settings, job)
        with pytest.raises(TidemarkError, match="created again"):
            archiver.run(old.settings)
        with clock.step("archive published"):
            run = sent_anew(old)
        # ... and all that was archived is counted once, also what a producer sends again.
        recount.clear(run.settings, "test")
        with clock.step("counted anew"):
            from_the_beginning(run)
            run.send(archived[-500:])
            run.wait_drained()
            with run.oracle() as oracle:
                run.assert_exact(oracle)
        clock.print(f"{len(lost):,} events that came after the last archive run")
        run.send(after)
        run.wait_drained()
        with run.oracle() as oracle:
            run.assert_exact(oracle)
        total = sum(end_offsets(run.settings.kafka, run.settings.topics.events).values())
        assert total == len(archived) + 500 + len(after)
        # The archive goes on with the new topic.
        assert archiver.run(run.settings).rows == total
