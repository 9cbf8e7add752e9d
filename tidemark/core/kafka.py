"""Kafka for the tools: send so that no loss goes unseen, read a topic from its first record to the end it has now."""

from __future__ import annotations

import difflib
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from types import TracebackType
from typing import Any, Literal, NamedTuple, Self

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.errors import KafkaError, RetriableError

from tidemark.core.errors import TidemarkError, UnavailableError
from tidemark.core.settings import KafkaSettings

Isolation = Literal["read_committed", "read_uncommitted"]
Headers = Sequence[tuple[str, bytes]]

# Records handed to the producer between two flushes: it has no memory bound of its own; worst case 20 000 x 64 KiB.
FLUSH_EVERY = 20_000
# A broker restart takes about 10 s; a read or write without any progress for longer than this is given up.
STALL_S = 60.0
# Longest wait for the first answer of any broker: about a restart of one.
BOOTSTRAP_MS = 10_000
# A topic that was made just now is not known to all brokers for a moment.
_NEW_TOPIC_S = 2.0
_POLL_RECORDS = 5_000
_POLL_MS = 500
_RETRY_S = 0.2


class Record(NamedTuple):
    """One Kafka record; `timestamp_ms` is the arrival (LogAppendTime) or what the producer set (CreateTime)."""

    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()


class Sender:
    """Producer with acks=all and idempotence that raises the first failed delivery instead of losing it.

    Use as a context manager: leaving it flushes. Not safe for use from several threads.
    """

    def __init__(self, kafka: KafkaSettings, stall_s: float = STALL_S) -> None:
        self._stall_s = stall_s
        self._failure: BaseException | None = None
        self._pending = 0
        self._topics: set[str] = set()
        self.sent = 0
        with _translated(kafka):
            self._producer = KafkaProducer(
                bootstrap_servers=kafka.servers, bootstrap_timeout_ms=BOOTSTRAP_MS, acks="all",
                enable_idempotence=True, compression_type="lz4", linger_ms=20, batch_size=256 * 1024,
                max_in_flight_requests_per_connection=5, delivery_timeout_ms=int(stall_s * 1000),
                request_timeout_ms=int(stall_s * 500), max_block_ms=int(stall_s * 1000), allow_auto_create_topics=False,
            )  # fmt: skip
        self._kafka = kafka

    def send(
        self, topic: str, value: bytes | None, *, key: bytes | None = None, partition: int | None = None,
        timestamp_ms: int | None = None, headers: Headers = (),
    ) -> None:  # fmt: skip
        """Queue one record; without `partition` the key's hash decides, as in the Java client.

        Raises
        ------
        UnavailableError
            An earlier record could not be delivered, or there is no such topic.

        """
        self._raise_failure()
        if topic not in self._topics:
            # The producer itself would wait for the topic to appear, and then blame the brokers.
            with _consumer(self._kafka, "read_uncommitted") as consumer:
                _partitions(consumer, topic)
            self._topics.add(topic)
        with _translated(self._kafka):
            future = self._producer.send(
                topic, value=value, key=key, partition=partition, timestamp_ms=timestamp_ms, headers=list(headers)
            )
        future.add_errback(self._failed)
        self.sent += 1
        self._pending += 1
        if self._pending >= FLUSH_EVERY:
            self.flush()

    def flush(self) -> None:
        """Wait until every queued record is acknowledged by the brokers.

        Raises
        ------
        UnavailableError
            A record could not be delivered.

        """
        with _translated(self._kafka):
            self._producer.flush(timeout=self._stall_s)
        self._pending = 0
        self._raise_failure()

    def abandon(self) -> None:
        """Close without waiting for what is queued."""
        self._producer.close(timeout=0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self.flush()
        finally:
            self._producer.close(timeout=5)

    def _failed(self, error: BaseException) -> None:
        self._failure = self._failure or error

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise UnavailableError(
                f"Kafka did not take a record: {self._failure!r}.",
                "check the topic and the brokers with `tidemark status`, then send again.",
            )


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
        open_parts = {part for part in parts if consumer.position(part) < ends[part]}
        consumer.pause(*(set(parts) - open_parts))
        deadline, at = time.monotonic() + stall_s, {part: consumer.position(part) for part in open_parts}
        while open_parts:
            for part, records in consumer.poll(_POLL_MS).items():
                end = ends[part]
                if progress is not None:
                    progress(len(records))
                yield from (_record(r) for r in records if r.offset < end)
            now = {part: consumer.position(part) for part in open_parts}
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
        found = [_record(record) for record in _range(consumer, part, offset, offset + 1)]
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
                for record in map(_record, _range(consumer, part, start, end)):
                    if wanted(record):
                        found[part.partition] = record
                end, step = start, step * 16
    return found


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
                    yield from (_record(record) for record in _range(consumer, part, *bounds))


def ends_of(ends: Mapping[Any, int]) -> dict[int, int]:
    """Offsets by the number of the partition."""
    return {part.partition: offset for part, offset in ends.items()}


def _record(record: Any) -> Record:
    headers = tuple(record.headers)
    return Record(record.partition, record.offset, record.timestamp, record.key, record.value, headers)


def _range(consumer: Any, part: Any, start: int, end: int) -> Iterator[Any]:
    """Read records of the one partition that is not paused, from offset `start` up to `end`."""
    consumer.seek(part, start)
    deadline = time.monotonic() + STALL_S
    while (position := consumer.position(part)) < end:
        for records in consumer.poll(_POLL_MS).values():
            yield from (record for record in records if record.offset < end)
        if consumer.position(part) != position:
            deadline = time.monotonic() + STALL_S
        elif time.monotonic() > deadline:
            raise UnavailableError(_stalled(part.topic, {part: position}, {part: end}, STALL_S), "`tidemark status`.")


def end_offsets(kafka: KafkaSettings, topic: str, isolation: Isolation = "read_uncommitted") -> dict[int, int]:
    """Offset after the last record (or after the last stable one) of each partition."""
    with _consumer(kafka, isolation) as consumer:
        return ends_of(consumer.end_offsets(_partitions(consumer, topic)))


class GroupOffsets:
    """What a consumer group has committed, over one kept connection (asked for often while pacing)."""

    def __init__(self, kafka: KafkaSettings, group: str, topic: str) -> None:
        self._kafka, self._group, self._topic = kafka, group, topic
        with _translated(kafka):
            self._admin = KafkaAdminClient(bootstrap_servers=kafka.servers, bootstrap_timeout_ms=BOOTSTRAP_MS)

    def committed(self) -> dict[int, int]:
        """Next offset to read by partition; empty for a group that never committed. Waits as `by_topic` does."""
        return self.by_topic().get(self._topic, {})

    def by_topic(self) -> dict[str, dict[int, int]]:
        """Next offset to read of all topics of the group, by topic and partition.

        The group coordinator is missing for a moment on a new cluster and while a broker restarts: asked again until
        `STALL_S` have passed.
        """
        deadline = time.monotonic() + STALL_S
        with _translated(self._kafka):
            while True:
                try:
                    offsets = self._admin.list_group_offsets({self._group: None})[self._group]
                    break
                except RetriableError:
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(_RETRY_S)
        found: dict[str, dict[int, int]] = {}
        for part, offset in offsets.items():
            if offset.offset >= 0:
                found.setdefault(part.topic, {})[part.partition] = offset.offset
        return found

    def close(self) -> None:
        """Close the connection."""
        self._admin.close()


def committed_offsets(kafka: KafkaSettings, group: str, topic: str) -> dict[int, int]:
    """Next offset to read by partition as `group` has committed it; empty for a group that never committed."""
    offsets = GroupOffsets(kafka, group, topic)
    try:
        return offsets.committed()
    finally:
        offsets.close()


@contextmanager
def _consumer(kafka: KafkaSettings, isolation: Isolation) -> Iterator[Any]:
    with _translated(kafka):
        consumer = KafkaConsumer(
            bootstrap_servers=kafka.servers, bootstrap_timeout_ms=BOOTSTRAP_MS,
            isolation_level=isolation, group_id=None, enable_auto_commit=False, auto_offset_reset="earliest",
            allow_auto_create_topics=False, max_poll_records=_POLL_RECORDS, max_partition_fetch_bytes=4 * 1024 * 1024,
        )  # fmt: skip
        try:
            yield consumer
        finally:
            consumer.close()


def _partitions(consumer: Any, topic: str) -> list[Any]:
    until = time.monotonic() + _NEW_TOPIC_S
    while not (numbers := consumer.partitions_for_topic(topic)):
        if time.monotonic() > until:
            raise UnavailableError(f"topic {topic} does not exist.", _meant(topic, consumer.topics()))
        time.sleep(_RETRY_S)
    return [TopicPartition(topic, number) for number in sorted(numbers)]


def _meant(topic: str, topics: Collection[str]) -> str:
    close = difflib.get_close_matches(topic, topics, n=1)
    return f"did you mean {close[0]}? Or make it: `tidemark topics apply`." if close else "`tidemark topics apply`."


def _stalled(topic: str, now: Mapping[Any, int], ends: Mapping[Any, int], stall_s: float) -> str:
    left = ", ".join(f"{part.partition} at {now[part]} of {ends[part]}" for part in sorted(now))
    return f"reading {topic} made no progress for {stall_s:.0f} s (partition {left})."


@contextmanager
def _translated(kafka: KafkaSettings) -> Iterator[None]:
    try:
        yield
    except TidemarkError:
        raise
    except KafkaError as error:
        raise UnavailableError(
            f"Kafka at {kafka.bootstrap}: {error!r}.", "`tidemark up`, or correct kafka.bootstrap."
        ) from error
