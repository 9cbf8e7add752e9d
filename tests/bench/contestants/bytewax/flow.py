"""bytewax with recovery: ids and totals of a customer in memory, snapshots by its recovery store, upserts."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

import bytewax.operators as op
import orjson
import psycopg
from bytewax.connectors.kafka import KafkaSource
from bytewax.dataflow import Dataflow
from bytewax.operators import StatefulBatchLogic
from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition

from tests.bench.contestants.common import (
    BOOTSTRAP,
    POSTGRES,
    TOPIC,
    UPSERT_MINUTE,
    UPSERT_PERIOD,
    Counted,
    columns,
    counted,
    mark_first,
)  # fmt: skip

FLUSH_S = 1.0
Changed = tuple[str, dict[tuple[str, str], tuple[int, float]], dict[tuple[str, str], tuple[int, float]]]


class Customer(StatefulBatchLogic):
    """All a customer has: ids that were seen, and totals by meter and bucket."""

    def __init__(self, state: Any) -> None:
        self.ids, self.minutes, self.periods = state or (set(), {}, {})

    def on_batch(self, values: list[Counted]) -> tuple[Iterable[Changed], bool]:
        minutes, periods = set(), set()
        for event in values:
            if event.id not in self.ids:
                self.ids.add(event.id)
                minutes.add(self._grown(self.minutes, (event.meter, event.minute), event.quantity))
                periods.add(self._grown(self.periods, (event.meter, event.period), event.quantity))
        if not minutes:
            return [], StatefulBatchLogic.RETAIN
        changed = {key: self.minutes[key] for key in minutes}, {key: self.periods[key] for key in periods}
        return [(values[0].customer, *changed)], StatefulBatchLogic.RETAIN

    @staticmethod
    def _grown(totals: dict[Any, tuple[int, float]], key: Any, quantity: float) -> Any:
        n, total = totals.get(key, (0, 0.0))
        totals[key] = n + 1, total + quantity
        return key

    def snapshot(self) -> Any:
        return set(self.ids), dict(self.minutes), dict(self.periods)


class Part(StatefulSinkPartition):
    """Last values, written once a second and before each snapshot."""

    def __init__(self) -> None:
        self.postgres = psycopg.connect(POSTGRES)
        self.minutes, self.periods, self.flushed = {}, {}, time.monotonic()

    def write_batch(self, values: list[Changed]) -> None:
        for customer, minutes, periods in values:
            self.minutes |= {(customer, *key): value for key, value in minutes.items()}
            self.periods |= {(customer, *key): value for key, value in periods.items()}
        if time.monotonic() - self.flushed > FLUSH_S:
            self.flush()

    def flush(self) -> None:
        if self.minutes:
            with self.postgres.transaction(), self.postgres.cursor() as cursor:
                cursor.execute(UPSERT_MINUTE, columns(self.minutes))
                cursor.execute(UPSERT_PERIOD, columns(self.periods))
        self.minutes, self.periods, self.flushed = {}, {}, time.monotonic()

    def snapshot(self) -> None:
        self.flush()

    def close(self) -> None:
        self.flush()


class Rows(FixedPartitionedSink):
    """A part a worker."""

    def list_parts(self) -> list[str]:
        return ["0", "1"]

    def part_fn(self, item_key: str) -> int:
        return int(item_key[-1])

    def build_part(self, _step_id: str, _part: str, _state: Any) -> Part:
        return Part()


def parsed(messages: list[Any]) -> list[tuple[str, Counted]]:
    mark_first()
    events = (counted(orjson.loads, message.value, message.timestamp[1]) for message in messages)
    return [(event.customer, event) for event in events if event is not None]


flow = Dataflow("contest")
source = op.input("events", flow, KafkaSource([BOOTSTRAP], [TOPIC], tail=True, batch_size=10_000))
totals = op.stateful_batch("totals", op.flat_map_batch("parse", source, parsed), Customer)
op.output("rows", op.map("by_customer", totals, lambda item: (item[0], item[1])), Rows())
