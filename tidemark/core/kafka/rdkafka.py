"""The producer of the role `api`: librdkafka, which acknowledges each record and takes over 10 000 of them a second.

It is imported by that role alone: the package is an extra of its own.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Protocol

from confluent_kafka import KafkaError, KafkaException, Producer

from tidemark.core.errors import TidemarkError, UnavailableError
from tidemark.core.kafka.security import rdkafka_options
from tidemark.core.settings import KafkaSettings

_POLL_S = 0.1
# Waits a little for records to share a request to the brokers.
_LINGER_MS = 5
_FIRST_ANSWER_S = 5.0

Done = Callable[[str], None]


class Keyed(Protocol):
    """A record with its key."""

    @property
    def key(self) -> bytes:
        """Decides the partition, by the hash of the Java client."""

    @property
    def value(self) -> bytes:
        """The bytes."""


class FullError(TidemarkError):
    """As many records as may wait for the brokers do already."""


class Batch:
    """Records that are acknowledged together: `done` is called once, with the first failure or an empty text."""

    def __init__(self, size: int, done: Done) -> None:
        self._left = size
        self._failure = ""
        self._done = done

    def delivered(self, failure: str, count: int = 1) -> None:
        """Take note of some records; called by one thread at a time."""
        self._left -= count
        self._failure = self._failure or failure
        if self._left == 0:
            self._done(self._failure)


class AckProducer:
    """Writes records to one topic with acks=all and idempotence, and says when the brokers have them.

    Parameters
    ----------
    kafka:
        The brokers.
    topic:
        Where all records go.
    most_pending:
        Records that may wait for the brokers.
    ack_timeout_ms:
        Longest wait for their acknowledgement; then a record counts as failed, though it may have been written.
    """

    def __init__(self, kafka: KafkaSettings, topic: str, most_pending: int, ack_timeout_ms: int) -> None:
        self._kafka = kafka
        self._topic = topic
        self._most_pending = most_pending
        self._lock = threading.Lock()
        self._pending = 0
        self._fatal = ""
        self._closed = threading.Event()
        self._producer = Producer(
            {
                **rdkafka_options(kafka),
                "acks": "all",
                "enable.idempotence": True,
                "partitioner": "murmur2_random",
                "compression.type": "lz4",
                "linger.ms": _LINGER_MS,
                "message.timeout.ms": ack_timeout_ms,
                "request.timeout.ms": ack_timeout_ms,
                "queue.buffering.max.messages": 2 * most_pending,
                "queue.buffering.max.kbytes": 2_097_151,
                "reconnect.backoff.max.ms": 1_000,
                "allow.auto.create.topics": False,
                "error_cb": self._on_error,
                "log_level": 3,
            }
        )
        self._thread = threading.Thread(target=self._poll, name="acknowledgements", daemon=True)
        self._thread.start()

    @property
    def pending(self) -> int:
        """Records that the brokers have not acknowledged yet."""
        return self._pending

    def send(self, records: Iterable[Keyed], count: int, done: Done) -> None:
        """Queue `count` records; `done` is called from another thread when all are acknowledged, or have failed.

        Raises
        ------
        FullError
            Too many wait already; nothing was queued.
        """
        self._reserve(count)
        batch = Batch(count, done)

        def on_delivery(error: KafkaError | None, _: object) -> None:
            self._finish(batch, "" if error is None else error.str())

        for place, record in enumerate(records):
            try:
                self._producer.produce(self._topic, record.value, record.key, on_delivery=on_delivery)
            except (BufferError, KafkaException) as error:
                # What was queued before is on its way, so the batch ends with it.
                self._finish(batch, str(error), count - place)
                return

    def check(self) -> None:
        """Raise RuntimeError when it can write nothing any more, and another one must be made."""
        if self._fatal or not self._thread.is_alive():
            raise RuntimeError(f"the producer has ended: {self._fatal or 'its thread is gone'}")

    def require_topic(self, within_s: float = _FIRST_ANSWER_S) -> None:
        """Raise UnavailableError unless a broker answers and has the topic."""
        try:
            found = self._producer.list_topics(self._topic, timeout=within_s).topics[self._topic]
        except KafkaException as error:
            raise UnavailableError(f"Kafka at {self._kafka.bootstrap}: {error}.", "check kafka.bootstrap.") from error
        if found.error is not None:
            raise UnavailableError(f"topic {self._topic}: {found.error.str()}.", "`tidemark topics apply`.")

    def close(self, within_s: float) -> int:
        """Wait until the brokers have what is queued, so long at most; returns how many records they have not."""
        left: int = self._producer.flush(within_s)
        self._closed.set()
        self._thread.join(2 * _POLL_S)
        return left

    def _reserve(self, count: int) -> None:
        with self._lock:
            if self._pending + count > self._most_pending:
                raise FullError(f"{self._pending} events wait for the brokers; the limit is {self._most_pending}.")
            self._pending += count

    def _finish(self, batch: Batch, failure: str, count: int = 1) -> None:
        with self._lock:
            self._pending -= count
            batch.delivered(failure, count)

    def _poll(self) -> None:
        while not self._closed.is_set():
            self._producer.poll(_POLL_S)

    def _on_error(self, error: KafkaError) -> None:
        if error.fatal():
            self._fatal = error.str()
