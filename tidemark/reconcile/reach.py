"""How far the topics reach back: what retention has taken cannot be compared any more."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from kafka import TopicPartition

from tidemark.core.kafka import clients, ends_of
from tidemark.core.settings import Settings

Begins = dict[str, dict[int, int]]


def begins(settings: Settings, topics: Iterable[str]) -> Begins:
    """Offset of the first record still held, by topic and partition; 0 where nothing was taken.

    Raises
    ------
    UnavailableError
        Kafka does not answer.
    """
    with clients.consuming(settings.kafka) as consumer:
        return {topic: _of_topic(consumer, topic) for topic in topics}


def _of_topic(consumer: Any, topic: str) -> dict[int, int]:
    parts = [TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic) or ()]
    return ends_of(consumer.beginning_offsets(parts)) if parts else {}


def first_gone(found: Begins) -> str:
    """In words, a partition whose first records are gone; '' when there is none."""
    for topic, partitions in found.items():
        for partition, offset in sorted(partitions.items()):
            if offset:
                return f"{topic} partition {partition} begins at offset {offset}"
    return ""
