"""`submit` on a real cluster: what is restored and what is refused; and topics that are not there."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from jobs.flink.restore import checkpoint_dir, place
from jobs.flink.submit import stop, submit
from tests.integration.audited import entries
from tests.object_store import BUCKET
from tests.pipeline import Pipeline, pipeline
from tests.streams import CATALOG
from tidemark.core.errors import UnavailableError, UsageError
from tidemark.core.kafka import Sender, dump


def resubmitted(run: Pipeline, accepted: tuple[str, ...] = (), **changes: Any) -> str:
    """Submit `rollup` with changed settings, wait until it makes progress, and return what it was restored from."""
    done = submit(run.settings.with_changes(changes), "rollup", accepted=accepted)
    run.rest.wait_running(done.job_id)
    return done.restored_from


def test_state_is_restored_with_the_settings_it_was_made_with_and_no_others(stack: Any, tmp_path: Path) -> None:
    made_with = {"rollup.customer_windows": False, "rollup.sliding_disorder_s": 1_200}
    in_s3 = {"flink.state_dir": f"s3://{BUCKET}/state"}
    with pipeline(stack.settings, "submitted", CATALOG, tmp_path, **made_with, **in_s3) as run:
        # Given a job with its checkpoints in S3 that was stopped behind a savepoint ...
        run.submit("rollup")
        name = run.settings.names.job("rollup")
        assert place(run.settings, checkpoint_dir(run.settings.flink, name)).files()
        savepoint = stop(run.settings, "rollup")
        assert savepoint
        assert savepoint.startswith(f"s3://{BUCKET}/state/savepoints/{name}/")
        # ... when it is submitted with the settings of somebody else, then what differs is named with both values ...
        with pytest.raises(UsageError, match=r"rollup\.customer_windows was false and is true now") as refused:
            resubmitted(run, **{"rollup.customer_windows": True, "rollup.sliding_disorder_s": 600})
        assert "rollup.sliding_disorder_s was 1200 and is 600 now" in refused.value.what
        with pytest.raises(UsageError, match=r"rollup\.customer_windows cannot be accepted"):
            resubmitted(run, ("rollup.customer_windows",), **{"rollup.customer_windows": True})
        assert run.rest.active(run.settings.names.job("rollup")) is None
        # ... with its own it goes on, and with a change that was accepted, which is what is compared from then on.
        assert resubmitted(run) == savepoint
        assert stop(run.settings, "rollup")
        with pytest.raises(UsageError, match=r"--accept rollup\.sliding_disorder_s"):
            resubmitted(run, **{"rollup.sliding_disorder_s": 600})
        assert resubmitted(run, ("rollup.sliding_disorder_s",), **{"rollup.sliding_disorder_s": 600})
        assert stop(run.settings, "rollup")
        assert resubmitted(run, **{"rollup.sliding_disorder_s": 600})
        done = entries(run.settings, "job", "rollup")
        assert [entry.action for entry in done] == ["job.submit", "job.stop"] * 3 + ["job.submit"]
        assert done[2].detail["restored_from"] == savepoint.removeprefix("file:")
        assert done[4].detail["accepted"] == ["rollup.sliding_disorder_s"]


def test_two_submits_at_once_start_one_job(stack: Any, tmp_path: Path) -> None:
    with pipeline(stack.settings, "twice", CATALOG, tmp_path) as run, ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda _: submit(run.settings, "rollup"), range(2))
        assert first.job_id == second.job_id
        assert first.already_running != second.already_running
        name = run.settings.names.job("rollup")
        assert len([job for job in run.rest.jobs() if job.name == name]) == 1


def test_a_topic_that_is_not_there_is_named_and_so_is_the_one_that_was_meant(stack: Any, tmp_path: Path) -> None:
    with pipeline(stack.settings, "topics", CATALOG, tmp_path) as run:
        wrong = f"{run.settings.topics.events}s"
        with pytest.raises(UnavailableError) as refused, Sender(run.settings.kafka) as sender:
            sender.send(wrong, b"{}")
        assert refused.value.what == f"topic {wrong} does not exist."
        assert f"did you mean {run.settings.topics.events}?" in refused.value.fix
        with pytest.raises(UnavailableError, match=f"topic {wrong} does not exist"):
            next(dump(run.settings.kafka, wrong))
