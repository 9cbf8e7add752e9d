"""Twenty thousand events, good and bad, through the real services: every number equals the oracle's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jobs.flink.bounds import Bounds
from jobs.flink.rest import wait_until
from jobs.flink.submit import JOBS
from tests.conftest import by_flink_run
from tests.pipeline import Pipeline, pipeline
from tests.streams import CATALOG, StreamRecord, expected_of, generate
from tidemark.oracle.compare import compare_postgres

EVENTS = 20_000


@pytest.fixture(scope="module")
def records() -> list[StreamRecord]:
    return list(generate(events=EVENTS))


@pytest.fixture(scope="module")
def counted(stack: Any, records: list[StreamRecord], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    """The stream, sent while both jobs run as they are by default, submitted as users do, and drained."""
    folder = tmp_path_factory.mktemp("exact")
    with pipeline(stack.settings, "exact", CATALOG, folder, hasty=False) as run:
        with by_flink_run():
            run.start()
        run.send_foreign()
        run.send(records)
        run.wait_drained()
        yield run


def test_all_grains_counters_deltas_and_dead_letters_equal_the_oracle(counted: Pipeline) -> None:
    with counted.oracle() as oracle:
        counted.assert_exact(oracle)


def test_every_bad_event_has_the_reason_it_was_built_for(counted: Pipeline, records: list[StreamRecord]) -> None:
    expected = expected_of(records)
    assert counted.dead_letters() == Counter(expected.rejected)


def test_what_single_meters_refuse_is_a_partial_dead_letter_once_an_event(
    counted: Pipeline, records: list[StreamRecord]
) -> None:
    expected = expected_of(records).partial
    assert min(expected.values()) > 10
    assert counted.partial_dead_letters() == Counter(expected)


def test_no_event_restarts_a_job(counted: Pipeline) -> None:
    for name in JOBS:
        job = counted.rest.active(counted.settings.names.job(name))
        assert job is not None
        assert counted.rest.root_cause(job.id) == ""


@pytest.mark.drill
def test_a_bounded_run_over_the_same_topic_loses_nothing_at_its_end(
    counted: Pipeline, stack: Any, tmp_path: Path
) -> None:
    # Given the topic that the live run has counted, when the same jobs run over it as a bounded run of their own ...
    source = {"topics.events": counted.settings.topics.events, "meter.bounded_disorder_s": 3_600}
    with pipeline(stack.settings, "bounded", CATALOG, tmp_path, **source) as run:
        meter = run.submit("meter", Bounds(end="latest"))
        wait_until(lambda: run.rest.details(meter)["state"] == "FINISHED", 180, "the bounded meter to finish")
        assert run.rest.metric(meter, "numLateRecordsDropped") == 0
        rollup = run.submit("rollup", Bounds(end="latest"))
        wait_until(lambda: run.rest.details(rollup)["state"] == "FINISHED", 180, "the bounded rollup to finish")
        # ... then both have the same totals, to the last event.
        with run.oracle() as oracle:
            run.assert_exact(oracle)
            assert compare_postgres(oracle, counted.settings) == []
