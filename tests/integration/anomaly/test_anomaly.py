"""The anomaly job on real services: what it says is what the pure detectors say, each alert once, silence included."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from decimal import Decimal
from typing import Any

import pytest

from jobs.flink.rest import FlinkRest, wait_until
from jobs.flink.submit import stop, submit
from tests.anomaly_stream import DISORDER_S, Usage, expected, send, usage
from tests.conftest import by_flink_run
from tidemark.core import migrate, postgres, topics
from tidemark.core.kafka import dump
from tidemark.core.settings import Settings
from tidemark.health.lag import LagReader
from udfs.anomaly.alerts import AlertRow
from udfs.anomaly.tuning import MINUTE_MS

PUBLISHED_WITHIN_S = 180.0


@contextmanager
def anomaly_run(settings: Settings, name: str, **changes: Any) -> Iterator[Settings]:
    """Topics and tables of a run of its own; its job is ended at the end."""
    own = {"run_id": name, "topics.events": f"test.{name}", "anomaly.checkpoint_interval_ms": 500, **changes}
    run = settings.with_changes(own)
    topics.apply(run, create_time=True)
    migrate.migrate(run)
    rest = FlinkRest(run.flink)
    try:
        yield run
    finally:
        running = rest.active(run.names.job("anomaly"))
        if running is not None:
            rest.cancel(running.id)
            wait_until(lambda: rest.active(run.names.job("anomaly")) is None, 60, "anomaly to end")


def started(run: Settings) -> None:
    """Submit the job and wait for its first checkpoint."""
    FlinkRest(run.flink).wait_running(submit(run, "anomaly").job_id)


def alerts(run: Settings) -> list[str]:
    """Every committed alert, each as often as it is there."""
    return sorted((record.value or b"").decode() for record in dump(run.kafka, run.names.alerts))


def wait_published(run: Settings, count: int) -> None:
    wait_until(lambda: len(alerts(run)) >= count, PUBLISHED_WITHIN_S, f"{count} alerts", every_s=1)


def stored(run: Settings) -> list[tuple[Any, ...]]:
    """Rows of the table, in order of their key."""
    columns = "tenant_id, customer_id, meter, kind, (extract(epoch FROM since) * 1000)::bigint, status, observed, score"
    with postgres.connect(run.postgres) as connection:
        return connection.execute(
            f'SELECT {columns} FROM "{run.names.usage_schema}".anomaly ORDER BY 1, 2, 3, 4, 5'  # type: ignore[arg-type]
        ).fetchall()


def last_of_each(rows: list[AlertRow]) -> list[tuple[Any, ...]]:
    """What the table must hold: of each anomaly its last change."""
    last = {row[1:6]: row for row in rows}
    return [(*key, row.status, Decimal(row.observed), Decimal(row.score)) for key, row in sorted(last.items())]


def anomaly_lags(reader: LagReader) -> list[int]:
    """Records of the deltas and of the dead letters that the job has not committed."""
    return [lag.records for lag in reader.read()[0] if lag.job == "anomaly"]


def test_the_job_says_what_the_detectors_say_each_once(stack: Any) -> None:
    # Given five days in which one customer bursts, a tenant falls silent, another nearly, with bad events ...
    stream = usage()
    rows = expected(stream)
    assert {row.kind for row in rows} == {"spike", "customer_spike", "drop", "missing", "error_rate"}
    # ... when the job reads them, stopped behind a savepoint and submitted again half-way ...
    settings = {"anomaly.disorder_s": DISORDER_S, "anomaly.clock": False, "flink.source_idle_s": 3_600}
    with anomaly_run(stack.settings, "anomaly", **settings) as run:
        send(run, stream[: len(stream) // 2])
        with closing(LagReader(run.with_changes({"health.jobs": ("anomaly",)}))) as reader:
            assert anomaly_lags(reader)[0] > 0, "neither rollup nor anomaly has read a delta"
        with by_flink_run():
            started(run)
        savepoint = stop(run, "anomaly")
        assert savepoint
        send(run, stream[len(stream) // 2 :])
        # The ids of its operators are numbered within a process: the client that stays has numbered others before.
        with by_flink_run():
            assert submit(run, "anomaly").restored_from == savepoint.removeprefix("file:")
        # ... then exactly the alerts of the pure detectors are on the topic, and the table holds the last of each.
        wait_published(run, len(rows))
        assert alerts(run) == sorted(row.alert for row in rows)
        wait_until(lambda: stored(run) == last_of_each(rows), PUBLISHED_WITHIN_S, "the table to hold them")
        # ... and it has committed what it read, by which its lag is known.
        with closing(LagReader(run.with_changes({"health.jobs": ("anomaly",)}))) as reader:
            wait_until(lambda: anomaly_lags(reader) == [0, 0], PUBLISHED_WITHIN_S, "the job to have no lag")


@pytest.mark.drill
def test_silence_of_everything_is_seen_by_the_clock(stack: Any) -> None:
    # Given two days and a half of one tenant that ended 45 minutes ago, and nothing on any topic since ...
    now_ms = int(time.time() * 1_000) // MINUTE_MS * MINUTE_MS
    ends_ms = now_ms - 45 * MINUTE_MS
    stream = [Usage(at_ms, "acme", "c-1", 1) for at_ms in range(ends_ms - 60 * 60 * MINUTE_MS, ends_ms, MINUTE_MS)]
    # ... when time passes by the clock alone ...
    with anomaly_run(stack.settings, "silence", **{"anomaly.disorder_s": 60, "flink.source_idle_s": 10}) as run:
        send(run, stream)
        started(run)
        # ... then the silence is an anomaly since the last event.
        wait_published(run, 1)
        rows = [row[:6] for row in stored(run)]
        assert len(alerts(run)) == 1
        assert rows == [("acme", "", "calls", "missing", ends_ms, "firing")]
