"""More of everything: parallelism 4 over two TaskManagers and 8 partitions, and rescaled from savepoints under load."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from jobs.flink.rest import FlinkRest, wait_until
from jobs.flink.submit import JOBS, stop, submit
from tests.chaos.flink_processes import STARTS_WITHIN_S, taskmanager
from tests.chaos.load import under_load
from tests.pipeline import Pipeline, pipeline
from tests.streams import CATALOG, generate

pytestmark = pytest.mark.drill

PARTITIONS = 8


@contextmanager
def taskmanagers(stack: Any, slots: int) -> Iterator[None]:
    """Two TaskManagers with so many slots each, on ports that they choose, instead of that of the stack."""
    rest, supervisor = FlinkRest(stack.settings.flink), stack.local.supervisor

    def are_there(number: int, each: int) -> None:
        wanted = (number, number * each)
        wait_until(
            lambda: (rest.overview()["taskmanagers"], rest.overview()["slots-total"]) == wanted, STARTS_WITHIN_S,
            f"{number} TaskManagers",
        )  # fmt: skip

    usual = rest.overview()["slots-total"]
    supervisor.stop_program("taskmanager")
    try:
        are_there(0, 0)
        with taskmanager(stack, "taskmanager-0", slots), taskmanager(stack, "taskmanager-1", slots):
            yield
    finally:
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
        with under_load(run, records) as load:
            run.wait_committed(len(records) // 20)
            for number in (2, 4, 1):
                run = rescale(run, number)
                assert load.is_alive(), "all was sent before the jobs were rescaled"
        run.wait_drained()
        with run.oracle() as oracle:
            run.assert_exact(oracle)
