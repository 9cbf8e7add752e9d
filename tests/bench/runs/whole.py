"""The whole stack at once: three jobs, services, roles; from event to minute row, a sustained rate, memory."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Mapping
from datetime import UTC, datetime

from jobs.flink import submit
from tests.bench.cpu import memory_gib
from tests.bench.events import CUSTOMERS
from tests.bench.pace import METER, Stage, Stream
from tests.bench.report.results import Found
from tests.bench.report.stats import percentile
from tests.bench.world import NotFinished, World, connected, limit_s, stages
from tests.pipeline import read_offsets
from tidemark.core.settings import Settings, load

# The first part of the slow stage is that of jobs that have just begun; a short stage has but a third of it.
BEGIN_S = 20
# Written to the rows of customers: (customer, minute) to (n, when).
Seen = dict[tuple[int, datetime], list[tuple[int, float]]]


class MinuteRows(threading.Thread):
    """Reads rows of minutes that were written since the last look, once a second."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(daemon=True)
        self._settings = settings
        self._ended = threading.Event()
        self.seen: Seen = defaultdict(list)

    def run(self) -> None:
        """Look until the end is asked for."""
        query = (
            f"SELECT customer_id, minute_start, n, updated_at FROM {self._settings.names.usage_schema}.usage_minute"
            " WHERE updated_at > %s AND meter = %s"
        ).encode()
        last = datetime.now(UTC)
        with connected() as connection:
            while not self._ended.wait(1.0):
                for customer, minute, n, at in connection.execute(query, [last, METER]).fetchall():
                    self.seen[int(customer.removeprefix("customer-")), minute].append((n, at.timestamp()))
                    last = max(last, at)

    def end(self) -> None:
        """Stop looking."""
        self._ended.set()
        self.join()


def due_by_minute(stream: Stream, last: int) -> dict[tuple[int, datetime], list[int]]:
    """Events of each customer and minute, in order; the first `last` events of a stream."""
    result: dict[tuple[int, datetime], list[int]] = defaultdict(list)
    for index in range(last):
        due = datetime.fromtimestamp(int(stream.due_s(index)) // 60 * 60, UTC)
        result[index % CUSTOMERS, due].append(index)
    return result


def to_row_ms(
    stream: Stream, seen: Mapping[tuple[int, datetime], list[tuple[int, float]]], last: int
) -> dict[int, float]:
    """By event, from due to the first row seen that holds it."""
    result: dict[int, float] = {}
    for key, indices in due_by_minute(stream, last).items():
        held = 0
        for n, at_s in sorted(seen.get(key, [])):
            for index in indices[held:n]:
                result[index] = (at_s - stream.due_s(index)) * 1_000
            held = max(held, n)
    return result


def run(world: World, slow: Stage, fast: Stage) -> dict[str, Found]:
    """Rows at a slow rate, then the lag at a fast one.

    Raises
    ------
    NotFinished
        Not everything was stored within `limit_s` of the last event.
    """
    settings = load(**{"topics.events": f"bench.whole.{world.number}"})
    world.prepare(settings)
    try:
        world.stack.supervisor.start_program("serve")
        job = submit.submit_all(settings)["meter"].job_id
        submit.submit(settings, "anomaly")
        return _measured(world, settings, job, (slow, fast))
    finally:
        world.cancel(settings)
        world.stack.supervisor.stop_program("serve")


def _measured(world: World, settings: Settings, job: str, rates: tuple[Stage, Stage]) -> dict[str, Found]:
    rows = MinuteRows(settings)
    rows.start()
    stream = Stream(time.time() + 1.5, rates)
    process = world.sending(settings, "stream", "--start", repr(stream.start_s), *stages(rates))
    try:
        lags = _lags(world, settings, job, stream)
        memory = memory_gib(world.root)
        process.wait()
        _wait_stored(settings, stream.count)
    finally:
        process.kill()
        rows.end()
    return _found(stream, rows.seen, lags, memory)


def _lags(world: World, settings: Settings, job: str, stream: Stream) -> list[tuple[float, int]]:
    """When, and events read, at the middle and at the end of the fast stage."""
    end_s = stream.start_s + sum(stage.seconds for stage in stream.stages)
    looks = []
    for at_s in (end_s - stream.stages[-1].seconds / 2, end_s):
        time.sleep(max(0.0, at_s - time.time()))
        read = read_offsets(world.rest(), job, settings.topics.events)
        looks.append((time.time(), sum(read.values()) + len(read)))
    return looks


def _wait_stored(settings: Settings, count: int) -> None:
    longest_s = limit_s(count)
    deadline = time.monotonic() + longest_s
    query = f"SELECT coalesce(sum(n), 0) FROM {settings.names.usage_schema}.usage_period WHERE meter = %s"
    with connected() as connection:
        while (stored := connection.execute(query.encode(), [METER]).fetchall()[0][0]) != count:
            if time.monotonic() > deadline:
                raise NotFinished(f"{stored} of {count} events were stored {longest_s:.0f} s after the last one")
            time.sleep(1)


def _found(stream: Stream, seen: Seen, lags: list[tuple[float, int]], memory: Mapping[str, float]) -> dict[str, Found]:
    minutes, sustained, loaded = Found(), Found(), Found()
    slow, fast = stream.stages
    taken = to_row_ms(stream, seen, slow.count)
    begin_s = min(BEGIN_S, slow.seconds // 3)
    values = [ms for index, ms in taken.items() if index >= begin_s * slow.rate]
    subject = f"{slow.rate:,}/s".replace(",", " ")
    minutes.add(subject, p50_ms=percentile(values, 0.5), p99_ms=percentile(values, 0.99), max_ms=max(values),
                sampled=len(values))  # fmt: skip
    (half_s, half), (end_s, end) = lags
    offered = f"{fast.rate:,}/s offered for {fast.seconds} s".replace(",", " ")
    sustained.add("read in the second half", events_per_s=(end - half) / (end_s - half_s))
    sustained.add(offered, lag_events=max(0, stream.count - end))
    for name, gib in sorted(memory.items()):
        loaded.add(f"{name}, under load", gib=gib)
    loaded.add("all, under load", gib=sum(memory.values()))
    return {"minute_row": minutes, "sustained": sustained, "memory_load": loaded}
