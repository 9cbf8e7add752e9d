"""From the instant an event was due: to Redis, to `denied`, to the alert; on a fresh TaskManager, then warm."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from jobs.flink import submit
from jobs.flink.rest import wait_until
from jobs.flink.warm_up import warm_up
from tests.bench.events import CUSTOMERS, TENANT
from tests.bench.pace import METER, Stage, Stream
from tests.bench.report.results import Found
from tests.bench.report.stats import percentile
from tests.bench.world import NotFinished, World, apply_catalog, stages
from tidemark.core.redis import client
from tidemark.core.settings import Settings
from tidemark_client.keys import counter_key

SAMPLED = 2_000
SAMPLE_S = 1.0
# The first stage begins on a TaskManager that has compiled nothing; it is warm when this has passed.
COLD_S, WARM_S = 10, 20
# Later stages follow another rate: the first seconds are not theirs.
CHANGE_S = 3
# What the rate of the first stage is called when it comes again: by then everything is compiled.
AGAIN = "warm"
SETTLE_S = 30.0


@dataclass
class Counters(threading.Thread):
    """Reads sampled counters once a second: when each was written with which n, and when first with `denied`."""

    settings: Settings
    seen_ms: dict[tuple[int, int], int] = field(default_factory=dict)
    denied_ms: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__init__(daemon=True)
        self._redis = client(self.settings.redis)
        self._ended = threading.Event()
        self._customers = range(0, CUSTOMERS, CUSTOMERS // SAMPLED)

    __hash__ = threading.Thread.__hash__

    def run(self) -> None:
        """Sample until the end is asked for."""
        while not self._ended.wait(SAMPLE_S):
            self.sample()

    def sample(self) -> None:
        """Read all sampled counters once."""
        for customer, (n, updated_at, denied) in self.read(self._customers):
            if n is not None:
                self.seen_ms.setdefault((customer, int(n)), int(updated_at))
            if denied == "1":
                self.denied_ms.setdefault(customer, int(updated_at))

    def read(self, customers: Iterable[int]) -> Iterator[tuple[int, list[str | None]]]:
        """n, the time of the write and `denied` of customers."""
        asked = list(customers)
        pipeline = self._redis.pipeline(transaction=False)
        for customer in asked:
            key = counter_key(self.settings.names.redis_prefix, TENANT, f"customer-{customer:06d}", METER)
            pipeline.hmget(key, "n", "updated_at", "denied")
        return zip(asked, pipeline.execute(), strict=True)

    def counted(self) -> int:
        """Events in all counters."""
        return sum(int(n or 0) for _, (n, *_) in self.read(range(CUSTOMERS)))

    def end(self) -> None:
        """Take a last sample."""
        self._ended.set()
        self.join()
        self.sample()


def latencies_ms(stream: Stream, seen_ms: dict[tuple[int, int], int]) -> dict[int, float]:
    """By event, from due to the first write seen that holds it: a total of n holds the first n of its customer."""
    held: dict[int, int] = {}
    result: dict[int, float] = {}
    for (customer, n), at_ms in sorted(seen_ms.items()):
        for index in range(held.get(customer, 0) * CUSTOMERS + customer, min(n * CUSTOMERS, stream.count), CUSTOMERS):
            result[index] = at_ms - stream.due_s(index) * 1_000
        held[customer] = n
    return result


def part_of(stream: Stream, index: int) -> str:
    """Which row of the table an event belongs to; empty for none."""
    stage = stream.stage_of(index)
    rate = f"{stream.stages[stage].rate:,}/s".replace(",", " ")
    since_s = stream.due_s(index) - stream.start_s - sum(before.seconds for before in stream.stages[:stage])
    if stage:
        again = f", {AGAIN}" if stream.stages[stage].rate == stream.stages[0].rate else ""
        return rate + again if since_s >= CHANGE_S else ""
    if since_s < COLD_S:
        return f"{rate}, first {COLD_S} s"
    return rate if since_s >= WARM_S else ""


def add_latencies(found: Found, stream: Stream, values: dict[int, float], suffix: str = "") -> None:
    """Percentiles of each part of a stream."""
    parts: dict[str, list[float]] = {}
    for index in sorted(values):
        parts.setdefault(part_of(stream, index), []).append(values[index])
    for part, taken in parts.items():
        if part:
            found.add(part + suffix, p50_ms=percentile(taken, 0.5), p99_ms=percentile(taken, 0.99),
                      max_ms=max(taken), sampled=len(taken))  # fmt: skip


def alerted_ms(file: Path) -> dict[int, int]:
    """By customer, when the alert about its cap could be read."""
    seen: dict[int, int] = {}
    for line in file.read_text(encoding="utf-8").splitlines():
        at_ms, _, value = line.partition("\t")
        alert = json.loads(value)
        if alert["type"] == "limit.exceeded":
            seen.setdefault(int(alert["data"]["customer_id"].removeprefix("customer-")), int(at_ms))
    return seen


def crossings(stream: Stream) -> dict[int, int]:
    """By customer, the event that takes it to its cap."""
    return {customer: stream.crossing(customer) * CUSTOMERS + customer for customer in range(CUSTOMERS)}


@contextmanager
def watching(world: World, settings: Settings, topic: str, file: Path) -> Iterator[None]:
    """A reader of a topic in a process of its own."""
    process = world.tool("watch", settings, topic, "--to", str(file))
    try:
        wait_until(file.exists, 30, "the reader of alerts")
        yield
    finally:
        process.terminate()
        process.wait()


def run(world: World, rates: tuple[Stage, ...], *, warmed: bool = True) -> dict[str, Found]:
    """Latencies of one job at some rates, the first one with caps; on a fresh TaskManager, after a warm-up or without.

    Raises
    ------
    NotFinished
        Not all events came to Redis, or not all caps to the alerts.
    """
    world.fresh_taskmanager()
    settings = world.settings("live", **{"topics.events": f"bench.live.{world.number}"})
    world.prepare(settings)
    apply_catalog(settings, caps=True)
    if warmed:
        world.say(f"  warmed up for {warm_up(settings):.0f} s")
    job = submit.submit(settings, "meter").job_id
    world.rest().wait_running(job)
    file = world.folder / "alerts.tsv"
    file.unlink(missing_ok=True)
    try:
        with watching(world, settings, settings.names.alerts, file):
            stream = Stream(time.time() + 1.5, rates, caps=True)
            counters = _counted(world, settings, stream)
            caps = crossings(stream) if stream.turns > 2 else {}
            _wait_alerts(file, len(caps))
    finally:
        world.cancel(settings)
        apply_catalog(settings)
    return _found(stream, counters, caps, alerted_ms(file))


def _counted(world: World, settings: Settings, stream: Stream) -> Counters:
    counters = Counters(settings)
    counters.start()
    try:
        world.send(settings, "stream", "--start", repr(stream.start_s), "--caps", *stages(stream.stages))
        _wait_counted(counters, stream.count)
    finally:
        counters.end()
    return counters


def _found(stream: Stream, counters: Counters, caps: dict[int, int], alerts: dict[int, int]) -> dict[str, Found]:
    live, limits = Found(), Found()
    add_latencies(live, stream, latencies_ms(stream, counters.seen_ms))
    for suffix, at_ms in ((": denied", counters.denied_ms), (": alert", alerts)):
        taken = {caps[who]: ms - stream.due_s(caps[who]) * 1_000 for who, ms in at_ms.items() if who in caps}
        add_latencies(limits, stream, taken, suffix)
    return {"live": live, "limits": limits}


def _wait_counted(counters: Counters, count: int) -> None:
    deadline = time.monotonic() + SETTLE_S
    while (counted := counters.counted()) != count:
        if time.monotonic() > deadline:
            raise NotFinished(f"{counted} of {count} events are in Redis {SETTLE_S:.0f} s after the last one was sent")
        time.sleep(0.5)


def _wait_alerts(file: Path, count: int) -> None:
    deadline = time.monotonic() + SETTLE_S
    while (alerted := len(alerted_ms(file))) < count:
        if time.monotonic() > deadline:
            raise NotFinished(f"{alerted} of {count} alerts were published")
        time.sleep(0.5)
