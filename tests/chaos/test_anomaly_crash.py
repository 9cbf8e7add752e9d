"""A TaskManager killed while anomalies are found: the alerts are those of the pure detectors, each once."""

from __future__ import annotations

from typing import Any

import pytest

from tests.anomaly_stream import DISORDER_S, FAULT_MS, expected, send, usage
from tests.chaos.frozen import kill
from tests.integration.anomaly.test_anomaly import (
    PUBLISHED_WITHIN_S,
    alerts,
    anomaly_run,
    last_of_each,
    started,
    stored,
    wait_published,
    wait_until,
)
from udfs.anomaly.tuning import HOUR_MS


@pytest.mark.drill
def test_a_killed_taskmanager_loses_and_doubles_no_anomaly(stack: Any) -> None:
    stream = usage(seed=2)
    rows = expected(stream)
    settings = {"anomaly.disorder_s": DISORDER_S, "anomaly.clock": False, "flink.source_idle_s": 3_600}
    with anomaly_run(stack.settings, "anomalykill", **settings) as run:
        # Given a job that has begun some anomalies and not yet ended any ...
        half = next(index for index, item in enumerate(stream) if item.at_ms > FAULT_MS + 3 * HOUR_MS // 2)
        send(run, stream[:half])
        started(run)
        # ... when its TaskManager is killed, and the records that end them arrive while it is down ...
        kill(stack, "taskmanager")
        send(run, stream[half:])
        # ... then each start and each end is published once.
        wait_published(run, len(rows))
        assert alerts(run) == sorted(row.alert for row in rows)
        wait_until(lambda: stored(run) == last_of_each(rows), PUBLISHED_WITHIN_S, "the table to hold them")
