"""The role `resubmit` beside a real Flink that knows nothing of the jobs: what it refuses, and what it leaves alone."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from jobs.flink.submit import stop
from tests.integration.storage import own_run
from tidemark.core import audit
from tidemark.core.errors import StandbyError, TidemarkError, UsageError
from tidemark.core.settings import Settings
from tidemark.resubmit.resubmitter import Resubmitter


@pytest.fixture
def run(stack: Any, tmp_path: Path) -> Iterator[Settings]:
    """A run of which nothing was ever submitted."""
    with own_run(stack.settings) as made:
        yield made.with_changes({"flink.state_dir": tmp_path.as_uri(), "resubmit.jobs": ("rollup",)})


def left_alone(run: Settings) -> str:
    with closing(Resubmitter(run)) as role:
        done = role.look()
    assert not done.submitted
    return done.news["rollup"]


def was_submitted(run: Settings, **detail: Any) -> None:
    audit.record_before(run, "job.submit", "rollup", **detail)


def savepoint(folder: Path, run: Settings, age_s: float) -> None:
    metadata = folder / f"savepoints/{run.names.job('rollup')}/savepoint-1/_metadata"
    metadata.parent.mkdir(parents=True, exist_ok=True)
    metadata.write_bytes(b"")
    os.utime(metadata, (time.time() - age_s,) * 2)


def test_only_what_was_submitted_and_not_stopped_is_lost_and_nothing_begins_without_state(
    run: Settings, tmp_path: Path
) -> None:
    assert left_alone(run) == "nobody has submitted it"
    was_submitted(run, end="latest")
    assert left_alone(run) == "it was submitted to end by itself"
    # A job that is lost, and whose state is gone, is refused, each time.
    was_submitted(run, end="")
    with closing(Resubmitter(run)) as role:
        # Once may be a JobManager that does not have its jobs yet.
        assert role.look().submitted == {}
        for _ in range(2):
            with pytest.raises(UsageError, match="there is no state of it to go on from"):
                role.look()
    # Stopped while Postgres was away: the savepoint says so. One from before the job was submitted does not.
    savepoint(tmp_path, run, age_s=-60)
    assert left_alone(run) == "somebody has stopped it"
    savepoint(tmp_path, run, age_s=2 * run.events.outage_s)
    with closing(Resubmitter(run)) as role:
        role.look()
        with pytest.raises(TidemarkError, match="outage after which a restore is exact"):
            role.look()
    # Whoever stops a job that is lost wants it to stay so.
    assert stop(run, "rollup") is None
    assert left_alone(run) == "somebody has stopped it"


def test_one_process_acts_and_another_stands_by(run: Settings) -> None:
    with closing(Resubmitter(run)) as first, closing(Resubmitter(run)) as second:
        first.look()
        with pytest.raises(StandbyError):
            second.look()
        first.close()
        second.look()
