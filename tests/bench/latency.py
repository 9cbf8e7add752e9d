"""Latency benchmark: from the instant an event was due to be sent until Redis shows the total that holds it.

    .venv/bin/python -m tests.bench.latency --rate 1000 --seconds 90

Due time, not send time: a sender that falls behind makes the figure worse instead of hiding it. A sample of the
customers is read once a second; the total's `n` tells which event it holds, `updated_at` when the worker wrote it.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time
from collections.abc import Sequence
from typing import Any

from jobs.flink.rest import FlinkRest
from jobs.flink.submit import submit
from tests.bench import load as events
from tests.bench.stack import bench_stack, wait_ended
from tidemark.core import migrate, topics
from tidemark.core.kafka import Sender
from tidemark.core.redis import client
from tidemark.core.settings import Settings, load
from tidemark_client.keys import counter_key

CUSTOMERS = 10_000
SAMPLED = 2_000
# A JVM that is still compiling takes this long to reach its pace.
WARM_UP_S = 45
BURST_S = 0.01


class Sampler(threading.Thread):
    """Reads the sampled counters once a second and keeps (customer, n, updated_at)."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(daemon=True)
        self._redis = client(settings.redis)
        self._keys = [
            counter_key(settings.names.redis_prefix, events.TENANT, f"customer-{customer:06d}", events.METER)
            for customer in range(0, CUSTOMERS, CUSTOMERS // SAMPLED)
        ]
        self._ended = threading.Event()
        self.seen: dict[tuple[int, int], int] = {}

    def run(self) -> None:
        """Sample until the end is requested."""
        while not self._ended.wait(1.0):
            self.sample()

    def sample(self) -> None:
        """Read all sampled counters once."""
        pipeline = self._redis.pipeline(transaction=False)
        for key in self._keys:
            pipeline.hmget(key, "n", "updated_at")
        for position, (n, updated_at) in enumerate(pipeline.execute()):
            if n is not None:
                self.seen.setdefault((position * (CUSTOMERS // SAMPLED), int(n)), int(updated_at))

    def end(self) -> None:
        """Stop sampling and wait for the thread."""
        self._ended.set()
        self.join()


def send(settings: Settings, rate: int, seconds: int) -> list[int]:
    """Send at a steady rate, round robin over the customers; due times in epoch milliseconds, by event."""
    due_ms: list[int] = []
    with Sender(settings.kafka) as sender:
        start = time.time() + 0.5
        for index in range(rate * seconds):
            due = start + index / rate
            while (ahead := due - time.time()) > BURST_S:
                time.sleep(ahead)
            at_ms = int(due * 1_000)
            due_ms.append(at_ms)
            value = events.event(index, index % CUSTOMERS, at_ms)
            sender.send(settings.topics.events, value, partition=index % settings.topics.partitions)
    return due_ms


def latencies_ms(due_ms: list[int], seen: dict[tuple[int, int], int], rate: int) -> list[int]:
    """Latency of each sampled event after the warm-up; the n-th total of a customer holds its n-th event."""
    result = []
    for (customer, n), updated_at in seen.items():
        index = (n - 1) * CUSTOMERS + customer
        if WARM_UP_S * rate <= index < len(due_ms):
            result.append(updated_at - due_ms[index])
    return sorted(result)


def measure(settings: Settings, rate: int, seconds: int) -> dict[str, Any]:
    """One run at one rate."""
    sampler = Sampler(settings)
    sampler.start()
    due_ms = send(settings, rate, seconds)
    time.sleep(2)  # the last ticks; what is not there by then is missing from the sample, and `sampled` shows it
    sampler.sample()
    sampler.end()
    result = latencies_ms(due_ms, sampler.seen, rate)

    def percentile(share: float) -> int:
        return result[min(len(result) - 1, int(share * len(result)))]

    return {"rate": rate, "seconds": seconds, "sampled": len(result), "p50_ms": percentile(0.5),
            "p99_ms": percentile(0.99), "max_ms": result[-1]}  # fmt: skip


def main(argv: Sequence[str] | None = None) -> None:
    """Print one JSON line per run."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--rate", type=int, nargs="+", default=[1_000, 5_000])
    parser.add_argument("--seconds", type=int, default=90)
    parser.add_argument("--rounds", type=int, default=2)
    arguments = parser.parse_args(argv)
    with bench_stack():
        for index in range(arguments.rounds):
            for rate in arguments.rate:
                # A topic and a run of its own: counts start at zero, so `n` names the event.
                run = f"latency_{rate}_{index}"
                settings = load(run_id=run, **{"topics.events": f"bench.{run}"})
                topics.apply(settings)
                migrate.migrate(settings)
                events.apply_catalog(settings)
                rest = FlinkRest(settings.flink)
                job = submit(settings, "meter").job_id
                rest.wait_running(job)
                sys.stdout.write(json.dumps(measure(settings, rate, arguments.seconds)) + "\n")
                sys.stdout.flush()
                rest.cancel(job)
                wait_ended(rest, settings.names.job("meter"))


if __name__ == "__main__":
    main()
