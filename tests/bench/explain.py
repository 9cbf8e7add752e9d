"""Explain benchmark: how long a number of one customer takes to explain, with its events and their copies.

    .venv/bin/python -m tests.bench.explain --events 300000 --customers 200

The backlog is counted by both jobs; then one customer's meter is explained: with the index empty, with the index there,
and with the events; and one event is traced. `--other DIR` times `explain --events` of another checkout on the same
data.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jobs.flink.rest import FlinkRest, wait_until
from jobs.flink.submit import JOBS, submit
from tests.bench import load as events
from tests.bench.drain import LIMIT_S
from tests.bench.stack import bench_stack
from tidemark.billing import delta_index, explain
from tidemark.billing.trace import trace
from tidemark.billing.watermark import drain
from tidemark.core import migrate, postgres, topics
from tidemark.core.kafka import Sender, committed_offsets, dump, end_offsets
from tidemark.core.settings import Settings, load

HOUR_END = datetime(2026, 1, 20, tzinfo=UTC)
# Every so many events one is sent again, somewhere behind.
COPY_EVERY = 10


def fill(settings: Settings, count: int, customers: int) -> None:
    """Send the backlog, and copies of a tenth of it behind."""
    at_ms = int(HOUR_END.timestamp() * 1_000)
    with Sender(settings.kafka) as sender:
        for turn in (1, COPY_EVERY):
            for index, value in enumerate(events.backlog(count, customers, now_ms=at_ms)):
                if index % turn == 0:
                    partition = index % settings.topics.partitions
                    sender.send(settings.topics.events, value, partition=partition, timestamp_ms=at_ms)


def timed(task: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds, and what came of it."""
    begun = time.monotonic()
    done = task()
    return round(time.monotonic() - begun, 2), done


def other(folder: Path, arguments: Sequence[str]) -> float:
    """Seconds that the command line of another checkout takes."""
    env = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "tidemark.cli.main", "explain", *arguments, "--events", "--json"]
    seconds, _ = timed(lambda: subprocess.run(command, cwd=folder, env=env, check=True, capture_output=True))
    return seconds


def measured(settings: Settings, folder: Path | None) -> dict[str, Any]:
    """Seconds by what was done, for the series with most usage."""
    result: dict[str, Any] = {"deltas": sum(1 for _ in dump(settings.kafka, settings.names.deltas))}
    result["index from nothing, s"], result["indexed"] = timed(lambda: delta_index.catch_up(settings, settings.names))
    with postgres.connect(settings.postgres) as connection:
        row = connection.execute(
            "SELECT tenant_id, customer_id, meter, period_start, sum(n), count(*) FROM billing.delta_range"
            " GROUP BY 1, 2, 3, 4 ORDER BY 5 DESC, 1, 2, 3 LIMIT 1"
        ).fetchall()[0]
        result["rows of the index"] = connection.execute("SELECT count(*) FROM billing.delta_range").fetchall()[0][0]
    series, at = row[:3], row[3]
    result["series"], result["its measurements"], result["its rows"] = "/".join(series), int(row[4]), row[5]
    result["explain, s"], _ = timed(lambda: explain.explain(settings, *series, at))
    seconds, explained = timed(lambda: explain.explain(settings, *series, at, events=True))
    result["explain --events, s"], result["adds up"] = seconds, explained.adds_up
    result["copies dropped"] = sum(item.copies or 0 for item in explained.events or ())
    first = (explained.events or ())[0]
    result["trace, s"], traced = timed(lambda: trace(settings, first.event_id))
    result["traced"] = [item.answer for item in traced]
    if folder is not None:
        result["other: explain --events, s"] = other(folder, [*series, at.isoformat()])
    return result


def main(argv: Sequence[str] | None = None) -> int:
    """Run it and print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=300_000)
    parser.add_argument("--customers", type=int, default=200)
    parser.add_argument("--other", type=Path, default=None)
    asked = parser.parse_args(argv)
    with bench_stack():
        settings = load()
        topics.apply(settings, create_time=True)
        migrate.migrate(settings)
        events.apply_catalog(settings)
        for job in JOBS:
            FlinkRest(settings.flink).wait_running(submit(settings, job).job_id)
        fill(settings, asked.events, asked.customers)
        ends, group = end_offsets(settings.kafka, settings.topics.events), settings.names.group("meter")
        wait_until(
            lambda: committed_offsets(settings.kafka, group, settings.topics.events) == ends,
            LIMIT_S,
            "the topic to be read",
        )
        drain(settings)
        sys.stdout.write(json.dumps(measured(settings, asked.other), indent=2, ensure_ascii=False) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
