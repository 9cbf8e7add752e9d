"""Where a consumer reads next: known, or said in time that it is not."""

from __future__ import annotations

from typing import Any

import pytest
from kafka import TopicPartition

from tidemark.core.errors import UnavailableError
from tidemark.core.kafka import position
from tidemark.core.kafka.records import POSITION_MS

PART = TopicPartition("usage.events", 3)


class Consumer:
    """A consumer of kafka-python whose brokers do or do not say where a partition begins."""

    def __init__(self, offset: int | None) -> None:
        self.offset = offset
        self.waited_ms: list[Any] = []

    def position(self, _: TopicPartition, timeout_ms: int | None = None) -> int | None:
        self.waited_ms.append(timeout_ms)
        return self.offset


def test_a_position_is_asked_for_with_a_bound() -> None:
    consumer = Consumer(7)
    assert position(consumer, PART) == 7
    assert consumer.waited_ms == [POSITION_MS]


def test_a_position_that_no_broker_says_is_an_error_that_is_tried_again() -> None:
    with pytest.raises(UnavailableError, match=r"partition 3 of usage\.events"):
        position(Consumer(None), PART)
