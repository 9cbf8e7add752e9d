"""Samples events: the newest deltas, the counters and rows they are in, and the events they are made of."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import psycopg
import redis

from tidemark.core.errors import UnavailableError
from tidemark.core.kafka import GroupOffsets, Record
from tidemark.core.names import GROUPS
from tidemark.core.postgres import Database
from tidemark.core.redis import client, translated
from tidemark.core.service import Service, logger
from tidemark.core.settings import Settings
from tidemark.core.topics import has_create_time
from tidemark.latency.sample import Delta, Key, Sample, candidates, is_history, shown_by
from tidemark.latency.tail import Tail
from tidemark_client.keys import counter_key
from udfs.alerts.pipeline import METER_SOURCE
from udfs.events.fields import event_time_ms
from udfs.events.parse import parse
from udfs.events.reasons import Rejected

log = logger("latency")

TIMEOUT_MS = 5_000
# A row that is not there by then is given up, and has taken so long.
GIVE_UP_MS = 900_000
MOST_WAITING = 1_000
TRACEPARENT = "traceparent"
_STORED = """
SELECT extract(epoch FROM updated_at) * 1000 FROM usage_minute
WHERE (tenant_id, customer_id, meter, dims, part) = (%s, %s, %s, %s, '') AND minute_start = to_timestamp(%s)
"""
# The worker decides about limits in the step that writes the counter.
_ALERT = """
SELECT extract(epoch FROM at) * 1000, extract(epoch FROM received_at) * 1000 FROM alert
WHERE (tenant_id, customer_id, meter) = (%s, %s, %s) AND source = %s
    AND at BETWEEN to_timestamp(%s) AND to_timestamp(%s)
ORDER BY at DESC LIMIT 1
"""
_STEP_MS = 1_000


@dataclass(frozen=True, slots=True)
class Sampled:
    """What one step saw: events that stand in Redis, and events whose rows are stored (or were given up)."""

    live: Sequence[Sample]
    stored: Sequence[Sample]


class Sampler:
    """Samples one run; reads a few records, keys and rows a step, whatever the rate of events.

    Parameters
    ----------
    settings:
        Of the run.
    clock:
        Epoch seconds.
    """

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.time) -> None:
        self._settings = settings
        self._clock = clock
        self._by_producer = has_create_time(settings.kafka, settings.topics.events)
        self._tail = Tail(settings)
        self._database = Database(settings.postgres.ops, "latency", settings.names.usage_schema, timeout_ms=TIMEOUT_MS)
        self._redis: redis.Redis | None = None
        self._rollup: GroupOffsets | None = None
        self._seen_ms = clock() * 1_000
        self._waiting: list[Sample] = []

    def sample(self) -> Sampled:
        """Look at what was written since the last call.

        Without Postgres the way to Redis is sampled all the same, and rows are looked for later.

        Raises
        ------
        UnavailableError
            Kafka or Redis cannot be used; the next call goes on.
        """
        live = self._live(candidates(self._tail.new()))
        self._waiting = [*self._waiting, *live][-MOST_WAITING:]
        try:
            return Sampled(live, self._stored())
        except UnavailableError as error:
            log("rows not read", level="warning", error=str(error))
            return Sampled(live, [])

    def close(self) -> None:
        """Give all connections back."""
        self._tail.close()
        self._database.close()
        if self._redis is not None:
            self._redis.close()
        if self._rollup is not None:
            self._rollup.close()

    def _live(self, deltas: dict[Key, list[Delta]]) -> list[Sample]:
        since_ms, self._seen_ms = self._seen_ms, self._clock() * 1_000
        found: dict[tuple[int, int], Sample] = {}
        for many, at_ms in zip(deltas.values(), self._counters_ms(deltas), strict=True):
            # One that was written before the last step was sampled then, or shows an older delta.
            delta = shown_by(at_ms, many, self._settings.meter.tick_ms) if at_ms > since_ms else None
            # An event that feeds several meters is one sample.
            event = (delta.source_partition, delta.source_offset) if delta is not None else None
            if delta is None or event is None or event in found:
                continue
            if (sample := self._made(delta, at_ms)) is not None:
                found[event] = sample
        return list(found.values())

    def _counters_ms(self, keys: Iterable[Key]) -> list[int]:
        """When each counter was written; 0 for one that is not there."""
        with translated(self._settings.redis, self._redis):
            if self._redis is None:
                self._redis = client(self._settings.redis)
            pipeline = self._redis.pipeline(transaction=False)
            for key in keys:
                pipeline.hget(counter_key(self._settings.names.redis_prefix, *key), "updated_at")
            return [int(value or 0) for value in pipeline.execute()]

    def _made(self, delta: Delta, live_ms: int) -> Sample | None:
        # A redriven event keeps its first arrival, which is no latency of the job.
        record = self._tail.event(delta) if delta.source_topic == self._settings.topics.events else None
        if record is None or (self._by_producer and is_history(delta, record.timestamp_ms)):
            return None
        event_ms = self._event_ms(record)
        if event_ms is None:
            return None
        return Sample(delta, event_ms, record.timestamp_ms, live_ms, parent=_parent(record))

    def _event_ms(self, record: Record) -> int | None:
        with suppress(Rejected):
            tenant = self._settings.events.default_tenant
            return event_time_ms(parse(record.value, tenant, record.timestamp_ms))
        return None

    def _stored(self) -> list[Sample]:
        """Samples whose rows are stored, taken off those that wait."""
        if not self._waiting:
            return []
        names = self._settings.names
        if self._rollup is None:
            self._rollup = GroupOffsets(self._settings.kafka, names.group(GROUPS["rollup"]), names.deltas)
        done, now_ms = self._rollup.committed(), int(self._clock() * 1_000)
        # All rows of what a checkpoint of `rollup` covers are written.
        ready, others = _split(self._waiting, lambda one: one.delta.offset < done.get(one.delta.partition, 0))
        late, waiting = _split(others, lambda one: now_ms - one.live_ms > GIVE_UP_MS)
        stored = self._database.run(lambda connection: [_with_row(connection, one) for one in ready]) if ready else []
        self._waiting = waiting
        return [*(one for one in stored if one is not None), *(one.stored(now_ms) for one in late)]


def service(settings: Settings, report: Callable[[Sampled], None]) -> Service[Sampler, Sampled]:
    """Samples every `serve.sample_s`; `report` is given what each step saw."""
    return Service(
        "latency", settings.serve.sample_s, lambda: Sampler(settings), Sampler.sample, log,
        lambda sampled, _: report(sampled),
    )  # fmt: skip


def _split(samples: Iterable[Sample], wanted: Callable[[Sample], bool]) -> tuple[list[Sample], list[Sample]]:
    """The samples that are wanted, and the others."""
    parts: tuple[list[Sample], list[Sample]] = [], []
    for sample in samples:
        parts[0 if wanted(sample) else 1].append(sample)
    return parts


def _with_row(connection: psycopg.Connection, sample: Sample) -> Sample | None:
    """The sample with the last write of its row; None where the row is older: the delta was rolled back in a crash."""
    delta = sample.delta
    found: Any = connection.execute(_STORED, [*delta.key, delta.dims, delta.minute_ms / 1_000]).fetchone()
    if found is None or found[0] < delta.written_ms:
        return None
    around = (sample.live_ms - _STEP_MS) / 1_000, sample.live_ms / 1_000
    alert: Any = connection.execute(_ALERT, [*delta.key, METER_SOURCE, *around]).fetchone()
    return sample.stored(int(found[0]), None if alert is None else (int(alert[0]), int(alert[1])))


def _parent(record: Record) -> str:
    for name, value in record.headers:
        if name == TRACEPARENT and value is not None:
            return value.decode("ascii", "replace")
    return ""
