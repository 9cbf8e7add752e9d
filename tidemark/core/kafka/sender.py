"""Sends records so that no loss goes unseen."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType
from typing import Self

from kafka.errors import KafkaError

from tidemark.core.errors import UnavailableError
from tidemark.core.kafka import clients
from tidemark.core.kafka.clients import STALL_S, translated
from tidemark.core.kafka.records import require_topic
from tidemark.core.settings import KafkaSettings

Headers = Sequence[tuple[str, bytes]]

# Records handed to the producer between two flushes: it has no memory bound of its own; worst case 20 000 x 64 KiB.
FLUSH_EVERY = 20_000
# The client would compare what is not compressed yet; the brokers decide.
_ANY_SIZE = 2**31 - 1
# Longest wait for the brokers when everything was flushed, or has failed.
_CLOSE_S = 5


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
        with translated(kafka):
            self._producer = clients.producer(
                kafka, acks="all", enable_idempotence=True, compression_type="lz4", linger_ms=20, batch_size=256 * 1024,
                max_in_flight_requests_per_connection=5, delivery_timeout_ms=int(stall_s * 1000),
                request_timeout_ms=int(stall_s * 500), max_block_ms=int(stall_s * 1000), max_request_size=_ANY_SIZE,
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
            require_topic(self._kafka, topic)
            self._topics.add(topic)
        with translated(self._kafka):
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
        with translated(self._kafka):
            self._producer.flush(timeout=self._stall_s)
        self._pending = 0
        self._raise_failure()

    def abandon(self) -> None:
        """Close without waiting for what is queued."""
        self._close(0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self.flush()
        finally:
            self._close(_CLOSE_S)

    def _close(self, timeout_s: float) -> None:
        # What is queued was flushed, or is given up with an error that says more. The client's own flush raises then,
        # and leaves its thread at work for ever.
        self._producer.flush = _flush_nothing
        with suppress(KafkaError):
            self._producer.close(timeout=timeout_s)

    def _failed(self, error: BaseException) -> None:
        self._failure = self._failure or error

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise UnavailableError(
                f"Kafka did not take a record: {self._failure!r}.",
                "check the topic and the brokers with `tidemark status`, then send again.",
            )


def _flush_nothing(timeout: float | None = None) -> None:
    """In the place of the flush of a producer that is given up."""
