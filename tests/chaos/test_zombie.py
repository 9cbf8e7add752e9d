"""A TaskManager that stands still beyond the heartbeat time-out, is replaced, and goes on: it can write nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from jobs.flink.rest import FlinkRest, wait_until
from tests.chaos.flink_processes import taskmanager
from tests.chaos.frozen import frozen, jvm, processes
from tests.chaos.load import counts_on, measured, under_load
from tests.pipeline import pipeline
from tests.streams import CATALOG, generate

pytestmark = pytest.mark.drill

# The heartbeat time-out is 20 s, and workers of Python start anew.
MOVED_WITHIN_S = 120.0


def test_a_taskmanager_that_comes_back_to_life_writes_nothing(stack: Any, tmp_path: Path) -> None:
    records = list(generate(events=20_000, seed=44))
    rest = FlinkRest(stack.settings.flink)
    with pipeline(stack.settings, "zombie", CATALOG, tmp_path) as run:
        run.start()
        # Both jobs are on the TaskManager of the stack when another one comes.
        with taskmanager(stack, "taskmanager-heir", slots=8, memory="3g"):
            with under_load(run, records):
                run.wait_committed(len(records) // 20)
                zombie = processes(stack, "taskmanager")
                itself = jvm(zombie)
                with frozen(zombie), measured("zombie TaskManager: from its last sign of life until counted elsewhere"):
                    wait_until(lambda: rest.overview()["taskmanagers"] == 1, MOVED_WITHIN_S, "it to be given up")
                    counts_on(run, MOVED_WITHIN_S)
                    assert jvm(processes(stack, "taskmanager")) == itself
                # It finds its connections and transactions as it left them, and goes on; or Flink ends it, where the
                # refusal of its producer is heard while its task is closed, and the supervisor starts another one.
                wait_until(lambda: rest.overview()["taskmanagers"] == 2, MOVED_WITHIN_S, "it to be back")
                counts_on(run, MOVED_WITHIN_S)
            run.wait_drained()
            with run.oracle() as oracle:
                run.assert_exact(oracle)
            run.cancel()
