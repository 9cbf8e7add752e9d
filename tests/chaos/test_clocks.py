"""Clocks an hour off: of the TaskManager, which ticks and forgets by its own, and of the broker, which dates arrivals.

Shifted by libfaketime (Debian: faketime), which leaves monotonic clocks alone, as an operator who sets a clock does.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from jobs.flink.rest import FlinkRest, wait_until
from tests.chaos.flink_processes import taskmanager
from tests.chaos.load import Load, counts_on, measured
from tests.integration.own_kafka import ProxiedKafka
from tests.pipeline import Pipeline, pipeline
from tests.ports import free_port
from tests.streams import CATALOG, generate
from tidemark.core import topics
from tidemark.core.kafka import Sender
from tidemark.dead_letters import tool as redrive
from tidemark.dead_letters.fixes import Fixes
from tidemark.dead_letters.records import Wanted
from tidemark.demo.report import wait_until_counted
from tidemark.oracle.compare import compare_postgres
from tidemark.oracle.deltas import committed_deltas

pytestmark = pytest.mark.drill

LIBRARY = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1")
SHARED = Path("/dev/shm")  # noqa: S108 - where the library puts it
HOUR_S = 3_600
WITHIN_S = 120.0
EVENTS = 500


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
        wait_gone(stack)

    try:
        yield away
    finally:
        supervisor.start_program("taskmanager")
        wait_until(lambda: rest.overview()["taskmanagers"] > 0, WITHIN_S, "the TaskManager to be back")


def wait_gone(stack: Any) -> None:
    """Wait until there is no TaskManager."""
    rest = FlinkRest(stack.settings.flink)
    wait_until(lambda: rest.overview()["taskmanagers"] == 0, WITHIN_S, "the TaskManager to be gone")


@contextmanager
def nothing_left() -> Iterator[None]:
    """What processes with another clock share is removed with the end of the block, as those that are killed do not."""
    before = {*SHARED.glob("*faketime_*")}
    try:
        yield
    finally:
        for file in {*SHARED.glob("*faketime_*")} - before:
            file.unlink()


@contextmanager
def hours_off(stack: Any, hours: int) -> Iterator[None]:
    """A TaskManager whose clock is so many hours ahead."""
    with nothing_left(), taskmanager(stack, f"taskmanager{hours:+d}h", 8, "4g", shifted(hours * HOUR_S)):
        yield
    wait_gone(stack)


def test_a_taskmanager_an_hour_behind_and_an_hour_ahead_counts_the_same(stack: Any, tmp_path: Path) -> None:
    records = list(generate(events=20_000, seed=71))
    with pipeline(stack.settings, "clocks", CATALOG, tmp_path) as run, no_taskmanager_later(stack) as away:
        run.start()
        load = Load(run, records)
        load.start()
        counts_on(run, WITHIN_S)
        away()
        # What was in the tick waits until the clock has caught up with it.
        with hours_off(stack, -1), measured("clock of the TaskManager 1 h behind: until more is counted"):
            counts_on(run, WITHIN_S)
        with hours_off(stack, 1):
            with measured("clock of the TaskManager 2 h on: until more is counted"):
                counts_on(run, WITHIN_S)
            load.finish()
            run.wait_drained()
            with run.oracle() as oracle:
                run.assert_exact(oracle)


def now_events(count: int) -> Iterator[bytes]:
    """Events of this moment, by a right clock."""
    for number in range(count):
        at = datetime.now(UTC).isoformat()
        yield json.dumps({
            "event_id": f"clock-{number}", "tenant_id": "initech", "customer_id": "peter", "event_type": "call",
            "timestamp": at, "quantity": 1,
        }).encode()  # fmt: skip


@contextmanager
def broker(folder: Path, hours: int) -> Iterator[ProxiedKafka]:
    """A broker whose clock is so many hours ahead."""
    folder.mkdir()
    kafka = ProxiedKafka(folder, free_port())
    with nothing_left(), ExitStack() as held:
        held.callback(kafka.stop)
        start(kafka, hours)
        yield kafka


def start(kafka: ProxiedKafka, hours: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in shifted(hours * HOUR_S).items():
            patch.setenv(name, value)
        kafka.start()


@contextmanager
def dated_by(stack: Any, kafka: ProxiedKafka, name: str, folder: Path) -> Iterator[Pipeline]:
    """Both jobs, on events that the broker dates as they arrive, as it does in production; `EVENTS` are sent."""
    with pipeline(stack.settings, name, CATALOG, folder, **{"kafka.bootstrap": kafka.direct}) as made:
        settings = made.settings.with_changes({"topics.events": f"{made.settings.topics.events}.dated"})
        topics.apply(settings)
        run = Pipeline(settings, CATALOG)
        run.start()
        with Sender(settings.kafka) as sender:
            for value in now_events(EVENTS):
                sender.send(settings.topics.events, value, key=b"peter")
        run.wait_drained()
        yield run


def assert_counted(run: Pipeline) -> None:
    """All events are, once each."""
    with run.oracle() as oracle:
        assert oracle.counts().counted == EVENTS
        wait_until_counted(run.settings, oracle, settle_s=WITHIN_S)
        deltas = committed_deltas(oracle, run.settings)
        assert (deltas.events, deltas.repeated, deltas.equal) == (EVENTS, 0, True)
        assert compare_postgres(oracle, run.settings) == []


def test_events_by_a_broker_an_hour_ahead_are_late_and_count(stack: Any, tmp_path: Path) -> None:
    with broker(tmp_path / "kafka", 1) as kafka, dated_by(stack, kafka, "ahead", tmp_path) as run:
        assert_counted(run)
        assert run.dead_letters() == {}


def test_events_by_a_broker_an_hour_behind_count_once_they_are_redriven(stack: Any, tmp_path: Path) -> None:
    with broker(tmp_path / "kafka", -1) as kafka, dated_by(stack, kafka, "behind", tmp_path) as run:
        wanted: Wanted = {"reason": "in_future"}
        assert run.dead_letters() == {"in_future": EVENTS}
        assert redrive.load_plan(run.settings, wanted, Fixes()).refused_by() == {"still_rejected": EVENTS}
        # Given a clock that was put right, ...
        kafka.stop()
        start(kafka, 0)
        with measured("clock of the broker 1 h behind, put right: redriven and counted"):
            plan = redrive.load_plan(run.settings, wanted, Fixes(by_event_time=True))
            assert redrive.send(run.settings, plan, by="drill").sent == EVENTS
            assert_counted(run)
