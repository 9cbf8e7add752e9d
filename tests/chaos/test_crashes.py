"""Crashes while events flow: TaskManager and broker killed; every number still equals the oracle's, each delta once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from infra.local import probes
from infra.local.ports import read_ports
from jobs.flink.rest import wait_until
from jobs.flink.submit import stop, submit
from tests.chaos.frozen import kill
from tests.conftest import by_flink_run
from tests.pipeline import Pipeline, pipeline
from tests.streams import CATALOG, StreamRecord, generate

BACK_WITHIN_S = 120.0


def kill_broker(stack: Any) -> None:
    """kill -9 of the Kafka broker, which comes back on the same log."""
    kill(stack, "kafka")
    ports = read_ports(stack.local.paths.ports)
    assert ports is not None
    wait_until(lambda: probes.ask("kafka", ports, stack.local.paths).ready, BACK_WITHIN_S, "the broker to come back")


def send_and_disturb(run: Pipeline, records: list[StreamRecord], disturb: Any) -> None:
    """Send 60 %, disturb once 40 % is committed, send the rest, and wait until all is counted."""
    run.start()
    run.send(records[: len(records) * 6 // 10])
    run.wait_committed(len(records) * 4 // 10)
    disturb()
    run.send(records[len(records) * 6 // 10 :])
    run.wait_drained()


def test_a_killed_taskmanager_costs_and_doubles_nothing(stack: Any, tmp_path: Path) -> None:
    records = list(generate(events=10_000, seed=11))
    with pipeline(stack.settings, "killtm", CATALOG, tmp_path) as run:
        send_and_disturb(run, records, lambda: kill(stack, "taskmanager"))
        with run.oracle() as oracle:
            run.assert_exact(oracle)


@pytest.mark.drill
def test_a_taskmanager_that_is_killed_when_all_is_read_says_that_it_is(stack: Any, tmp_path: Path) -> None:
    records = list(generate(events=5_000, seed=15))
    with pipeline(stack.settings, "killidle", CATALOG, tmp_path) as run:
        run.start()
        run.send(records)
        run.wait_drained()
        kill(stack, "taskmanager")
        # Restored, it has nothing to read.
        run.wait_drained()
        with run.oracle() as oracle:
            run.assert_exact(oracle)


@pytest.mark.drill
def test_a_killed_broker_costs_and_doubles_nothing(stack: Any, tmp_path: Path) -> None:
    records = list(generate(events=50_000, seed=12))
    with pipeline(stack.settings, "killbroker", CATALOG, tmp_path) as run:
        send_and_disturb(run, records, lambda: kill_broker(stack))
        with run.oracle() as oracle:
            run.assert_exact(oracle)


@pytest.mark.drill
def test_a_hundred_thousand_events_survive_both_kills(stack: Any, tmp_path: Path) -> None:
    records = list(generate(events=100_000, seed=13))

    def both() -> None:
        kill(stack, "taskmanager")
        kill_broker(stack)

    with pipeline(stack.settings, "killboth", CATALOG, tmp_path) as run:
        send_and_disturb(run, records, both)
        with run.oracle() as oracle:
            run.assert_exact(oracle)


@pytest.mark.drill
def test_a_stopped_job_goes_on_from_its_savepoint(stack: Any, tmp_path: Path) -> None:
    records = list(generate(events=20_000, seed=14))
    with pipeline(stack.settings, "resume", CATALOG, tmp_path) as run:

        def stop_and_submit() -> None:
            savepoint = stop(run.settings, "meter")
            assert savepoint
            with by_flink_run():
                again = submit(run.settings, "meter")
            assert again.restored_from == savepoint.removeprefix("file:")
            run.rest.wait_running(again.job_id)

        send_and_disturb(run, records, stop_and_submit)
        with run.oracle() as oracle:
            run.assert_exact(oracle)
