"""Files that an index lacks, because its database is older than its folder, or new, are added to it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.integration.archive.archiving import DISK, OBJECTS, archived_run, assert_whole, by_place, send
from tests.integration.storage import own_run
from tidemark.archive import adopt, archiver, verify
from tidemark.archive.publish import publish, take_over
from tidemark.archive.reader import records
from tidemark.core import postgres
from tidemark.core.errors import TidemarkError
from tidemark.core.kafka import Sender, dump
from tidemark.core.settings import Settings
from tidemark.core.topics import has_create_time


def quiet(_: str) -> None: ...


def forget_files(run: Settings, since: int) -> None:
    """The index is that of an older backup."""
    with postgres.connect(run.postgres.owner) as connection:
        postgres.use_schema(connection, run.names.billing_schema)
        connection.execute("DELETE FROM archive_file WHERE first_offset >= %s", [since])


@pytest.mark.parametrize("where", [DISK, OBJECTS])
def test_files_that_are_newer_than_the_index_are_added_to_it(stack: Any, tmp_path: Path, where: str) -> None:
    with archived_run(stack.settings, tmp_path, where) as run:
        send(run, 400)
        archiver.run(run)
        forget_files(run, 50)
        left = len(list(records(run)))
        done = adopt.adopt(run, quiet)
        assert (done.files, done.rows, done.gaps) == (4, 400 - left, [])
        assert_whole(run)
        assert adopt.adopt(run, quiet).files == 0
        # The archive goes on where it was.
        send(run, 40, since=400)
        assert archiver.run(run).rows == 40
        assert_whole(run)


def test_a_new_database_takes_over_a_folder_and_publishes_all_of_it(stack: Any, tmp_path: Path) -> None:
    with archived_run(stack.settings, tmp_path) as run, own_run(stack.settings) as other:
        send(run, 230)
        archiver.run(run)
        kept = {"archive.dir": run.archive.dir, "topics.events": run.topics.events}
        new = other.with_changes(kept)
        # Given an index without files, which may not write to a folder of another one, ...
        with pytest.raises(TidemarkError, match="not"):
            archiver.run(new)
        # ... when it adopts them, ...
        assert adopt.adopt(new, quiet).rows == 230
        verified = verify.verify(new)
        assert (verified.faults, verified.left_over) == ([], [])
        # ... then all of it is in another topic, which producers go on with by the broker's clock.
        topic = f"{run.topics.events}.2"
        publish(new, run.topics.events, topic)
        assert [one.value for one in by_place(dump(run.kafka, topic))] == [one.value for one in records(run)]
        take_over(new, topic)
        assert not has_create_time(new.kafka, topic)
        with Sender(new.kafka) as sender:
            sender.send(topic, b"now", partition=0, timestamp_ms=1)
        last = [one for one in dump(new.kafka, topic) if one.value == b"now"]
        assert last[0].timestamp_ms > 1_700_000_000_000


def test_a_hole_between_files_is_said_to_be_lost(stack: Any, tmp_path: Path) -> None:
    with archived_run(stack.settings, tmp_path) as run:
        send(run, 800)
        archiver.run(run)
        forget_files(run, 50)
        gone = next(Path(run.archive.dir.removeprefix("file://")).glob("*/*/partition=2/50-*.parquet"))
        gone.unlink()
        (gap,) = adopt.adopt(run, quiet).gaps
        assert (gap.partition, gap.first, gap.last, gap.reason) == (2, 50, 99, "retention")
        assert verify.verify(run).lost == 50
