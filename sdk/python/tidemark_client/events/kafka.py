"""Events straight into Kafka, for services inside; needs `pip install tidemark-client[kafka]`."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

try:
    from kafka import KafkaProducer
    from kafka.errors import KafkaError, MessageSizeTooLargeError
except ImportError as missing:
    raise ImportError(
        "KafkaTransport needs kafka-python: pip install 'tidemark-client[kafka]', or send over HTTP."
    ) from missing

from tidemark_client.events.outcome import Delivered, Later, Outcome, Rejection
from tidemark_client.events.spool import Pending

TOPIC = "usage.events"
TIMEOUT_S = 30.0
# For a producer to give up what is under way.
_END_S = 5.0


class KafkaTransport:
    """Sends with acks=all and idempotence, keyed by tenant/customer as all producers of Tidemark.

    Nobody judges the events on this way: what the pipeline refuses is in `usage.dlq`, not among the rejected here.

    Parameters
    ----------
    bootstrap:
        Brokers, `HOST:PORT,…`.
    tenant:
        That of the client.
    topic:
        Where events go.
    timeout_s:
        Longest wait for the acknowledgement of a batch.
    options:
        Further ones of `kafka.KafkaProducer`: security, above all.
    """

    def __init__(
        self, bootstrap: str, tenant: str, topic: str = TOPIC, timeout_s: float = TIMEOUT_S, **options: Any
    ) -> None:
        self.tenant, self._topic, self._timeout_s = tenant, topic, timeout_s
        self._options = {
            "bootstrap_servers": [server.strip() for server in bootstrap.split(",")],
            "compression_type": "gzip",
            "linger_ms": 5,
            "delivery_timeout_ms": int(timeout_s * 1_000),
            "request_timeout_ms": int(timeout_s * 500),
            "max_block_ms": int(timeout_s * 500),
            "allow_auto_create_topics": False,
            **options,
            "acks": "all",
            "enable_idempotence": True,
        }
        self._producer: Any = None

    def send(self, batch: Sequence[Pending]) -> Outcome:
        """As `Transport.send`."""
        try:
            producer = self._connected()
            futures = [
                producer.send(self._topic, event.body, key=f"{self.tenant}/{event.customer}".encode())
                for event in batch
            ]
            producer.flush(self._timeout_s)
        except (KafkaError, OSError) as error:
            self.close()
            return Later(f"Kafka: {error!r}")
        return _outcome(futures)

    def forget(self) -> None:
        """As `Transport.forget`."""
        self._producer = None

    def close(self) -> None:
        """As `Transport.close`."""
        producer, self._producer = self._producer, None
        if producer is not None:
            _end(producer)

    def _connected(self) -> Any:
        if self._producer is None:
            self._producer = KafkaProducer(**self._options)
        return self._producer


def _end(producer: Any) -> None:
    """End a producer with its thread, whatever is under way: it is on disk, and sent by the next one."""
    try:
        producer.close(0)
    except KafkaError:
        # `close` gives up where records are under way, and its thread would go on sending them.
        producer._sender.force_close()  # noqa: SLF001  there is no other way to make it give them up
        with suppress(KafkaError):
            producer.close(_END_S)


def _outcome(futures: Sequence[Any]) -> Outcome:
    accepted, rejected, failure = [], [], None
    for index, future in enumerate(futures):
        if future.succeeded():
            accepted.append(index)
        elif isinstance(future.exception, MessageSizeTooLargeError):
            rejected.append(Rejection(index, "too_large", str(future.exception)))
        else:
            failure = future.exception
    if accepted or rejected:
        return Delivered(accepted, rejected)
    return Later(f"Kafka: {failure!r}")
