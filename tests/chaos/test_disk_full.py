"""The disk of each store is full for a while under load, and free again: nothing is lost, nothing is counted twice."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

import pytest

from infra.local.confined import POSTGRES_DATA
from infra.local.programs import flink_state
from infra.local.provision import locations
from jobs.flink.rest import wait_until
from tests.chaos.disks import Disk, at_work, disk_of
from tests.chaos.load import measured, under_load
from tests.chaos.test_redis_away import redis_sync
from tests.pipeline import Pipeline, pipeline
from tests.streams import CATALOG, generate
from tidemark.archive.archiver import run as archive
from tidemark.archive.verify import verify
from tidemark.core.errors import TidemarkError, UnavailableError
from tidemark.oracle.compare import compare_redis

pytestmark = pytest.mark.drill

WITHIN_S = 180.0
FULL = "No space left on device"
# A page of a mapped file that gets no space ends a JVM; what Redis appends comes to a part of it.
SIGNS = (FULL, "unsafe memory access", "Short write while writing to the AOF file")
STORES: dict[str, Callable[[Any], Path]] = {
    "kafka": lambda paths: paths.data / "kafka",
    "postgres": lambda _: locations().rootfs / POSTGRES_DATA.lstrip("/"),
    "redis": lambda paths: paths.data / "redis",
    "checkpoints": flink_state,
}
PROGRAMS = {"checkpoints": ("jobmanager", "taskmanager")}


class Logs:
    """What the services of the stack have written since this was made."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._sizes = {file: file.stat().st_size for file in self._files()}

    def say(self, *texts: str) -> bool:
        return any(text in written for written in map(self._since, self._files()) for text in texts)

    def _files(self) -> list[Path]:
        return [file for file in self._folder.rglob("*") if file.is_file()]

    def _since(self, file: Path) -> str:
        with file.open(errors="replace") as stream:
            stream.seek(self._sizes.get(file, 0))
            return stream.read()


def wait_for(run: Pipeline) -> int:
    """What is committed, once Kafka says it: a broker whose disk is full answers until it ends."""
    found: list[int] = []

    def answers() -> bool:
        with suppress(UnavailableError):
            found.append(run.committed())
        return bool(found)

    wait_until(answers, WITHIN_S, "Kafka to answer")
    return found[0]


@pytest.mark.parametrize("store", STORES)
def test_a_full_disk_costs_and_doubles_nothing(stack: Any, tmp_path: Path, store: str) -> None:
    records = list(generate(events=20_000, seed=51))
    paths, programs = stack.local.paths, PROGRAMS.get(store, (store,))
    with (
        disk_of(stack, programs, STORES[store](paths)) as disk,
        pipeline(stack.settings, f"full{store}", CATALOG, tmp_path) as run,
    ):
        run.start()
        with under_load(run, records):
            run.wait_committed(len(records) // 20)
            logs = Logs(paths.logs)
            with disk.full():
                wait_until(lambda: logs.say(*SIGNS), WITHIN_S, f"{store} to have no space left")
            with measured(f"disk of {store} full: from space until more is counted"):
                at_work(stack, programs)
                now = wait_for(run)
                wait_until(lambda: wait_for(run) > now, WITHIN_S, "the jobs to go on")
        run.wait_drained()
        with run.oracle() as oracle, redis_sync(run.settings) if store == "redis" else nullcontext():
            wait_until(lambda: compare_redis(oracle, run.settings) == [], WITHIN_S, "the counters to be right")
            run.assert_exact(oracle)


def test_a_full_disk_of_the_archive_is_named_and_it_goes_on(stack: Any, tmp_path: Path) -> None:
    records = list(generate(events=20_000, seed=52))
    folder = tmp_path / "archive"
    folder.mkdir()
    disk = Disk(folder, os.getpid())
    with disk.mounted(), pipeline(stack.settings, "fullarchive", CATALOG, tmp_path) as run:
        settings = run.settings.with_changes({"archive.dir": str(folder), "archive.file_rows": 1_000})
        run.send(records[:10_000])
        archive(settings)
        run.send(records[10_000:])
        with disk.full(), pytest.raises(TidemarkError, match=FULL) as refused:
            archive(settings)
        print(refused.value)  # noqa: T201 - what an operator reads
        with measured("disk of the archive full: from space until all is archived"):
            archive(settings)
        verified = verify(settings)
        assert verified.faults == []
        assert verified.rows == len(records)
