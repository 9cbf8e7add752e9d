"""Helpers of the archive's tests: a run with a folder of its own, records in it, and processes that are killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from jobs.flink.rest import wait_until
from tests.integration.storage import own_run
from tests.object_store import BUCKET
from tidemark.archive import verify
from tidemark.archive.layout import Folder
from tidemark.archive.reader import records
from tidemark.core import topics
from tidemark.core.kafka import Record, Sender, dump
from tidemark.core.settings import Settings

COMMAND = "from tidemark.cli.main import main; main()"
# 2024-02-28T23:59:59.000Z
BEGIN_MS = 1_709_164_799_000
WITHIN_S = 60.0
DISK, OBJECTS = "disk", "s3"


@contextmanager
def archived_run(settings: Settings, folder: Path, where: str = DISK) -> Iterator[Settings]:
    """A run with topics of its own, whose arrivals are what is sent, and a folder or a bucket for its archive."""
    with own_run(settings) as base:
        place = (folder / "archive").as_uri() if where == DISK else f"s3://{BUCKET}/archive/{base.run_id}"
        archive = {"archive.dir": place, "archive.file_rows": 50}
        made = base.with_changes({"topics.events": f"test.{base.run_id}", **archive})
        topics.apply(made, create_time=True)
        yield made


def send(run: Settings, count: int, *, topic: str | None = None, since: int = 0) -> None:
    """Records in all partitions, a second apart: with and without key, value and headers."""
    with Sender(run.kafka) as sender:
        for place in range(since, since + count):
            sender.send(
                topic or run.topics.events, None if place % 7 == 0 else f"value {place}".encode(),
                key=b"" if place % 7 == 0 else None if place % 3 else f"k{place}".encode(),
                partition=place % run.topics.partitions, timestamp_ms=BEGIN_MS + place * 1_000,
                headers=[("a", b"1"), ("a", b"")] if place % 5 == 0 else [],
            )  # fmt: skip


def by_place(records: Iterator[Record]) -> list[Record]:
    return sorted(records, key=lambda record: (record.partition, record.offset))


def assert_whole(run: Settings, topic: str | None = None) -> None:
    """The archive has what Kafka has, once, and nothing else."""
    topic = topic or run.topics.events
    assert list(records(run, topic)) == by_place(dump(run.kafka, topic))
    verified = verify.verify(run)
    assert (verified.faults, verified.left_over) == ([], [])


def started(run: Settings, *words: str, code: str = COMMAND) -> subprocess.Popen[bytes]:
    """A process of the settings of the run."""
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.Popen([sys.executable, "-c", code, *words], env=os.environ | run.environment(), **quiet)


def killed_when(process: subprocess.Popen[bytes], reached: Callable[[], bool]) -> bool:
    """End a process without a word as soon as something is so; whether it was still at work."""
    wait_until(lambda: process.poll() is not None or reached(), WITHIN_S, "a moment to kill", every_s=0.001)
    process.send_signal(signal.SIGKILL)
    return process.wait(10) == -signal.SIGKILL


def archived_files(run: Settings, ending: str = ".parquet") -> list[str]:
    """Names of the files of the archive."""
    return [file.name for file in Folder.of(run).place.files() if file.name.endswith(ending)]
