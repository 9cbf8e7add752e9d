"""Makes the savepoints of a release that tests restore: `python -m tests.flink.savepoints.make` in its checkout.

Run it when a release is made, and commit what it writes beside itself. It starts a stack of its own, counts a small
stream with all three jobs, and stops them behind savepoints; state as small as that is in `_metadata` itself.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from infra.local.paths import Paths
from infra.local.stack import Stack
from jobs.flink.positions import sources
from jobs.flink.submit import ALL_JOBS, stop
from tests.pipeline import Pipeline, pipeline
from tests.streams import CATALOG, StreamRecord, generate
from tidemark.core.kafka import committed_offsets
from tidemark.core.settings import FILE_ENV, load

HERE = Path(__file__).parent
# The settings of the run that made them, with which they are restored.
RUN = "release"
CHANGES: dict[str, Any] = {"topics.partitions": 2}
EVENTS = 240
# Savepoints have the paths they were written to as names: no checkout's.
STATE = Path("/tmp/tidemark-release")  # noqa: S108 - owned and cleaned as any other stack


def stream() -> tuple[list[StreamRecord], list[StreamRecord]]:
    """What the jobs had counted when the savepoints were made, and what follows; the same each time.

    No copy of an event follows: the keys of the savepoint expire with its age.
    """
    records = list(generate(EVENTS, partitions=2, seed=41))
    first, rest = records[: EVENTS // 2], records[EVENTS // 2 :]
    seen = {record.identity for record in first} - {None}
    return first, [record for record in rest if record.identity not in seen]


def main() -> None:
    """Write the savepoints beside this file."""
    with TemporaryDirectory() as folder:
        local = Stack(Paths.of(STATE))
        try:
            local.up()
            os.environ[FILE_ENV] = str(local.paths.settings)
            with pipeline(load(), RUN, CATALOG, Path(folder), **CHANGES) as run:
                make(run)
        finally:
            local.clean()


def make(run: Pipeline) -> None:
    """Count the first part of the stream with all jobs, and keep what each is stopped with."""
    run.start()
    run.submit("anomaly")
    run.send(stream()[0])
    run.wait_offsets()
    with run.oracle() as oracle:
        run.assert_exact(oracle)
    for job in ALL_JOBS:
        savepoint = stop(run.settings, job)
        assert savepoint
        shutil.rmtree(HERE / job, ignore_errors=True)
        shutil.copytree(savepoint.removeprefix("file:"), HERE / job, copy_function=shutil.copyfile)
    (HERE / "positions.json").write_text(json.dumps(positions(run), indent=1) + "\n")


def positions(run: Pipeline) -> dict[str, dict[str, int]]:
    """The next offset to read of each topic that the savepoints have positions in, by topic and partition."""
    found: dict[str, dict[str, int]] = {}
    for job in ALL_JOBS:
        for group, topic in sources(run.settings, job):
            ends = found.setdefault(topic, {})
            for part, offset in committed_offsets(run.settings.kafka, run.settings.names.group(group), topic).items():
                ends[str(part)] = max(offset, ends.get(str(part), 0))
    return found


if __name__ == "__main__":
    main()
