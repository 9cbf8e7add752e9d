"""How far the topics reach back: what retention has taken cannot be compared any more."""

from __future__ import annotations

from collections.abc import Iterable

from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError

from tidemark.core.errors import UnavailableError
from tidemark.core.settings import Settings

Begins = dict[str, dict[int, int]]


def begins(settings: Settings, topics: Iterable[str]) -> Begins:
    """Offset of the first record still held, by topic and partition; 0 where nothing was taken.

    Raises
    ------
    UnavailableError
        Kafka does not answer.
    """
    try:
        consumer = KafkaConsumer(
            bootstrap_servers=settings.kafka.servers, group_id=None, allow_auto_create_topics=False
        )
        try:
            return {topic: _of_topic(consumer, topic) for topic in topics}
        finally:
            consumer.close()
    except KafkaError as error:
        raise UnavailableError(
            f"Kafka at {settings.kafka.bootstrap}: {error!r}.", "`tidemark up`, or correct kafka.bootstrap."
        ) from error


def _of_topic(consumer: KafkaConsumer, topic: str) -> dict[int, int]:
    parts = [TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic) or ()]
    return {part.partition: offset for part, offset in consumer.beginning_offsets(parts).items()} if parts else {}


def first_lost(found: Begins) -> str:
    """In words, a partition whose first records are gone; '' when there is none."""
    for topic, partitions in found.items():
        for partition, offset in sorted(partitions.items()):
            if offset:
                return f"{topic} partition {partition} begins at offset {offset}"
    return ""
