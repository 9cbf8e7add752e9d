"""Clocks an hour off: of the TaskManager, which ticks and forgets by its own, and of the broker, which dates arrivals.

Shifted by libfaketime (Debian: faketime), which leaves monotonic clocks alone, as an operator who sets a clock does.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from jobs.flink.rest import FlinkRest, wait_until
from tests.chaos.flink_processes import taskmanager
from tests.chaos.load import Load, measured
from tests.integration.own_kafka import ProxiedKafka
from tests.pipeline import Pipeline, pipeline
from tests.ports import free_port
from tests.streams import CATALOG, generate
from tidemark.core import topics
from tidemark.core.kafka import Sender

pytestmark = pytest.mark.drill

LIBRARY = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1")
HOUR_S = 3_600
WITHIN_S = 120.0


def shifted(seconds: int) -> dict[str, str]:
    """Environment of a process whose clock is off."""
    assert LIBRARY.is_file(), "apt-get install faketime"
    # Without the last one, waits of Java that have an end come to it at once.
    return {
        "LD_PRELOAD": str(LIBRARY), "FAKETIME": f"{seconds:+d}s", "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "FAKETIME_FORCE_MONOTONIC_FIX": "0",
    }  # fmt: skip


@contextmanager
def no_taskmanager_later(stack: Any) -> Iterator[Callable[[], None]]:
    """What takes the TaskManager of the stack away, until the end of the block."""
    rest, supervisor = FlinkRest(stack.settings.flink), stack.local.supervisor

    def away() -> None:
        supervisor.stop_program("taskmanager")
        wait_until(lambda: rest.overview()["taskmanagers"] == 0, WITHIN_S, "the TaskManager to be gone")

    try:
        yield away
    finally:
        supervisor.start_program("taskmanager")
        wait_until(lambda: rest.overview()["taskmanagers"] > 0, WITHIN_S, "the TaskManager to be back")


def hours_off(stack: Any, hours: int) -> AbstractContextManager[Any]:
    """A TaskManager whose clock is so many hours ahead."""
    return taskmanager(stack, f"taskmanager{hours:+d}h", 8, "4g", shifted(hours * HOUR_S))


def counts_on(run: Pipeline) -> None:
    """Wait until more is committed than now."""
    now = run.committed()
    wait_until(lambda: run.committed() > now, WITHIN_S, "the jobs to go on")


def test_a_taskmanager_an_hour_behind_and_an_hour_ahead_counts_the_same(stack: Any, tmp_path: Path) -> None:
    records = list(generate(events=20_000, seed=71))
    with pipeline(stack.settings, "clocks", CATALOG, tmp_path) as run, no_taskmanager_later(stack) as away:
        run.start()
        load = Load(run, records)
        load.start()
        counts_on(run)
        away()
        # What was in the tick waits until the clock has caught up with it.
        with hours_off(stack, -1), measured("clock of the TaskManager 1 h behind: until more is counted"):
            counts_on(run)
        with hours_off(stack, 1):
            with measured("clock of the TaskManager 2 h on: until more is counted"):
                counts_on(run)
            load.finish()
            run.wait_drained()
            with run.oracle() as oracle:
                run.assert_exact(oracle)


def now_events(prefix: str, count: int) -> Iterator[bytes]:
    """Events of this moment, by a right clock."""
    for number in range(count):
        at = datetime.now(UTC).isoformat()
        yield json.dumps({
            "event_id": f"{prefix}-{number}", "tenant_id": "initech", "customer_id": "peter", "event_type": "call",
            "timestamp": at, "quantity": 1,
        }).encode()  # fmt: skip


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_broker_an_hour_off_loses_no_event(
    stack: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hours: int
) -> None:
    count = 500
    folder = tmp_path / "kafka"
    folder.mkdir()
    kafka = ProxiedKafka(folder, free_port())
    with monkeypatch.context() as patch:
        for name, value in shifted(hours * HOUR_S).items():
            patch.setenv(name, value)
        kafka.start()
    try:
        changes = {"kafka.bootstrap": kafka.direct}
        with pipeline(
            stack.settings, f"broker{'ahead' if hours > 0 else 'behind'}", CATALOG, tmp_path, **changes
        ) as run:
            # The broker dates what arrives, as it does in production.
            dated = run.settings.with_changes({"topics.events": f"{run.settings.topics.events}.dated"})
            topics.apply(dated)
            own = Pipeline(dated, CATALOG)
            own.start()
            with Sender(dated.kafka) as sender:
                for value in now_events("clock", count):
                    sender.send(dated.topics.events, value, key=b"peter")
            own.wait_drained()
            with own.oracle() as oracle:
                counts = oracle.counts()
                own.assert_exact(oracle)
            print(hours, counts)  # noqa: T201 - what became of the events
            # Ahead: the events seem an hour late, which grace allows. Behind: they seem to come from the future.
            assert counts.offsets_in == count
            assert counts.counted == (count if hours > 0 else 0)
            assert dict(counts.rejected) == ({} if hours > 0 else {"in_future": count})
    finally:
        kafka.stop()
