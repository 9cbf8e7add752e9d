"""Earliest offsets of the topics: records that retention has removed can no longer be compared."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from kafka import TopicPartition

from tidemark.core.kafka import clients, ends_of
from tidemark.core.settings import Settings

EarliestOffsets = dict[str, dict[int, int]]


def earliest_offsets(settings: Settings, topics: Iterable[str]) -> EarliestOffsets:
    """Offset of the first record still available, by topic and partition; 0 if none was removed.

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


def first_lost(earliest: EarliestOffsets) -> str:
    """A partition whose first records are gone, as text; '' if there is none."""
    for topic, partitions in earliest.items():
        for partition, offset in sorted(partitions.items()):
            if offset:
                return f"{topic} partition {partition} starts at offset {offset}"
    return ""
