"""The one place that makes Kafka clients: with the addresses and the security of the settings, errors in words."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.errors import KafkaError, RetriableError

from tidemark.core.errors import TidemarkError, UnavailableError
from tidemark.core.kafka import header_names
from tidemark.core.kafka.security import client_options
from tidemark.core.settings import KafkaSettings

header_names.install()

# A broker restart takes about 10 s; a read or write without any progress for longer than this is given up.
STALL_S = 60.0
# Longest wait for the first answer of any broker: about a restart of one.
BOOTSTRAP_MS = 10_000
RETRY_S = 0.2


def consumer(kafka: KafkaSettings, **options: Any) -> Any:
    """A consumer without a group, which keeps no offsets and makes no topics; raises KafkaError."""
    fixed = {"group_id": None, "enable_auto_commit": False, "allow_auto_create_topics": False}
    return KafkaConsumer(**{**_common(kafka), **fixed, **options})


def producer(kafka: KafkaSettings, **options: Any) -> Any:
    """A producer that makes no topics; raises KafkaError."""
    return KafkaProducer(**{**_common(kafka), "allow_auto_create_topics": False, **options})


def admin_client(kafka: KafkaSettings, **options: Any) -> Any:
    """An admin client; raises KafkaError."""
    return KafkaAdminClient(**{**_common(kafka), **options})


@contextmanager
def consuming(kafka: KafkaSettings, **options: Any) -> Iterator[Any]:
    """A `consumer` that is closed at the end.

    Raises
    ------
    UnavailableError
        No broker answers, or Kafka refuses.
    """
    with translated(kafka):
        made = consumer(kafka, **options)
        try:
            yield made
        finally:
            made.close()


@contextmanager
def admin(kafka: KafkaSettings, **options: Any) -> Iterator[Any]:
    """An `admin_client` that is closed at the end; raises as `consuming` does."""
    with translated(kafka):
        made = admin_client(kafka, **options)
        try:
            yield made
        finally:
            made.close()


def when_ready(ask: Callable[[], Any]) -> Any:
    """The answer of brokers; asked again while they say that they will have one, until `STALL_S` have passed.

    A coordinator is missing for a moment on a new cluster and while a broker restarts. Raises KafkaError.
    """
    deadline = time.monotonic() + STALL_S
    while True:
        try:
            return ask()
        except RetriableError:
            if time.monotonic() > deadline:
                raise
            time.sleep(RETRY_S)


def partitions(consumer: Any, topic: str) -> list[TopicPartition]:
    """The partitions of a topic, in their order; raises UnavailableError where there is no such topic."""
    numbers = consumer.partitions_for_topic(topic)
    if not numbers:
        raise UnavailableError(f"topic {topic} does not exist.", "`tidemark topics apply`.")
    return [TopicPartition(topic, number) for number in sorted(numbers)]


@contextmanager
def translated(kafka: KafkaSettings) -> Iterator[None]:
    """Raise what Kafka's client raises as an UnavailableError that names the brokers."""
    try:
        yield
    except TidemarkError:
        raise
    except KafkaError as error:
        raise unavailable(kafka, error) from error


def unavailable(kafka: KafkaSettings, error: KafkaError) -> UnavailableError:
    """What a person can do about an error of Kafka's client."""
    return UnavailableError(f"Kafka at {kafka.bootstrap}: {error!r}.", _fix(kafka))


def _fix(kafka: KafkaSettings) -> str:
    if kafka.security_protocol == "PLAINTEXT":
        return "`tidemark up`, or correct kafka.bootstrap."
    doubt = " A wrong user or password ends like this too." if kafka.sasl_mechanism else ""
    return f"correct kafka.bootstrap, kafka.security_protocol and the settings with it.{doubt}"


def _common(kafka: KafkaSettings) -> dict[str, Any]:
    return {
        "bootstrap_servers": kafka.servers,
        "bootstrap_timeout_ms": BOOTSTRAP_MS,
        **client_options(kafka),
    }
