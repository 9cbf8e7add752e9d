"""What CloudEvents in binary mode would cost: six Kafka headers an event, handed to Python."""

from __future__ import annotations

import statistics
from pathlib import Path

from jobs.flink.rest import wait_until
from tests.bench.events import event
from tests.bench.report.results import Found
from tests.bench.runs.headers_job import HEADERS, TOPIC
from tests.bench.world import FLINK_RUN, World
from tidemark.core import topics
from tidemark.core.kafka import Sender
from tidemark.core.settings import load

JOB = Path(__file__).with_name("headers_job.py")
LIMIT_S = 900
NOW_MS = 1_700_000_000_000


def duration_s(world: World, variant: str) -> float:
    """Seconds that a bounded job takes from its start to its end."""
    rest = world.rest()
    job = FLINK_RUN(load(), JOB, ["--variant", variant])
    wait_until(lambda: rest.details(job)["state"] in {"FINISHED", "FAILED"}, LIMIT_S, f"{variant} to end", every_s=1)
    details = rest.details(job)
    if details["state"] != "FINISHED":
        raise RuntimeError(rest.root_cause(job))
    return float(details["duration"]) / 1_000


def run(world: World, count: int, rounds: int) -> Found:
    """Bounded jobs over one topic in turn, through a function that does nothing: the payload, and it with headers."""
    settings = load(**{"topics.events": TOPIC})
    topics.apply(settings)
    headers = [(name, b"a-value-of-some-length") for name in HEADERS]
    with Sender(settings.kafka) as sender:
        for index in range(count):
            value = event(index, index % 1_000, "api_call", NOW_MS)
            sender.send(TOPIC, value, partition=index % settings.topics.partitions, headers=headers)
    seconds: dict[str, list[float]] = {"payload": [], "headers": []}
    # The first job pays for a cold JVM.
    duration_s(world, "payload")
    for _ in range(rounds):
        for variant, taken in seconds.items():
            taken.append(duration_s(world, variant))
    found = Found()
    cost_s = statistics.median(seconds["headers"]) - statistics.median(seconds["payload"])
    # Wall time of a job that one core limits.
    found.add("six headers", cpu_us=cost_s / count * 1e6)
    return found
