"""More of everything: parallelism 4 over two TaskManagers and 8 partitions, and rescaled from savepoints under load."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from infra.local.confined import BARE
from infra.local.programs import FLINK_HOME, base_environment, confined, flink_environment
from infra.local.provision import locations
from jobs.flink.rest import FlinkRest, wait_until
from jobs.flink.submit import JOBS, stop, submit
from tests.pipeline import Pipeline, pipeline
from tests.streams import CATALOG, StreamRecord, generate

pytestmark = pytest.mark.drill

PARTITIONS = 8
STARTS_WITHIN_S = 120.0


@contextmanager
def taskmanagers(stack: Any, slots: int) -> Iterator[None]:
    """Two TaskManagers with so many slots each, on ports that they choose, instead of that of the stack."""
    paths, rest, supervisor = stack.local.paths, FlinkRest(stack.settings.flink), stack.local.supervisor
    options = ["taskmanager.rpc.port=0", "taskmanager.data.port=0", f"taskmanager.numberOfTaskSlots={slots}",
               "taskmanager.memory.process.size=4g"]  # fmt: skip
    taskmanager = [f"{FLINK_HOME}/bin/taskmanager.sh", "start-foreground", *(f"-D{option}" for option in options)]
    command = confined(paths, locations(), [*BARE, *taskmanager])
    environment = {**base_environment(), **flink_environment(paths)}

    def are_there(number: int, each: int) -> None:
        wanted = (number, number * each)
        wait_until(
            lambda: (rest.overview()["taskmanagers"], rest.overview()["slots-total"]) == wanted, STARTS_WITHIN_S,
            f"{number} TaskManagers",
        )  # fmt: skip

    usual = rest.overview()["slots-total"]
    supervisor.stop_program("taskmanager")
    started: list[subprocess.Popen[bytes]] = []
    try:
        are_there(0, 0)
        for number in range(2):
            with (paths.logs / f"taskmanager-{number}.log").open("wb") as log:
                started.append(
                    subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
                )
        are_there(2, slots)
        yield
    finally:
        for process in started:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        supervisor.start_program("taskmanager")
        are_there(1, usual)


def machines(run: Pipeline, job: str) -> set[str]:
    """TaskManagers that have a subtask of a job."""
    found = run.rest.active(run.settings.names.job(job))
    assert found is not None
    vertices = [one["id"] for one in run.rest.details(found.id)["vertices"]]
    details = [run.rest._call("GET", f"/jobs/{found.id}/vertices/{one}") for one in vertices]
    return {subtask["taskmanager-id"] for vertex in details for subtask in vertex["subtasks"]}


def parallelism(run: Pipeline, job: str) -> int:
    found = run.rest.active(run.settings.names.job(job))
    assert found is not None
    return max(int(vertex["parallelism"]) for vertex in run.rest.details(found.id)["vertices"])


def of(run: Pipeline, number: int) -> Pipeline:
    """The same run with another parallelism of both jobs."""
    changes = {f"{job}.parallelism": number for job in JOBS}
    return Pipeline(run.settings.with_changes(changes), run.catalog)


def rescale(run: Pipeline, number: int) -> Pipeline:
    """Both jobs stopped behind a savepoint and started again from it with another parallelism."""
    for job in JOBS:
        assert stop(run.settings, job)
    changed = of(run, number)
    for job in JOBS:
        submitted = submit(changed.settings, job)
        assert submitted.restored_from, f"{job} began without its state"
        changed.rest.wait_running(submitted.job_id)
        assert parallelism(changed, job) == number
    return changed


def paced(run: Pipeline, records: list[StreamRecord], go_on: threading.Event) -> None:
    """Send in small pieces, so that there is load as long as the jobs are rescaled; the rest at once."""
    pieces = 400
    size = len(records) // pieces + 1
    for begin in range(0, len(records), size):
        run.send(records[begin : begin + size])
        go_on.wait(0.25)


def test_parallelism_4_over_two_taskmanagers_is_exact(stack: Any, tmp_path: Path) -> None:
    records = list(generate(events=30_000, partitions=PARTITIONS, seed=21))
    changes: dict[str, Any] = {"topics.partitions": PARTITIONS, "meter.parallelism": 4, "rollup.parallelism": 2}
    # Four do not fit into one.
    with taskmanagers(stack, slots=3), pipeline(stack.settings, "wide", CATALOG, tmp_path, **changes) as run:
        run.start()
        assert len(machines(run, "meter")) == 2
        run.send(records)
        run.wait_drained()
        with run.oracle() as oracle:
            run.assert_exact(oracle)


def test_rescaled_under_load_it_is_exact(stack: Any, tmp_path: Path) -> None:
    records = list(generate(events=40_000, partitions=PARTITIONS, seed=22))
    changes: dict[str, Any] = {"topics.partitions": PARTITIONS}
    with taskmanagers(stack, slots=4), pipeline(stack.settings, "rescale", CATALOG, tmp_path, **changes) as made:
        run = of(made, 1)
        run.start()
        go_on = threading.Event()
        load = threading.Thread(target=paced, args=(run, records, go_on))
        load.start()
        try:
            run.wait_committed(len(records) // 20)
            for number in (2, 4, 1):
                run = rescale(run, number)
                assert load.is_alive(), "all was sent before the jobs were rescaled"
        finally:
            go_on.set()
            load.join()
        run.wait_drained()
        with run.oracle() as oracle:
            run.assert_exact(oracle)
