"""The archive on real services: each record once whatever is killed, and published again as it was."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from kafka import KafkaAdminClient, KafkaProducer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType
from typer.testing import CliRunner

from jobs.flink.rest import wait_until
from tests.integration.archive.archiving import (
    BEGIN_MS,
    DISK,
    OBJECTS,
    WITHIN_S,
    archived_files,
    archived_run,
    assert_whole,
    by_place,
    killed_when,
    send,
    started,
)
from tests.integration.storage import own_run
from tidemark.archive import archiver, verify
from tidemark.archive.index import opened
from tidemark.archive.layout import Folder
from tidemark.archive.parquet import read
from tidemark.archive.publish import OFFSET_HEADER, publish
from tidemark.archive.reader import lost, records
from tidemark.cli import archive as archive_commands
from tidemark.core import topics
from tidemark.core.errors import DifferenceError, TidemarkError, UsageError
from tidemark.core.kafka import Sender, clients, dump, end_offsets
from tidemark.core.settings import Settings

PUBLISH = (
    "import sys; from tidemark.archive.publish import publish; from tidemark.core.settings import load; "
    "publish(load(), *sys.argv[1:])"
)
DAY_MS = 86_400_000


@pytest.fixture
def run(stack: Any, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Settings]:
    with archived_run(stack.settings, tmp_path, getattr(request, "param", DISK)) as settings:
        yield settings


# --- each record once -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("run", [DISK, OBJECTS], indirect=True)
def test_each_record_is_archived_once_with_all_that_kafka_has_of_it(run: Settings) -> None:
    send(run, 230)
    send(run, 20, topic=run.topics.redrive)
    done = archiver.run(run)
    assert (done.rows, done.gaps) == (250, [])
    assert_whole(run)
    assert_whole(run, run.topics.redrive)
    # Nothing is new; then what is new is archived behind it.
    assert archiver.run(run).files == 0
    send(run, 30, since=230)
    assert archiver.run(run).rows == 30
    assert_whole(run)


def test_a_timestamp_that_no_date_can_say_is_archived_with_the_day_of_now(run: Settings) -> None:
    # Brokers before version 4 take any; now a topic has to be asked to.
    with clients.admin(run.kafka) as admin:
        taking = {"message.timestamp.after.max.ms": str(2**63 - 1), "message.timestamp.type": "CreateTime"}
        admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, run.topics.events, taking)])
    with Sender(run.kafka) as sender:
        for timestamp_ms in (BEGIN_MS, 2**62, BEGIN_MS):
            sender.send(run.topics.events, b"x", partition=0, timestamp_ms=timestamp_ms)
    archiver.run(run)
    assert_whole(run)


def test_files_are_cut_by_day_and_size(run: Settings) -> None:
    with Sender(run.kafka) as sender:
        for place in range(120):
            #  place  0 is the last second of a day, 60 to 62 arrived a day earlier by their own clock
            at_ms = BEGIN_MS + place * 1_000 - (DAY_MS if 60 <= place < 63 else 0)
            sender.send(run.topics.events, b"v", partition=1, timestamp_ms=at_ms)
    archiver.run(run)
    with opened(run.postgres, run.names) as index:
        files = index.files(run.topics.events)
        assert [(file.day.isoformat(), file.first, file.last) for file in files] == [
            ("2024-02-28", 0, 0), ("2024-02-29", 1, 50), ("2024-02-29", 51, 100), ("2024-02-29", 101, 119),
        ]  # fmt: skip
        early = index.files(run.topics.events, [1], until_ms=BEGIN_MS)
        assert [file.first for file in early] == [51]
    selected = list(records(run, since_ms=BEGIN_MS + 1_000, until_ms=BEGIN_MS + 4_000, partitions=[1]))
    assert [record.offset for record in selected] == [1, 2, 3]
    assert_whole(run)


@pytest.mark.drill
def test_a_run_that_is_killed_again_and_again_leaves_no_record_out_and_none_twice(run: Settings) -> None:
    send(run, 4_000)
    small = run.with_changes({"archive.file_rows": 20})
    moments: list[Callable[[], bool]] = [
        lambda: bool(archived_files(run, ".unfinished")),
        lambda: len(archived_files(run)) >= 30,
        lambda: len(archived_files(run)) >= 80 and bool(archived_files(run, ".unfinished")),
    ]
    kills = 0
    for moment in moments:
        kills += killed_when(started(small, "archive", "run"), moment)
        verified = verify.verify(small)
        assert verified.faults == []
        got = list(records(small))
        assert len({(record.partition, record.offset) for record in got}) == len(got) == verified.rows
    assert kills == len(moments)
    archiver.run(small)
    assert_whole(small)


def test_what_was_never_committed_is_a_gap_with_its_reason(run: Settings) -> None:
    send(run, 12)
    producer = KafkaProducer(
        bootstrap_servers=run.kafka.bootstrap, transactional_id=f"t-{run.run_id}", acks="all"
    )  # fmt: skip
    producer.init_transactions()
    for value, end in (
        (b"in", producer.commit_transaction),
        (b"out", producer.abort_transaction),
        (b"in", producer.commit_transaction),
    ):
        producer.begin_transaction()
        for _ in range(3):
            producer.send(run.topics.events, value, partition=0, timestamp_ms=BEGIN_MS)
        # What was not sent yet would not be aborted but forgotten.
        producer.flush()
        end()
    producer.close()
    done = archiver.run(run)
    # 3 records, then v v v m  x x x m  v v v m: markers m, aborted records x.
    assert [(gap.first, gap.last, gap.reason) for gap in done.gaps] == [
        (6, 10, "not_committed"), (14, 14, "not_committed"),
    ]  # fmt: skip
    assert done.rows == 18
    assert_whole(run)
    assert archiver.run(run).gaps == []
    assert lost(run) == []


def test_what_kafka_had_removed_is_reported_as_lost(run: Settings) -> None:
    send(run, 80)
    admin = KafkaAdminClient(bootstrap_servers=run.kafka.bootstrap)
    admin.delete_records({TopicPartition(run.topics.events, 2): 5})
    assert archiver.run(run).lost == 5
    # While nobody archives, more comes and goes.
    send(run, 80, since=80)
    admin.delete_records({TopicPartition(run.topics.events, 2): 23})
    admin.close()
    done = archiver.run(run)
    assert [(gap.partition, gap.first, gap.last, gap.reason) for gap in done.gaps] == [(2, 20, 22, "retention")]
    verified = verify.verify(run)
    assert (verified.faults, verified.lost) == ([], 8)
    assert [(gap.first, gap.last) for gap in lost(run)] == [(0, 4), (20, 22)]


@pytest.mark.parametrize("run", [DISK, OBJECTS], indirect=True)
def test_a_finished_file_without_a_row_is_quarantined_when_kafka_no_longer_has_its_records(run: Settings) -> None:
    send(run, 40)
    archiver.run(run)
    with opened(run.postgres, run.names) as index:
        file = index.files(run.topics.events, [0])[-1]
        index.connection.execute("DELETE FROM archive_file WHERE path = %s", [file.path])
        admin = KafkaAdminClient(bootstrap_servers=run.kafka.bootstrap)
        admin.delete_records({TopicPartition(run.topics.events, file.partition): file.last + 1})
        admin.close()
    done = archiver.run(run)
    assert done.quarantined == [f"quarantine/{file.path}"]
    assert done.lost == 9
    with Folder.of(run).place.open(done.quarantined[0]) as quarantined:
        assert len(list(read(quarantined, file.partition))) == 9


def test_a_topic_that_was_made_again_is_refused(run: Settings) -> None:
    send(run, 8)
    archiver.run(run)
    admin = KafkaAdminClient(bootstrap_servers=run.kafka.bootstrap)
    admin.delete_topics([run.topics.events])
    wait_until(lambda: run.topics.events not in admin.list_topics(), WITHIN_S, "the topic to go")
    admin.close()
    topics.apply(run, create_time=True)
    with pytest.raises(TidemarkError, match="deleted and created again"):
        archiver.run(run)


def test_the_archive_of_another_database_is_left_alone(run: Settings, stack: Any) -> None:
    send(run, 8)
    archiver.run(run)
    before = archived_files(run, "")
    with own_run(stack.settings) as other:
        stranger = other.with_changes({"topics.events": run.topics.events, "archive.dir": run.archive.dir})
        with pytest.raises(TidemarkError, match="the archive of this database"):
            archiver.run(stranger)
    assert archived_files(run, "") == before


def test_verify_names_every_file_that_is_not_as_it_was_written(run: Settings) -> None:
    send(run, 80)
    archiver.run(run.with_changes({"archive.file_rows": 5}))
    app = typer.Typer()
    archive_commands.register(app)
    assert _invoked(app, run, "archive", "verify", "--json")["faults"] == []
    with opened(run.postgres, run.names) as index:
        gone, changed, forgotten = index.files(run.topics.events, [3])[:3]
        index.connection.execute("DELETE FROM archive_file WHERE path = %s", [forgotten.path])
    root = Path(run.archive.dir.removeprefix("file://"))
    (root / gone.path).unlink()
    content = bytearray((root / changed.path).read_bytes())
    content[len(content) // 2] ^= 1
    (root / changed.path).write_bytes(content)
    verified = verify.verify(run)
    faults = "\n".join(verified.faults)
    assert f"{gone.path}: it does not exist." in faults
    assert f"{changed.path}: its sha256 is" in faults
    assert "partition 3: offsets 10-14 are in no file and in no gap." in faults
    assert verified.left_over == [forgotten.path]
    with pytest.raises(DifferenceError, match="the archive has 3 faults"):
        verified.raise_if_faulty()


def _invoked(app: typer.Typer, run: Settings, *words: str) -> Any:
    result = CliRunner().invoke(app, words, env=run.environment())
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_the_running_role_archives_until_it_is_stopped(run: Settings) -> None:
    send(run, 40)
    process = started(run, "serve", "--roles", "archive")
    wait_until(lambda: _rows(run) == 40, WITHIN_S, "the role to archive")
    process.terminate()
    assert process.wait(WITHIN_S) == 0
    assert_whole(run)


def _rows(run: Settings) -> int:
    with opened(run.postgres, run.names) as index:
        return sum(file.rows for file in index.files(run.topics.events))


# --- published again --------------------------------------------------------------------------------------------------


def test_records_are_published_as_they_were_and_once_whoever_is_killed(run: Settings) -> None:
    send(run, 3_000)
    archiver.run(run)
    target = f"{run.topics.events}.again.{uuid.uuid4().hex[:6]}"
    # Given a call that is killed on its way ...
    publish(run, run.topics.events, target, until_ms=BEGIN_MS)
    process = started(run, run.topics.events, target, code=PUBLISH)
    killed_when(process, lambda: sum(end_offsets(run.kafka, target).values()) > 0)
    # ... when it is repeated, then the rest is sent, and then nothing is.
    first = publish(run, run.topics.events, target)
    assert first.sent + first.existing == 3_000
    assert publish(run, run.topics.events, target).sent == 0
    originals, copies = by_place(dump(run.kafka, run.topics.events)), by_place(dump(run.kafka, target))
    expected = [
        record._replace(headers=(*record.headers, (OFFSET_HEADER, str(record.offset).encode()))) for record in originals
    ]
    assert copies == expected


def test_a_record_that_is_large_before_it_is_compressed_is_published_too(run: Settings) -> None:
    with Sender(run.kafka) as sender:
        sender.send(run.topics.events, b"x" * 3_000_000, partition=0, timestamp_ms=BEGIN_MS)
        sender.send(run.topics.events, None, key=b"k", partition=0, timestamp_ms=BEGIN_MS, headers=[("empty", b"")])
    archiver.run(run)
    target = f"{run.topics.events}.again.{uuid.uuid4().hex[:6]}"
    assert publish(run, run.topics.events, target).sent == 2
    assert [record.value for record in dump(run.kafka, target)] == [b"x" * 3_000_000, None]


def test_a_topic_with_other_records_is_no_place_for_archived_ones(run: Settings) -> None:
    send(run, 8)
    archiver.run(run)
    with pytest.raises(UsageError, match="records that are not from the archive"):
        publish(run, run.topics.events, run.topics.events)
