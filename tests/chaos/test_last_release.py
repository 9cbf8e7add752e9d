"""The jobs of the last release go on as those of this version, from the savepoints that were kept of it."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from jobs.flink.damaged import await_restored
from jobs.flink.restore import savepoint_dir
from jobs.flink.submit import ALL_JOBS, submit
from tests.chaos.load import measured
from tests.conftest import by_flink_run
from tests.flink.savepoints import make
from tests.ledger_lines import ask
from tests.pipeline import Pipeline, pipeline
from tests.streams import CATALOG
from tidemark.billing.watermark import drain
from tidemark.core.kafka import Sender
from tidemark.oracle.compare import compare
from tidemark.oracle.relations import schema_of

pytestmark = pytest.mark.drill

SAVEPOINTS = Path(make.__file__).parent


def fill(run: Pipeline) -> None:
    """Bring the topics up to where the savepoints go on, with what the jobs leave out."""
    for topic, ends in json.loads((SAVEPOINTS / "positions.json").read_text()).items():
        if topic in {run.settings.names.deltas, run.settings.names.dlq}:
            with Sender(run.settings.kafka) as sender:
                for part, end in ends.items():
                    for _ in range(end):
                        sender.send(topic, b"before", key=b"before", partition=int(part))


def placed(run: Pipeline, job: str) -> str:
    """The savepoint of a job where the jobs of this run have theirs, readable to who runs them."""
    folder = Path(urlsplit(savepoint_dir(run.settings.flink, run.settings.names.job(job))).path)
    target = folder / "savepoint-000000-last"
    shutil.copytree(SAVEPOINTS / job, target)
    owner = folder.parents[1].stat()
    for path in (folder.parent, folder, target, *target.iterdir()):
        os.chown(path, owner.st_uid, owner.st_gid)
    return str(target)


def restored(run: Pipeline, job: str) -> str:
    """Id of a job that goes on from the savepoint of the last release, and makes progress."""
    path = placed(run, job)
    submitted = submit(run.settings, job, from_savepoint=path)
    await_restored(run.settings, job, submitted.job_id, submitted.restored_from)
    assert submitted.restored_from == path
    return submitted.job_id


def test_jobs_go_on_from_the_savepoints_of_the_last_release_and_are_exact(stack: Any, tmp_path: Path) -> None:
    first, rest = make.stream()
    with pipeline(stack.settings, make.RUN, CATALOG, tmp_path, **make.CHANGES) as run:
        run.send(first)
        fill(run)
        # A client that stays has numbered the operators of `anomaly` on, after those of the jobs before.
        with by_flink_run(), measured("last release: three jobs restored"):
            ids = {job: restored(run, job) for job in ALL_JOBS}
        run.send(rest)
        run.wait_offsets()
        drain(run.settings)
        # What is not touched again has no row here; a period that is has what was counted before, too.
        columns = ", ".join(schema_of("usage_period").names)
        stored = ask(run.settings, f"SELECT {columns} FROM {{usage}}.usage_period")
        assert len(stored) > 20
        with run.oracle() as oracle:
            assert compare(oracle, "usage_period", stored, "FALSE") == []
        run.rest.wait_running(ids["anomaly"])
        run.rest.cancel(ids["anomaly"])
