"""The pipeline is watched: a stopped job and a role that ended raise one alert each, and end it when they are back."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from jobs.flink import submit as jobs
from jobs.flink.rest import wait_until
from tests.integration.serve.test_serve import COMMAND, WITHIN_S, serving
from tests.integration.storage import own_run
from tests.pipeline import Pipeline, pipeline
from tests.streams import CATALOG, generate
from tidemark.core import postgres, topics
from tidemark.core.kafka import Sender, dump
from tidemark.core.settings import Settings
from tidemark.health import reports
from tidemark.health.copies import Copies, copies
from tidemark.health.lag import LagReader, sources
from tidemark.health.state import Lag, RoleReport
from tidemark.latency.sample import Sample
from tidemark.latency.sampler import Sampled, Sampler
from udfs.values import rfc3339

# What is promised: a stopped job raises an alert within this time, with the settings as they come.
ALERT_WITHIN_S = 60.0


def alerts(run: Settings) -> list[tuple[str, str, str]]:
    """Type, subject and status of all alerts of `health`, in the order of the partitions."""
    sent = [json.loads(record.value or b"") for record in dump(run.kafka, run.names.alerts)]
    return [
        (one["type"], one["data"]["evidence"]["subject"], one["data"]["status"])
        for one in sent
        if one["source"] == "tidemark/health"
    ]


def lags(run: Settings) -> dict[str, Lag]:
    with closing(LagReader(run)) as reader:
        return {lag.topic: lag for lag in reader.read()[0]}


def reported(run: Settings) -> dict[str, RoleReport]:
    """The latest report of each role."""
    found = postgres.run_once(run.postgres, "test", reports.read, run.names.usage_schema)
    return {one.role: one for one in reversed(found)}


def seen_running(run: Settings, job: str) -> bool:
    """Whether the role `health` has reported that a job runs."""
    report = reported(run).get("health")
    return report is not None and report.figures.get(f'tidemark_job_running{{job_name="{job}"}}') == 1


def status(run: Settings) -> tuple[int, dict[str, Any]]:
    """Exit code and document of `tidemark status` in a process that knows the settings alone."""
    command = [sys.executable, "-c", COMMAND, "status", "--json"]
    done = subprocess.run(command, env={**os.environ, **run.environment()}, capture_output=True, text=True, check=False)
    return done.returncode, json.loads(done.stdout)


@pytest.fixture(scope="module")
def counting(stack: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    """Both jobs, which have counted a stream."""
    changes = {"serve.listen": "127.0.0.1:0", "health.role_failing_s": 5}
    with pipeline(stack.settings, "watched", CATALOG, tmp_path_factory.mktemp("watched"), **changes) as run:
        run.start()
        run.send(generate(500))
        run.wait_drained()
        yield run


def test_an_event_is_followed_to_redis_and_to_its_row_with_the_trace_of_its_producer(counting: Pipeline) -> None:
    run, parent = counting.settings, f"00-{'a' * 32}-{'b' * 16}-01"
    # Another one cannot reach Postgres, and sees the counter all the same.
    blind_run = run.with_changes({"postgres.url": "postgresql://nobody@127.0.0.1:1/none"})
    with closing(Sampler(run)) as sampler, closing(Sampler(blind_run)) as blind:
        # What was there before is not sampled: nobody knows how old it is.
        assert sampler.sample() == blind.sample() == Sampled([], [])
        sent_ms = int(time.time() * 1_000)
        event = {
            "event_id": "followed", "tenant_id": "initech", "customer_id": "new", "event_type": "call",
            "timestamp": rfc3339(sent_ms - 3_000),
        }  # fmt: skip
        with Sender(run.kafka) as sender:
            headers = [("traceparent", parent.encode())]
            sender.send(run.topics.events, json.dumps(event).encode(), timestamp_ms=sent_ms, headers=headers)
        live: list[Sample] = []
        stored: list[Sample] = []
        without_rows: list[Sample] = []

        def seen() -> bool:
            without_rows.extend(blind.sample().live)
            sampled = sampler.sample()
            live.extend(sampled.live)
            stored.extend(sampled.stored)
            # On a slow machine a row may be there by the first look at the counter.
            return bool(stored and without_rows)

        wait_until(seen, WITHIN_S, "the event to be stored")
    assert len(live) == len(stored) == 1
    assert [one.live_ms for one in without_rows] == [live[0].live_ms]
    (sample,) = stored
    # It feeds two meters.
    assert (sample.delta.key[:2], sample.parent) == (("initech", "new"), parent)
    assert (sample.event_ms, sample.arrived_ms) == (sent_ms - 3_000, sent_ms)
    assert sample.stored_ms is not None
    assert sent_ms <= sample.live_ms <= sample.stored_ms <= time.time() * 1_000 + 1_000


@pytest.mark.parametrize("hasty", [True, pytest.param(False, marks=pytest.mark.drill)])
def test_a_stopped_rollup_raises_one_alert_and_ends_it_when_it_is_back(
    counting: Pipeline, tmp_path: Path, hasty: bool
) -> None:
    run = counting.settings.with_changes({"health.interval_s": 1, "health.job_down_s": 3} if hasty else {})
    begun = ("pipeline.job_down", "rollup", "firing")
    before = Counter(alerts(run))

    def raised() -> Counter[tuple[str, str, str]]:
        return Counter(alerts(run)) - before

    with serving(run, "health", tmp_path / "serve.log"):
        wait_until(lambda: seen_running(run, "rollup"), WITHIN_S, "rollup to be seen running")
        assert begun not in raised()
        wait_until(lambda: status(run)[0] == 0, WITHIN_S, "a healthy status")
        # When it is stopped, then the status is not healthy, and there is an alert ...
        assert jobs.stop(run, "rollup")
        code, shown = status(run)
        assert (code, shown["problems"]) == (1, ["rollup is FINISHED, not RUNNING: `tidemark submit rollup`"])
        wait_until(lambda: begun in raised(), ALERT_WITHIN_S, "the alert about rollup")
        # ... and started again, then its alert ends, and there was no other.
        counting.submit("rollup")
        ended = ("pipeline.job_down", "rollup", "resolved")
        wait_until(lambda: ended in raised(), WITHIN_S * 2, "the end of it")
        about = {alert: count for alert, count in raised().items() if alert[0] == "pipeline.job_down"}
        assert about == {begun: 1, ended: 1}


@pytest.mark.drill
def test_a_role_whose_process_was_killed_raises_an_alert_until_another_runs_it(
    counting: Pipeline, tmp_path: Path
) -> None:
    run, about = counting.settings, ("pipeline.role_failing", "quotas")
    with serving(run, "health", tmp_path / "health.log"):
        with serving(run, "quotas", tmp_path / "first.log"):
            wait_until(lambda: "quotas" in reported(run) and reported(run)["quotas"].ready, WITHIN_S, "quotas to run")
        # Killed at the end of the block: nothing was reported any more.
        wait_until(lambda: (*about, "firing") in alerts(run), WITHIN_S * 2, "the alert about quotas")
        with serving(run, "quotas", tmp_path / "second.log") as second:
            wait_until(lambda: (*about, "resolved") in alerts(run), WITHIN_S * 2, "the end of it")
            second.stop()
        assert reported(run)["quotas"].state == "stopped"


def test_jobs_that_have_read_all_lag_by_nothing_though_transaction_markers_follow(counting: Pipeline) -> None:
    run = counting.settings
    counting.wait_offsets()
    wait_until(lambda: {lag.records for lag in lags(run).values()} == {0}, WITHIN_S * 2, "no lag")
    # Producers set the arrival of this topic: it says nothing of how late `meter` is.
    assert lags(run)[run.topics.events].seconds is None
    assert lags(run)[run.names.deltas].seconds == 0


def test_flink_counts_dead_letters_by_reason(counting: Pipeline) -> None:
    meter = counting.rest.active(counting.settings.names.job("meter"))
    assert meter is not None
    pattern = re.compile(r"\.tidemark\.reason\.(\w+)\.deadLetters$")
    # Partial ones of copies are counted by workers and published once.
    wanted = {
        reason: n for reason, n in counting.dead_letters().items() if reason not in counting.partial_dead_letters()
    }
    assert len(wanted) > 5

    def counted() -> dict[str, float]:
        found = counting.rest.metrics(meter.id, pattern)
        return {match[1]: value for name, value in found.items() if (match := pattern.search(name))}

    wait_until(lambda: counted().items() >= wanted.items(), WITHIN_S, "the counters of the workers")


def test_flink_knows_how_many_events_were_copies(counting: Pipeline) -> None:
    with counting.oracle() as oracle:
        counts = oracle.counts()
    assert counts.duplicates > 0
    known = Copies(counts.counted + counts.duplicates, counts.duplicates)
    wait_until(lambda: copies(counting.settings) == known, WITHIN_S, "the counters of the operator")
    assert copies(counting.settings.with_changes({"run_id": "nobody"})) is None


def test_records_that_nobody_reads_are_a_lag_in_records_and_in_seconds(stack: Any) -> None:
    with own_run(stack.settings) as settings:
        run = settings.with_changes({"topics.events": f"test.{settings.run_id}"})
        topics.apply(run)
        with Sender(run.kafka) as sender:
            for number in range(7):
                sender.send(run.topics.events, b"{}", partition=number % 2)
        assert lags(run)[run.topics.events].event_seconds is None
        event = {
            "event_id": "1", "tenant_id": "t", "customer_id": "c", "event_type": "call",
            "timestamp": rfc3339(int((time.time() - 3_600) * 1_000)),
        }  # fmt: skip
        with Sender(run.kafka) as sender:
            sender.send(run.topics.events, json.dumps(event).encode(), partition=3)
        lag = lags(run)[run.topics.events]
        assert (lag.job, lag.records) == ("meter", 8)
        assert lag.seconds is not None
        assert lag.event_seconds is not None
        assert 0 < lag.seconds < 3_600 <= lag.event_seconds
        nothing = lags(run)[run.topics.redrive]
        assert (nothing.records, nothing.event_seconds) == (0, 0)
        watched = run.with_changes({"health.jobs": ("meter", "anomaly")})
        assert {(one.job, one.topic) for one in sources(watched)} - {(one.job, one.topic) for one in sources(run)} == {
            ("anomaly", run.names.deltas), ("anomaly", run.names.dlq),
        }  # fmt: skip
