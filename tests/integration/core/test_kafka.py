"""What a topic of transactions holds, on a real Kafka."""

from __future__ import annotations

import secrets
from typing import Any

import pytest
from kafka import KafkaProducer, TopicPartition
from kafka.admin import NewTopic

from jobs.flink.rest import wait_until
from tidemark.core.kafka import Sender, clients, was_written


@pytest.fixture
def topic(stack: Any) -> str:
    name = f"test.written.{secrets.token_hex(4)}"
    with clients.admin(stack.settings.kafka) as admin:
        admin.create_topics([NewTopic(name, 1, 1)])
    return name


def test_only_what_was_committed_was_written_also_when_it_is_gone(stack: Any, topic: str) -> None:
    kafka = stack.settings.kafka
    assert not was_written(kafka, topic)
    producer = KafkaProducer(bootstrap_servers=kafka.bootstrap, transactional_id=topic, acks="all")
    producer.init_transactions()
    # A job that ends before its first checkpoint leaves an open transaction, which the next one aborts.
    producer.begin_transaction()
    producer.send(topic, b"open")
    producer.flush()
    assert not was_written(kafka, topic)
    producer.abort_transaction()
    assert not was_written(kafka, topic)
    producer.begin_transaction()
    producer.send(topic, b"committed")
    producer.commit_transaction()
    producer.close()
    assert was_written(kafka, topic)
    with clients.admin(kafka) as admin:
        admin.delete_records({TopicPartition(topic, 0): -1})
    assert was_written(kafka, topic)


def test_a_sender_that_is_abandoned_raises_nothing_of_what_is_queued(stack: Any, topic: str) -> None:
    # The error that made its user give up says why; the client's own would hide it.
    sender = Sender(stack.settings.kafka)
    sender.send(topic, b"queued for some milliseconds")
    sender.abandon()
    wait_until(lambda: not sender._producer._sender.is_alive(), 30, "the thread of the producer to end")
