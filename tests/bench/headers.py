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

import pandas as pd
from pyflink.table import DataTypes, EnvironmentSettings, TableEnvironment
from pyflink.table.udf import udf

from jobs import topics
from jobs.flink_rest import FlinkRest, wait_until
from jobs.kafka_io import Sender
from jobs.settings import load
from jobs.submit import flink_run
from tests.bench.load import event
from tests.bench.stack import bench_stack

TOPIC = "bench.headers"
HEADERS = ("ce_specversion", "ce_id", "ce_source", "ce_type", "ce_subject", "ce_time")
LIMIT_S = 900
SOURCE = """
CREATE TEMPORARY TABLE events (
    payload BYTES, headers MAP<STRING NOT NULL, BYTES> METADATA FROM 'headers' VIRTUAL
) WITH (
    'connector' = 'kafka', 'topic' = '{topic}', 'properties.bootstrap.servers' = '{kafka}',
    'properties.group.id' = 'bench-headers', 'scan.startup.mode' = 'earliest-offset',
    'scan.bounded.mode' = 'latest-offset', 'format' = 'raw'
)
"""


def lengths(payload: pd.Series, *_headers: pd.Series) -> pd.Series:
    """Touch nothing but the sizes."""
    return payload.str.len()


def job(variant: str) -> None:
    """Submit one bounded job: `payload` or `headers`."""
    settings = load()
    env = TableEnvironment.create(EnvironmentSettings.in_streaming_mode())
    env.get_config().set("pipeline.name", f"bench-{variant}")
    env.get_config().set("parallelism.default", "1")
    env.get_config().set("pipeline.object-reuse", "true")
    env.get_config().set("python.fn-execution.arrow.batch.size", "5000")
    env.create_temporary_function("lengths", udf(lengths, result_type=DataTypes.BIGINT(), func_type="pandas"))
    env.execute_sql(SOURCE.format(topic=TOPIC, kafka=settings.kafka_bootstrap))
    env.execute_sql("CREATE TEMPORARY TABLE nowhere (size BIGINT) WITH ('connector' = 'blackhole')")
    extra = "".join(f", CAST(headers['{name}'] AS STRING)" for name in HEADERS) if variant == "headers" else ""
    env.execute_sql(f"INSERT INTO nowhere SELECT lengths(payload{extra}) FROM events")


def measure(variant: str, rest: FlinkRest) -> float:
    """Seconds that one job takes from its start to its end."""
    job_id = flink_run(load(), Path(__file__), ["--job", variant])
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
    parser.add_argument("--job", default="")
    arguments = parser.parse_args(argv)
    if arguments.job:
        job(arguments.job)
        return
    with bench_stack():
        settings = load(events_topic=TOPIC)
        topics.apply(settings)
        headers = [(name, b"a-value-of-some-length") for name in HEADERS]
        with Sender(settings) as sender:
            for index in range(arguments.events):
                value = event(index, index % 1_000, 1_700_000_000_000)
                sender.send(TOPIC, value, partition=index % settings.topic_partitions, headers=headers)
        rest = FlinkRest(settings.flink_rest_url)
        seconds: dict[str, list[float]] = {"payload": [], "headers": []}
        for _ in range(arguments.rounds):
            for variant, taken in seconds.items():
                taken.append(measure(variant, rest))
                sys.stdout.write(json.dumps({"job": variant, "seconds": taken[-1]}) + "\n")
                sys.stdout.flush()
    cost_s = statistics.median(seconds["headers"]) - statistics.median(seconds["payload"])
    sys.stdout.write(json.dumps({"headers_us_per_event": round(cost_s / arguments.events * 1e6, 2)}) + "\n")


if __name__ == "__main__":
    main()
