"""Earliest offsets of the topics: records that retention has removed can no longer be compared."""

from __future__ import annotations

from collections.abc import Iterable

from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError

from tidemark.core.errors import UnavailableError
from tidemark.core.settings import Settings

EarliestOffsets = dict[str, dict[int, int]]


def earliest_offsets(settings: Settings, topics: Iterable[str]) -> EarliestOffsets:
    """Offset of the first record still available, by topic and partition; 0 if none was removed.

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


def first_lost(earliest: EarliestOffsets) -> str:
    """A partition whose first records are gone, as text; '' if there is none."""
    for topic, partitions in earliest.items():
        for partition, offset in sorted(partitions.items()):
            if offset:
                return f"{topic} partition {partition} starts at offset {offset}"
    return ""
