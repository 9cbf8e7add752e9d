"""Reads a topic from its first record to the end it has now, and single records and ranges of it."""

from __future__ import annotations

import difflib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Literal, NamedTuple

from kafka import TopicPartition

from tidemark.core.errors import UnavailableError
from tidemark.core.kafka import clients
from tidemark.core.kafka.clients import RETRY_S, STALL_S
from tidemark.core.settings import KafkaSettings

Isolation = Literal["read_committed", "read_uncommitted"]

# A topic that was made just now is not known to all brokers for a moment.
_NEW_TOPIC_S = 2.0
_POLL_RECORDS = 5_000
_POLL_MS = 500
# Longest wait for where a partition is read: known at once, but for an offset that was removed meanwhile.
POSITION_MS = 10_000


class Record(NamedTuple):
    """One Kafka record; `timestamp_ms` is the arrival (LogAppendTime) or what the producer set (CreateTime)."""

    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()


# Partition, offset, arrival in epoch ms, value: an event as recomputation takes it. Partition p of the redrive topic is
# -1 - p, so that one number names a place of both topics.
RawRecord = tuple[int, int, int, bytes | None]


def dump(
    kafka: KafkaSettings,
    topic: str,
    isolation: Isolation = "read_committed",
    *,
    starts: Mapping[int, int] | None = None,
    stall_s: float = STALL_S,
    progress: Callable[[int], None] | None = None,
) -> Iterator[Record]:
    """Read every record of a topic from its beginning to the end it has at call time, in offset order per partition.

    With `read_committed` the end is the last stable offset. The offsets before it may hold transaction markers or
    aborted records instead of a record, so a partition is done when the read position has passed its end.

    Parameters
    ----------
    kafka, topic:
        Where to read.
    isolation:
        `read_uncommitted` shows records of open and aborted transactions too.
    starts:
        First offset by partition; what is absent, or gone by now, begins with the first record there is.
    stall_s:
        Longest wait without progress, in seconds.
    progress:
        Called with the number of records of each batch read.

    Raises
    ------
    UnavailableError
        No broker, no such topic, or no progress for `stall_s`.

    """
    with _consumer(kafka, isolation) as consumer:
        parts = _partitions(consumer, topic)
        consumer.assign(parts)
        ends = consumer.end_offsets(parts)
        begins = consumer.beginning_offsets(parts)
        for part in parts:
            consumer.seek(part, max(begins[part], (starts or {}).get(part.partition, 0)))
        open_parts = {part for part in parts if position(consumer, part) < ends[part]}
        consumer.pause(*(set(parts) - open_parts))
        deadline, at = time.monotonic() + stall_s, {part: position(consumer, part) for part in open_parts}
        while open_parts:
            for part, records in consumer.poll(_POLL_MS).items():
                end = ends[part]
                if progress is not None:
                    progress(len(records))
                yield from (_record(r) for r in records if r.offset < end)
            now = {part: position(consumer, part) for part in open_parts}
            if now != at:
                deadline, at = time.monotonic() + stall_s, now
            elif time.monotonic() > deadline:
                raise UnavailableError(_stalled(topic, now, ends, stall_s), "check the brokers: `tidemark status`.")
            done = {part for part in open_parts if now[part] >= ends[part]}
            consumer.pause(*done)
            open_parts -= done


def read_one(
    kafka: KafkaSettings, topic: str, partition: int, offset: int, isolation: Isolation = "read_committed"
) -> Record | None:
    """Read the record at one position; None where there is none, or none that was committed."""
    with _consumer(kafka, isolation) as consumer:
        part = next((part for part in _partitions(consumer, topic) if part.partition == partition), None)
        if part is None:
            return None
        consumer.assign([part])
        if not consumer.beginning_offsets([part])[part] <= offset < consumer.end_offsets([part])[part]:
            return None
        found = list(read_range(consumer, part, offset, offset + 1))
        return found[0] if found else None


def last_header(kafka: KafkaSettings, topic: str, name: str) -> dict[int, bytes]:
    """Value of a header in the last record of each partition that carries it; for topics without transactions.

    Partitions without such a record are absent.
    """
    found = last_records(kafka, topic, "read_uncommitted", wanted=lambda record: name in dict(record.headers))
    return {partition: dict(record.headers)[name] for partition, record in found.items()}


def last_records(
    kafka: KafkaSettings,
    topic: str,
    isolation: Isolation,
    below: Mapping[int, int] | None = None,
    *,
    wanted: Callable[[Record], bool] = lambda _: True,
) -> dict[int, Record]:
    """The last wanted record of each partition that this isolation shows, at an offset less than `below` if given.

    Partitions without one are absent. Reads backwards in growing steps, past transaction markers and aborted records.
    """
    found: dict[int, Record] = {}
    with _consumer(kafka, isolation) as consumer:
        parts = _partitions(consumer, topic)
        consumer.assign(parts)
        ends, begins = consumer.end_offsets(parts), consumer.beginning_offsets(parts)
        for part in parts:
            consumer.pause(*parts)
            consumer.resume(part)
            end, step = ends[part] if below is None else min(ends[part], below.get(part.partition, 0)), 4
            while part.partition not in found and end > begins[part]:
                start = max(begins[part], end - step)
                for record in read_range(consumer, part, start, end):
                    if wanted(record):
                        found[part.partition] = record
                end, step = start, step * 16
    return found


def was_written(kafka: KafkaSettings, topic: str) -> bool:
    """Whether a topic holds, or held, a record that was committed: not one of aborted or open transactions alone."""
    if not any(end_offsets(kafka, topic).values()):
        return False
    return any(offsets_at(kafka, topic, None).values()) or next(dump(kafka, topic), None) is not None


def offsets_at(kafka: KafkaSettings, topic: str, instant: datetime | None) -> dict[int, int]:
    """Offset of the first record of each partition that arrived at an instant or later (None: of all), or its end."""
    with _consumer(kafka, "read_uncommitted") as consumer:
        parts = _partitions(consumer, topic)
        begins, ends = consumer.beginning_offsets(parts), ends_of(consumer.end_offsets(parts))
        if instant is None:
            return ends_of(begins)
        found = consumer.offsets_for_times(dict.fromkeys(parts, int(instant.timestamp() * 1_000)))
        return {**ends, **{part.partition: at.offset for part, at in found.items() if at is not None}}


def read_ranges(kafka: KafkaSettings, topic: str, ranges: Mapping[int, Sequence[tuple[int, int]]]) -> Iterator[Record]:
    """Records of a topic by partition, in ranges [start, end) of offsets that ascend; what is gone is absent."""
    with _consumer(kafka, "read_uncommitted") as consumer:
        parts = _partitions(consumer, topic)
        consumer.assign(parts)
        begins, ends = consumer.beginning_offsets(parts), consumer.end_offsets(parts)
        for part in parts:
            consumer.pause(*parts)
            consumer.resume(part)
            for start, end in ranges.get(part.partition, ()):
                bounds = max(start, begins[part]), min(end, ends[part])
                if bounds[0] < bounds[1]:
                    yield from read_range(consumer, part, *bounds)


def position(consumer: Any, part: Any) -> int:
    """Offset that a consumer reads next of one of its partitions.

    Raises
    ------
    UnavailableError
        No broker says so within POSITION_MS: the offset was removed, and where the first one is now must be asked.
    """
    found = consumer.position(part, timeout_ms=POSITION_MS)
    if found is None:
        raise UnavailableError(
            f"no broker said in {POSITION_MS / 1_000:g} s where partition {part.partition} of {part.topic} is read.",
            "check the brokers: `tidemark status`.",
        )
    return int(found)


def ends_of(ends: Mapping[Any, int]) -> dict[int, int]:
    """Offsets by the number of the partition."""
    return {part.partition: offset for part, offset in ends.items()}


def _record(record: Any) -> Record:
    headers = tuple(record.headers)
    return Record(record.partition, record.offset, record.timestamp, record.key, record.value, headers)


def read_range(consumer: Any, part: Any, start: int, end: int) -> Iterator[Record]:
    """Read records of the one partition that is not paused, from offset `start` up to `end`.

    Raises
    ------
    UnavailableError
        No progress for STALL_S.
    """
    consumer.seek(part, start)
    deadline = time.monotonic() + STALL_S
    while (at := position(consumer, part)) < end:
        for records in consumer.poll(_POLL_MS).values():
            yield from (_record(record) for record in records if record.offset < end)
        if position(consumer, part) != at:
            deadline = time.monotonic() + STALL_S
        elif time.monotonic() > deadline:
            raise UnavailableError(_stalled(part.topic, {part: at}, {part: end}, STALL_S), "`tidemark status`.")


def require_topic(kafka: KafkaSettings, topic: str) -> None:
    """Raise UnavailableError unless there is such a topic."""
    with _consumer(kafka, "read_uncommitted") as consumer:
        _partitions(consumer, topic)


def end_offsets(kafka: KafkaSettings, topic: str, isolation: Isolation = "read_uncommitted") -> dict[int, int]:
    """Offset after the last record (or after the last stable one) of each partition."""
    with _consumer(kafka, isolation) as consumer:
        return ends_of(consumer.end_offsets(_partitions(consumer, topic)))


@contextmanager
def _consumer(kafka: KafkaSettings, isolation: Isolation) -> Iterator[Any]:
    options = {"isolation_level": isolation, "auto_offset_reset": "earliest", "max_poll_records": _POLL_RECORDS}
    with clients.consuming(kafka, **options, max_partition_fetch_bytes=4 * 1024 * 1024) as consumer:
        yield consumer


def _partitions(consumer: Any, topic: str) -> list[Any]:
    until = time.monotonic() + _NEW_TOPIC_S
    while not (numbers := consumer.partitions_for_topic(topic)):
        if time.monotonic() > until:
            raise UnavailableError(f"topic {topic} does not exist.", _meant(topic, consumer))
        time.sleep(RETRY_S)
    return [TopicPartition(topic, number) for number in sorted(numbers)]


def _meant(topic: str, consumer: Any) -> str:
    close = difflib.get_close_matches(topic, consumer.topics(), n=1)
    # Kafka hides what a user has no right to.
    unseen = consumer.config["security_protocol"].startswith("SASL")
    rights = ", with --acls if this user may not see it" if unseen else ""
    make = f"`tidemark topics apply`{rights}."
    return f"did you mean {close[0]}? Or make it: {make}" if close else make


def _stalled(topic: str, now: Mapping[Any, int], ends: Mapping[Any, int], stall_s: float) -> str:
    left = ", ".join(f"{part.partition} at {now[part]} of {ends[part]}" for part in sorted(now))
    return f"reading {topic} made no progress for {stall_s:.0f} s (partition {left})."
