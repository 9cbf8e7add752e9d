"""The recorder on a real Kafka: keyed as other producers key, once a use, and nothing lost while no broker answers."""

from __future__ import annotations

import json
import secrets
from pathlib import Path
from typing import Any

import pytest

from jobs.flink.rest import wait_until
from tests.ports import free_port
from tidemark.core import topics
from tidemark.core.kafka import dump
from tidemark.core.settings import Settings
from tidemark_client import Client
from tidemark_client.events.kafka import KafkaTransport

WAIT_S = 60.0


@pytest.fixture
def settings(stack: Any) -> Settings:
    run = f"sdk{secrets.token_hex(4)}"
    own: Settings = stack.settings.with_changes({"run_id": run, "topics.events": f"test.{run}"})
    topics.apply(own)
    return own


def test_each_use_is_a_record_of_its_customer(settings: Settings, tmp_path: Path) -> None:
    transport = KafkaTransport(settings.kafka.bootstrap, "acme", settings.topics.events)
    with Client(transport, tenant="acme", spool=tmp_path, linger_s=0.05) as client:
        ids = {client.record("call", customer=f"c-{number % 3}", number=number).id for number in range(300)}
        assert client.flush(WAIT_S)
    records = [*dump(settings.kafka, settings.topics.events)]
    events = [json.loads(record.value or b"") for record in records]
    assert len(records) == 300
    assert {event["event_id"] for event in events} == ids
    assert all(
        record.key == f"acme/{event['customer_id']}".encode() for record, event in zip(records, events, strict=True)
    )
    # A customer's uses stay in the order of the calls.
    mine = [event["properties"]["number"] for event in events if event["customer_id"] == "c-1"]
    assert mine == sorted(mine)


def test_while_no_broker_answers_events_wait_on_disk(settings: Settings, tmp_path: Path) -> None:
    nowhere = f"127.0.0.1:{free_port()}"
    gone = KafkaTransport(nowhere, "acme", settings.topics.events, timeout_s=1.0, bootstrap_timeout_ms=200)
    client = Client(gone, tenant="acme", spool=tmp_path, linger_s=0.05)
    one = client.record("call", customer="c", durable=True)
    wait_until(lambda: client.stats().error != "", WAIT_S, "the failure to be seen")
    assert not client.close(1.0)
    transport = KafkaTransport(settings.kafka.bootstrap, "acme", settings.topics.events)
    with Client(transport, tenant="acme", spool=tmp_path) as again:
        assert again.flush(WAIT_S)
        wait_until(lambda: again.stats().spooled == 0, WAIT_S, "the spool to be empty")
    assert [json.loads(record.value or b"")["event_id"] for record in dump(settings.kafka, settings.topics.events)] == [
        one.id
    ]
