"""Brokers that are gone look like a topic in which nothing happens, until they are asked."""

from __future__ import annotations

from typing import Any

import pytest

from jobs.flink.rest import wait_until
from tests.integration.alerts.test_alerting import readable
from tests.integration.storage import own_run
from tidemark.alerts import topic as alert_topic
from tidemark.alerts.topic import AlertTopic
from tidemark.core import topics
from tidemark.core.errors import UnavailableError


def test_a_reader_whose_brokers_answer_no_more_says_so(stack: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    with own_run(stack.settings) as made:
        run = made.with_changes({"topics.events": f"test.{made.run_id}"})
        topics.apply(run)
        wait_until(lambda: readable(run), 60, "the broker to know the topic")
        with AlertTopic(run.kafka, run.names.alerts, {}, lambda: now[0]) as reader:
            # Silence alone says nothing: the brokers answer.
            for now[0] in (5.0, 20.0, 40.0):
                assert reader.poll(10) == []
            monkeypatch.setattr(alert_topic, "PROBE_MS", 500)
            # Behind a topic that is gone nobody answers for its partitions.
            monkeypatch.setattr(
                reader, "_parts", [part._replace(partition=part.partition + 1_000) for part in reader._parts]
            )
            assert reader.poll(10) == []
            now[0] = 60.0
            with pytest.raises(UnavailableError):
                reader.poll(10)
