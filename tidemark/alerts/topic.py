"""The topic of alerts for a reader that stores its own offsets: committed alerts only, from any offsets on."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Self

from kafka.errors import KafkaError

from tidemark.core.errors import UnavailableError
from tidemark.core.kafka import clients, ends_of, position
from tidemark.core.settings import KafkaSettings
from udfs.alerts.event import Alert, AlertError, parse, to_json
from udfs.events.shape import MAX_DEPTH, shape_of

# Taken in one transaction, which delays a critical alert behind them: about 2 s.
POLL_RECORDS = 500
# Silence after which the brokers are asked whether they are there, and how long their answer may take.
SILENT_S = 10.0
PROBE_MS = 10_000
# Half of a surrogate pair is not a character, and in UTF-8 only an escape can spell one.
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
# Postgres indexes no entry above 2 704 bytes, and up to three of these are in one.
MAX_NAME_BYTES = 600


class Position(NamedTuple):
    """Partition and offset of a record."""

    partition: int
    offset: int


class AlertTopic:
    """Reads alerts in read_committed, without a consumer group: the reader stores the offsets.

    Parameters
    ----------
    kafka, topic:
        Where Kafka is, and the topic of the run whose alerts are read.
    offsets:
        Next offset by partition; the earliest where there is none, or where it is out of range.
    clock:
        Seconds that only grow.
    """

    def __init__(
        self, kafka: KafkaSettings, topic: str, offsets: Mapping[int, int], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._kafka = kafka
        self._topic = topic
        self._clock = clock
        self._heard_at = clock()
        options = {"isolation_level": "read_committed", "auto_offset_reset": "earliest"}
        with clients.translated(kafka):
            self._consumer = clients.consumer(kafka, max_poll_records=POLL_RECORDS, **options)
            try:
                self._seek(offsets)
            except (KafkaError, UnavailableError):
                self.close()
                raise

    @property
    def name(self) -> str:
        """Name of the topic."""
        return self._topic

    def poll(self, timeout_ms: int) -> list[tuple[Position, bytes]]:
        """Records that came, at most POLL_RECORDS, in offset order per partition.

        Raises
        ------
        UnavailableError
            Kafka refuses to be read, or no broker has answered for about SILENT_S and PROBE_MS.

        """
        with clients.translated(self._kafka):
            polled = self._consumer.poll(timeout_ms)
            self._check_heard(bool(polled))
        return [
            (Position(record.partition, record.offset), record.value or b"")
            for records in polled.values()
            for record in records
        ]

    def _check_heard(self, anything: bool) -> None:
        """Tell a topic in which nothing happens from brokers that are gone: the consumer tries again without a word."""
        if not anything and self._clock() - self._heard_at < SILENT_S:
            return
        if not anything:
            self._consumer.end_offsets(self._parts, PROBE_MS)
        self._heard_at = self._clock()

    def offsets(self) -> dict[int, int]:
        """Next offset by partition, after all that `poll` returned."""
        with clients.translated(self._kafka):
            return {part.partition: position(self._consumer, part) for part in self._parts}

    def ends(self) -> dict[int, int]:
        """Offset by partition behind the last alert that can be read now."""
        with clients.translated(self._kafka):
            return ends_of(self._consumer.end_offsets(self._parts))

    def close(self) -> None:
        """Leave the brokers."""
        self._consumer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _seek(self, offsets: Mapping[int, int]) -> None:
        self._parts = clients.partitions(self._consumer, self._topic)
        self._consumer.assign(self._parts)
        begins = self._consumer.beginning_offsets(self._parts)
        ends = self._consumer.end_offsets(self._parts)
        for part in self._parts:
            wanted = offsets.get(part.partition, begins[part])
            # Behind what was deleted, or ahead of a topic that was made anew: an alert that is known is taken once.
            self._consumer.seek(part, wanted if begins[part] <= wanted <= ends[part] else begins[part])


def read(payload: bytes) -> Alert:
    """The alert of a record, fit to be stored.

    Raises
    ------
    AlertError
        It is not a valid alert, or one that no table can hold.

    """
    if (depth := shape_of(payload).depth) > MAX_DEPTH:
        raise AlertError(f"no alert: {depth} objects and lists within each other; {MAX_DEPTH} are read")
    try:
        payload.decode()
    except UnicodeDecodeError as error:
        # `json` takes half of a surrogate pair that is spelt in bytes.
        raise AlertError(f"no alert: {error}"[:300]) from error
    # Postgres has no NUL in texts.
    alert = parse(payload.replace(b"\\u0000", b"\\ufffd"))
    if _SURROGATE.search(payload):
        try:
            to_json(alert).encode()
        except UnicodeEncodeError as error:
            raise AlertError(f"no alert: {error}"[:300]) from error
    names: dict[str, Any] = {name: getattr(alert, name) for name in _NAMES}
    long = [name for name, value in names.items() if len((value or "").encode()) > MAX_NAME_BYTES]
    if long or not alert.id:
        raise AlertError(f"no alert: {', '.join(long) or 'id'} is {'too long' if long else 'empty'}")
    if alert.period_ms is not None and alert.period_ms[0] >= alert.period_ms[1]:
        raise AlertError("no alert: its period ends before it begins")
    return alert


_NAMES = ("id", "source", "fingerprint", "type", "tenant_id", "customer_id", "meter")
