"""Limits benchmark: from the instant the event that reaches a cap was due, to `denied` in Redis and to the alert.

    .venv/bin/python -m tests.bench.limits --rate 5000 --seconds 60

Ten thousand customers, each with a hard cap that one event of the run reaches; which one is spread evenly over the run.
An alert is visible when a read_committed consumer, in a process of its own, has it. Overshoot is what a customer used
after its cap was reached and before Redis said so, in seconds of its traffic.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import yaml
from kafka import KafkaConsumer

from jobs.flink.rest import FlinkRest
from jobs.flink.submit import submit
from tests.bench import load as events
from tests.bench.stack import bench_stack, wait_ended
from tidemark.catalog import tool as catalog_tool
from tidemark.core import migrate, topics
from tidemark.core.kafka import Sender
from tidemark.core.redis import client
from tidemark.core.settings import Settings, load
from tidemark_client.keys import counter_key

CUSTOMERS = 10_000
SAMPLED = 2_000
CAP = 1_000
# A JVM that is still compiling takes this long to reach its pace; figures before and after are reported separately.
WARM_UP_S = 45
BURST_S = 0.01
SETTLE_S = 5.0


def apply_catalog(settings: Settings) -> None:
    """One tenant whose customers have a hard cap each."""
    meter = {"event_types": ["api_call"], "aggregation": "sum", "unit": "call"}
    limit = {"cap": CAP, "mode": "hard", "thresholds": []}
    tenant = {"meters": {events.METER: meter}, "limits": {events.METER: limit}}
    with NamedTemporaryFile("w", suffix=".yaml") as file:
        yaml.safe_dump({"tenants": {events.TENANT: tenant}}, file)
        file.flush()
        catalog_tool.apply(settings, Path(file.name), backdate=True)


def crossing_turn(customer: int, turns: int) -> int:
    """Which of its events takes a customer to its cap: spread evenly over all but the first and the last two."""
    return 1 + customer % max(1, turns - 3)


def payload(index: int, customer: int, turn: int, crossing: int, at_ms: int) -> bytes:
    """The first event leaves as much as the later ones, of one each, need to reach the cap at their turn."""
    quantity = CAP - crossing if turn == 0 else 1
    return events.event(index, customer, at_ms, quantity=str(quantity))


class Denials(threading.Thread):
    """Reads sampled counters once a second: when each was first written with `denied`."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(daemon=True)
        self._redis = client(settings.redis)
        self._open = {
            customer: counter_key(settings.names.redis_prefix, events.TENANT, f"customer-{customer:06d}", events.METER)
            for customer in range(0, CUSTOMERS, CUSTOMERS // SAMPLED)
        }
        self._ended = threading.Event()
        self.seen_ms: dict[int, tuple[int, int]] = {}

    def run(self) -> None:
        """Sample until the end is requested."""
        while not self._ended.wait(1.0):
            self.sample()

    def sample(self) -> None:
        """Read what was not denied yet; n tells which event the write holds."""
        asked = list(self._open.items())
        pipeline = self._redis.pipeline(transaction=False)
        for _, key in asked:
            pipeline.hmget(key, "denied", "n", "updated_at")
        for (customer, _), (denied, n, updated_at) in zip(asked, pipeline.execute(), strict=True):
            if denied == "1":
                self.seen_ms[customer] = int(n), int(updated_at)
                del self._open[customer]

    def end(self) -> None:
        """Stop sampling and wait for the thread."""
        self._ended.set()
        self.join()


def watch_alerts(settings: Settings, ready: Any, ended: Any, found: Any) -> None:
    """Customer and time of each alert about a cap, as a reader gets them."""
    consumer = KafkaConsumer(
        settings.names.alerts, bootstrap_servers=settings.kafka.servers, group_id=None,
        isolation_level="read_committed", auto_offset_reset="earliest", fetch_max_wait_ms=20,
    )  # fmt: skip
    seen: dict[int, int] = {}
    consumer.poll(100)
    ready.set()
    while not ended.is_set():
        for records in consumer.poll(100).values():
            now_ms = time.time_ns() // 1_000_000
            for record in records:
                alert = json.loads(record.value)
                if alert["type"] == "limit.exceeded":
                    seen.setdefault(int(alert["data"]["customer_id"].removeprefix("customer-")), now_ms)
    consumer.close()
    found.put(seen)


def send(settings: Settings, rate: int, seconds: int) -> dict[int, tuple[int, int]]:
    """Send at a steady rate, round robin; by customer the due time and turn of the event that reaches its cap."""
    due_ms: dict[int, tuple[int, int]] = {}
    turns = rate * seconds // CUSTOMERS
    with Sender(settings.kafka) as sender:
        start = time.time() + 0.5
        for index in range(turns * CUSTOMERS):
            due = start + index / rate
            while (ahead := due - time.time()) > BURST_S:
                time.sleep(ahead)
            turn, customer = divmod(index, CUSTOMERS)
            crossing, at_ms = crossing_turn(customer, turns), int(due * 1_000)
            if turn == crossing:
                due_ms[customer] = at_ms, turn
            value = payload(index, customer, turn, crossing, at_ms)
            sender.send(settings.topics.events, value, partition=index % settings.topics.partitions)
    return due_ms


def measure(settings: Settings, rate: int, seconds: int) -> dict[str, Any]:
    """One run at one rate."""
    context = multiprocessing.get_context("spawn")
    ready, ended, found = context.Event(), context.Event(), context.Queue()
    reader = context.Process(target=watch_alerts, args=(settings, ready, ended, found), daemon=True)
    reader.start()
    ready.wait(60)
    denials = Denials(settings)
    denials.start()
    due_ms = send(settings, rate, seconds)
    warm_ms = min(at for at, _ in due_ms.values()) + WARM_UP_S * 1_000
    time.sleep(SETTLE_S)  # what is not there by then is missing from the figures, and the counts show it
    denials.sample()
    denials.end()
    ended.set()
    alerts = found.get(timeout=30)
    denied = {customer: at - due_ms[customer][0] for customer, (_, at) in denials.seen_ms.items()}
    alerted = {customer: at - due_ms[customer][0] for customer, at in alerts.items() if customer in due_ms}
    cold = {customer for customer, (at, _) in due_ms.items() if at < warm_ms}
    # One event more is what a customer sends in CUSTOMERS / rate seconds.
    over = {customer: (n - 1 - due_ms[customer][1]) * CUSTOMERS / rate for customer, (n, _) in denials.seen_ms.items()}
    return {
        "rate": rate, "seconds": seconds, "customers": CUSTOMERS, "capped": len(due_ms), "alerted": len(alerted),
        **{
            name: {
                "denied": figures([ms for customer, ms in denied.items() if (customer in cold) == is_cold]),
                "alert": figures([ms for customer, ms in alerted.items() if (customer in cold) == is_cold]),
                "overshoot_s_max": max((s for customer, s in over.items() if (customer in cold) == is_cold), default=0),
            }
            for name, is_cold in (("first_45_s", True), ("after", False))
        },
    }  # fmt: skip


def figures(found: list[int]) -> dict[str, int]:
    """How many, and percentiles in ms."""
    found = sorted(found)

    def percentile(share: float) -> int:
        return found[min(len(found) - 1, int(share * len(found)))] if found else -1

    return {"count": len(found), "p50_ms": percentile(0.5), "p99_ms": percentile(0.99), "max_ms": percentile(1.0)}


def main(argv: Sequence[str] | None = None) -> None:
    """Print one JSON line per run."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--rate", type=int, nargs="+", default=[5_000])
    parser.add_argument("--seconds", type=int, default=120)
    parser.add_argument("--rounds", type=int, default=2)
    arguments = parser.parse_args(argv)
    with bench_stack():
        for index in range(arguments.rounds):
            for rate in arguments.rate:
                run = f"limits_{rate}_{index}"
                settings = load(run_id=run, **{"topics.events": f"bench.{run}"})
                topics.apply(settings)
                migrate.migrate(settings)
                apply_catalog(settings)
                rest = FlinkRest(settings.flink)
                job = submit(settings, "meter").job_id
                rest.wait_running(job)
                sys.stdout.write(json.dumps(measure(settings, rate, arguments.seconds)) + "\n")
                sys.stdout.flush()
                rest.cancel(job)
                wait_ended(rest, settings.names.job("meter"))


if __name__ == "__main__":
    main()
