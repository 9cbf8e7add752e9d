"""Reads a range of one partition for the archive: every record, and a gap for every offset without one."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from kafka import TopicPartition
from kafka.errors import OffsetOutOfRangeError

from tidemark.archive.index import Gap
from tidemark.core.errors import UnavailableError, UsageError
from tidemark.core.kafka import STALL_S, Record, clients, position
from tidemark.core.kafka.configs import topic_configs
from tidemark.core.settings import KafkaSettings

_POLL_MS = 500
_POLL_RECORDS = 5_000


class Source:
    """Committed records of topics, over one connection; created by `reading`."""

    def __init__(self, consumer: Any, admin: Any) -> None:
        self._consumer = consumer
        self._admin = admin

    def topic_id(self, topic: str) -> str:
        """Id of a topic, which distinguishes it from another of the same name.

        Raises
        ------
        UnavailableError
            There is no such topic.
        """
        if topic not in self._admin.list_topics():
            raise UnavailableError(f"topic {topic} does not exist.", "`tidemark topics apply`.")
        return str(self._admin.describe_topics([topic])[0]["topic_id"])

    def topics(self) -> list[str]:
        """Names of all topics, in order."""
        return sorted(self._admin.list_topics())

    def refuse_compacted(self, topic: str) -> None:
        """Raise `UsageError` for a compacted topic: its offsets without a record would mean nothing."""
        policy = self.configs(topic)["cleanup.policy"]
        if "compact" in policy:
            raise UsageError(
                f"topic {topic} has cleanup.policy {policy}: records are missing from it without a reason.",
                "set cleanup.policy to delete.",
            )

    def configs(self, topic: str) -> dict[str, str]:
        """Effective settings of a topic, with defaults."""
        return topic_configs(self._admin, topic)

    def ends(self, topic: str) -> dict[int, int]:
        """Offset after the last committed record, by partition."""
        parts = [TopicPartition(topic, number) for number in self._consumer.partitions_for_topic(topic) or ()]
        return {part.partition: offset for part, offset in sorted(self._consumer.end_offsets(parts).items())}

    def earliest_offsets(self, topic: str) -> dict[int, int]:
        """First offset that Kafka still has, by partition."""
        parts = [TopicPartition(topic, number) for number in self._consumer.partitions_for_topic(topic) or ()]
        return {part.partition: offset for part, offset in sorted(self._consumer.beginning_offsets(parts).items())}

    def offsets_at(self, topic: str, at_ms: int) -> dict[int, int]:
        """First offset whose record arrived at an instant or later; the end if there is none."""
        offsets = dict(self.ends(topic))
        times = {TopicPartition(topic, number): at_ms for number in offsets}
        for part, place in self._consumer.offsets_for_times(times).items():
            if place is not None:
                offsets[part.partition] = place.offset
        return offsets

    def read(self, topic: str, partition: int, start: int, end: int) -> Iterator[Record | Gap]:
        """Every offset from `start` to `end`, once and in order: records, and gaps for those without one.

        Raises
        ------
        UnavailableError
            No progress for `STALL_S`.
        """
        part = TopicPartition(topic, partition)
        self._consumer.assign([part])
        self._consumer.seek(part, start)
        expected, deadline = start, time.monotonic() + STALL_S
        while expected < end:
            try:
                batches = self._consumer.poll(_POLL_MS)
            except OffsetOutOfRangeError:
                # Removed by Kafka before it was read.
                earliest = self._consumer.beginning_offsets([part])[part]
                if earliest <= expected:
                    raise
                yield Gap(topic, partition, expected, min(earliest, end) - 1, "retention")
                expected = min(earliest, end)
                self._consumer.seek(part, earliest)
                continue
            before = expected
            for record in (record for records in batches.values() for record in records if record.offset < end):
                if record.offset > expected:
                    yield Gap(topic, partition, expected, record.offset - 1, "not_committed")
                expected = record.offset + 1
                yield _record(record)
            # The consumer skips markers and aborted records silently; there is nothing else before the end.
            read_up_to = min(position(self._consumer, part), end)
            if read_up_to > expected:
                yield Gap(topic, partition, expected, read_up_to - 1, "not_committed")
                expected = read_up_to
            if expected > before:
                deadline = time.monotonic() + STALL_S
            elif time.monotonic() > deadline:
                raise UnavailableError(
                    f"reading {topic} made no progress for {STALL_S:.0f} s (partition {partition} at {expected} of "
                    f"{end}).",
                    "check the brokers: `tidemark status`.",
                )


@contextmanager
def reading(kafka: KafkaSettings) -> Iterator[Source]:
    """A source of committed records.

    Raises
    ------
    UnavailableError
        Kafka does not answer.
    """
    # What Kafka has removed must be reported, not passed over.
    options = {"isolation_level": "read_committed", "auto_offset_reset": "none", "max_poll_records": _POLL_RECORDS}
    with (
        clients.consuming(kafka, **options, max_partition_fetch_bytes=4 * 1024 * 1024) as consumer,
        clients.admin(kafka) as admin,
    ):
        yield Source(consumer, admin)


def _record(record: Any) -> Record:
    return Record(
        record.partition, record.offset, record.timestamp, record.key, record.value, tuple(map(tuple, record.headers))
    )
