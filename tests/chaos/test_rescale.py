"""More of everything: parallelism 4 over two TaskManagers and 8 partitions, and rescaled from savepoints under load."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jobs.flink.rest import FlinkRest, wait_until
from jobs.flink.submit import JOBS
from tests.chaos.flink_processes import STARTS_WITHIN_S, taskmanager
from tests.chaos.load import measured, under_load
from tests.pipeline import Pipeline, pipeline
from tests.streams import CATALOG, generate
from tidemark.core import topics
from tidemark.core.errors import UsageError
from tidemark.scale.reading import advised
from tidemark.scale.rescale import scale

pytestmark = pytest.mark.drill

PARTITIONS = 8
SLOTS = 4


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
    """Both jobs with another parallelism, as `tidemark scale` gives it to them."""
    changed = of(run, number)
    for job in JOBS:
        with measured(f"scale {job} to {number}"):
            done = scale(run.settings, job, number)
        assert done.savepoint, f"{job} began without its state"
        assert parallelism(changed, job) == number == done.after
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
    records = list(generate(events=20_000, partitions=PARTITIONS, seed=22))
    changes: dict[str, Any] = {"topics.partitions": PARTITIONS}
    with taskmanagers(stack, slots=SLOTS), pipeline(stack.settings, "rescale", CATALOG, tmp_path, **changes) as made:
        run = of(made, 1)
        run.start()
        with under_load(run, records) as load:
            run.wait_committed(len(records) // 20)
            with pytest.raises(UsageError, match="needs 9 slots: it has 1, and 6 are free"):
                scale(run.settings, "meter", 9)
            with pytest.raises(UsageError, match="129 of rollup is more than 128"):
                scale(run.settings, "rollup", 129)
            for job in JOBS:
                measured = advised(run.settings, job, over_s=5)
                assert measured is not None
                assert (measured.parallelism, measured.load.partitions) == (1, PARTITIONS)
                assert measured.load.in_per_s > 0
                assert 0 < measured.load.busy <= measured.load.busiest <= 1
                assert 1 <= measured.advice.parallelism <= 2 * SLOTS
            for number in (2, 4, 1):
                run = rescale(run, number)
                assert load.is_alive(), "all was sent before the jobs were rescaled"
        run.wait_drained()
        with run.oracle() as oracle:
            run.assert_exact(oracle)


def test_partitions_4_to_8_under_load_are_exact(stack: Any, tmp_path: Path) -> None:
    records = list(generate(events=15_000, partitions=PARTITIONS, seed=23))
    # Copies of an event, and what takes it back, are in other partitions after the change than before.
    half = len(records) // 2
    first = [replace(record, partition=record.partition % 4) for record in records[:half]]
    changes: dict[str, Any] = {"topics.partitions": 4, "meter.parallelism": 2}
    with pipeline(stack.settings, "grown", CATALOG, tmp_path, **changes) as run:
        run.start()
        with under_load(run, first):
            run.wait_committed(half // 20)
            grown = run.settings.with_changes({"topics.partitions": PARTITIONS})
            assert topics.grow(grown) == {run.settings.topics.events: 4, run.settings.names.deltas: 4}
            assert topics.grow(grown) == {}
        run.send(records[half:])
        run.wait_drained()
        with run.oracle() as oracle:
            run.assert_exact(oracle)
