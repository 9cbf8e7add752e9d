"""The one JobManager killed under load: its supervisor starts it again, the role `resubmit` submits its jobs, exact."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from jobs.flink.rest import FlinkRest, wait_until
from jobs.flink.submit import JOBS, stop
from tests.chaos.frozen import kill
from tests.constant_load import load
from tests.integration.serve.test_serve import Serving, serving
from tests.pipeline import Pipeline, pipeline
from tests.streams import CATALOG, generate
from tidemark.core.errors import TidemarkError
from tidemark.core.terminal import say

pytestmark = pytest.mark.drill

BACK_WITHIN_S = 240.0


def answers(rest: FlinkRest) -> bool:
    with suppress(TidemarkError):
        return bool(rest.overview()["slots-total"])
    return False


def active(run: Pipeline, job: str) -> str:
    """Flink's id of a job that has not ended; empty while there is none, or no Flink."""
    with suppress(TidemarkError):
        found = run.rest.active(run.settings.names.job(job))
        return found.id if found else ""
    return ""


def is_back(run: Pipeline, before: dict[str, str]) -> bool:
    return all(active(run, job) not in {"", before[job]} for job in JOBS)


def submitted(*processes: Serving) -> list[dict[str, Any]]:
    """What each submission was logged as."""
    return [one for serve in processes for one in serve.lines("submitted", "resubmit")]


def left(*processes: Serving) -> list[str]:
    """Why `rollup` was left alone."""
    lines = [one for serve in processes for one in serve.lines("left alone", "resubmit")]
    return [one["why"] for one in lines if one["job"] == "rollup"]


def test_a_lost_job_manager_costs_and_doubles_nothing_and_a_stopped_job_stays_stopped(
    stack: Any, tmp_path: Path
) -> None:
    changes: dict[str, Any] = {"resubmit.jobs": JOBS, "resubmit.interval_s": 1, "serve.listen": "off"}
    with (
        pipeline(stack.settings, "lostmanager", CATALOG, tmp_path, **changes) as run,
        serving(run.settings, "resubmit", tmp_path / "first.log") as first,
        serving(run.settings, "resubmit", tmp_path / "second.log") as second,
    ):
        # Given both jobs under load, and two processes of the role, ...
        run.start()
        before = {job: active(run, job) for job in JOBS}
        with load(run, iter(generate(events=100_000, seed=31))) as sending:
            run.wait_committed(1_000)
            # ... when the JobManager is killed, ...
            kill(stack, "jobmanager")
            begin = time.monotonic()
            wait_until(lambda: answers(run.rest), BACK_WITHIN_S, "the JobManager to be back")
            answered_s = time.monotonic() - begin
            wait_until(lambda: is_back(run, before), BACK_WITHIN_S, "both jobs to be submitted")
            for job in JOBS:
                run.rest.wait_running(active(run, job))
            counting_s = time.monotonic() - begin
            say(f"without a standby: Flink back after {answered_s:.0f} s, both jobs counting after {counting_s:.0f} s")
            run.wait_committed(sending.sent)
        # ... then both are back, each once and from a checkpoint, ...
        wait_until(lambda: len(submitted(first, second)) == len(JOBS), BACK_WITHIN_S, "both submissions to be logged")
        lines = submitted(first, second)
        assert sorted(one["job"] for one in lines) == sorted(JOBS)
        assert all(before[one["job"]] in one["restored_from"] for one in lines)
        run.wait_drained()
        with run.oracle() as oracle:
            run.assert_exact(oracle)
        # ... and one that somebody stops is not brought back when the JobManager is lost once more.
        assert stop(run.settings, "rollup")
        meter = active(run, "meter")
        kill(stack, "jobmanager")
        wait_until(lambda: active(run, "meter") not in {"", meter}, BACK_WITHIN_S, "meter to be submitted")
        wait_until(lambda: "somebody has stopped it" in left(first, second), BACK_WITHIN_S, "rollup to be left alone")
        assert active(run, "rollup") == ""
