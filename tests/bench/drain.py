"""Drain benchmark: how fast `meter` works off a backlog, against plain Flink SQL, interleaved in one run.

    .venv/bin/python -m tests.bench.drain --events 2000000 --rounds 2

Both read the same topic, on the same cluster, one after the other (A B A B …), with the same checkpoints and the same
exactly-once sink. Time runs from "every task runs" to "the offsets of a completed checkpoint are at the end".
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from jobs.flink.rest import FlinkRest, wait_until
from jobs.flink.submit import flink_run
from tests.bench import load as events
from tests.bench.stack import bench_stack
from tidemark.core import migrate, topics
from tidemark.core.kafka import Sender, committed_offsets, end_offsets
from tidemark.core.settings import Settings, load

JOBS = {"meter": Path("jobs/meter/job.py"), "plain": Path("tests/bench/plain_sql.py")}
LIMIT_S = 600


@dataclass(frozen=True, slots=True)
class Drain:
    """One run: seconds and events a second."""

    job: str
    seconds: float
    events_per_s: float


def fill(settings: Settings, count: int, customers: int) -> None:
    """Send the backlog once."""
    if sum(end_offsets(settings.kafka, settings.topics.events).values()) >= count:
        return
    with Sender(settings.kafka) as sender:
        for index, value in enumerate(events.backlog(count, customers, now_ms=int(time.time() * 1_000))):
            sender.send(settings.topics.events, value, partition=index % settings.topics.partitions)


def drain(settings: Settings, job: str) -> Drain:
    """Run one job from nothing to the end of the topic."""
    topics.apply(settings)
    rest = FlinkRest(settings.flink)
    ends = end_offsets(settings.kafka, settings.topics.events)
    group = settings.names.group("meter")
    job_id = flink_run(settings, JOBS[job].absolute(), ["--run-id", settings.run_id])
    wait_until(lambda: _all_running(rest, job_id), LIMIT_S, f"{job} to run", every_s=0.05)
    started = time.monotonic()
    wait_until(
        lambda: committed_offsets(settings.kafka, group, settings.topics.events) == ends,
        LIMIT_S,
        f"{job} to drain",
        every_s=0.1,
    )
    seconds = time.monotonic() - started
    rest.cancel(job_id)
    wait_until(lambda: rest.active(settings.names.job("meter")) is None, 60, f"{job} to end")
    return Drain(job, round(seconds, 1), round(sum(ends.values()) / seconds))


def _all_running(rest: FlinkRest, job_id: str) -> bool:
    return all(vertex["status"] == "RUNNING" for vertex in rest.details(job_id)["vertices"])


def main(argv: Sequence[str] | None = None) -> None:
    """Print one JSON line per run and the ratio of the medians."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--events", type=int, default=2_000_000)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--customers", type=int, default=1_000, help="fewer: more events of a tick in one delta")
    parser.add_argument("--parallelism", type=int, default=1)
    arguments = parser.parse_args(argv)
    with bench_stack():
        settings = load(**{"topics.events": "bench.backlog", "meter.parallelism": arguments.parallelism})
        topics.apply(settings)
        migrate.migrate(settings)
        events.apply_catalog(settings)
        fill(settings, arguments.events, arguments.customers)
        runs: list[Drain] = []
        for index in range(arguments.rounds):
            for job in ("plain", "meter"):
                run_id = f"{job}_{index}_{int(time.time())}"
                runs.append(drain(settings.with_changes({"run_id": run_id}), job))
                sys.stdout.write(json.dumps(asdict(runs[-1])) + "\n")
                sys.stdout.flush()
    rates = {job: statistics.median(run.events_per_s for run in runs if run.job == job) for job in JOBS}
    sys.stdout.write(json.dumps({"ratio_meter_to_plain": round(rates["meter"] / rates["plain"], 3)}) + "\n")


if __name__ == "__main__":
    main()
