"""The job `meter`, but for the life of its transactions: Kafka aborts those that are open for ten seconds."""

from __future__ import annotations

from unittest.mock import patch

from jobs.flink.entry import run
from jobs.meter.job import plan
from tidemark.core.settings import counting
from tidemark.core.settings.counting import EventSettings

TIMEOUT_S = 10

if __name__ == "__main__":
    # They live for the longest outage, and this.
    with patch.object(counting, "_TRANSACTION_MARGIN_S", TIMEOUT_S - EventSettings().outage_s):
        run(plan)
