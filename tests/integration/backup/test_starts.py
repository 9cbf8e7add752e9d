"""`rollup` is not started where its totals would lack what its topic has lost."""

from __future__ import annotations

from typing import Any

import pytest
from kafka import TopicPartition

from jobs.flink.submit import submit
from tests.integration.storage import own_run
from tidemark.core import topics
from tidemark.core.errors import UsageError
from tidemark.core.kafka import Sender, clients


def test_rollup_does_not_begin_with_a_topic_that_has_lost_its_first_records(stack: Any) -> None:
    with own_run(stack.settings) as run:
        topics.apply(run)
        with Sender(run.kafka) as sender:
            for _ in range(3):
                sender.send(run.names.deltas, b"{}", key=b"k", partition=1)
        with clients.admin(run.kafka) as admin:
            admin.delete_records({TopicPartition(run.names.deltas, 1): 2})
        for from_beginning in (False, True):
            with pytest.raises(UsageError, match=r"begins at offset 2 of partition 1, not at its first record"):
                submit(run, "rollup", from_beginning=from_beginning)
        with pytest.raises(UsageError, match="give one of the two"):
            submit(run, "rollup", from_savepoint="/somewhere", from_beginning=True)
