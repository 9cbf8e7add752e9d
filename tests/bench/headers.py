"""Headers benchmark: what CloudEvents in binary mode would cost, six Kafka headers an event handed to Python.

    .venv/bin/python -m tests.bench.headers --events 500000 --rounds 2

Bounded jobs over one topic, interleaved: the payload alone, and the payload with the headers, through a Python function
that does nothing with them. The difference of their durations, by events, is the cost.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

from jobs.flink.rest import FlinkRest, wait_until
from jobs.flink.submit import flink_run
from tests.bench.headers_job import HEADERS, TOPIC
from tests.bench.load import event
from tests.bench.stack import bench_stack
from tidemark.core import topics
from tidemark.core.kafka import Sender
from tidemark.core.settings import load

JOB = Path(__file__).with_name("headers_job.py")
LIMIT_S = 900


def measure(variant: str, rest: FlinkRest) -> float:
    """Seconds that one job takes from its start to its end."""
    job_id = flink_run(load(), JOB, ["--variant", variant])
    wait_until(lambda: rest.details(job_id)["state"] in {"FINISHED", "FAILED"}, LIMIT_S, f"{variant} to end", every_s=1)
    details = rest.details(job_id)
    if details["state"] != "FINISHED":
        raise RuntimeError(rest.root_cause(job_id))
    return float(details["duration"]) / 1_000


def main(argv: Sequence[str] | None = None) -> None:
    """Print one JSON line per job and the cost of the headers."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--events", type=int, default=500_000)
    parser.add_argument("--rounds", type=int, default=2)
    arguments = parser.parse_args(argv)
    with bench_stack():
        settings = load(**{"topics.events": TOPIC})
        topics.apply(settings)
        headers = [(name, b"a-value-of-some-length") for name in HEADERS]
        with Sender(settings.kafka) as sender:
            for index in range(arguments.events):
                value = event(index, index % 1_000, 1_700_000_000_000)
                sender.send(TOPIC, value, partition=index % settings.topics.partitions, headers=headers)
        rest = FlinkRest(settings.flink)
        seconds: dict[str, list[float]] = {"payload": [], "headers": []}
        # The first job pays for a cold JVM.
        measure("payload", rest)
        for _ in range(arguments.rounds):
            for variant, taken in seconds.items():
                taken.append(measure(variant, rest))
                sys.stdout.write(json.dumps({"job": variant, "seconds": taken[-1]}) + "\n")
                sys.stdout.flush()
    cost_s = statistics.median(seconds["headers"]) - statistics.median(seconds["payload"])
    sys.stdout.write(json.dumps({"headers_us_per_event": round(cost_s / arguments.events * 1e6, 2)}) + "\n")


if __name__ == "__main__":
    main()
