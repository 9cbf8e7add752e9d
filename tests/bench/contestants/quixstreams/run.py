"""quixstreams, exactly-once: ids and totals in its RocksDB state, absolute totals written at each checkpoint."""

from __future__ import annotations

from typing import Any

import orjson
import psycopg
from quixstreams import Application
from quixstreams.sinks import BatchingSink, SinkBatch

from tests.bench.contestants.common import (
    BOOTSTRAP,
    GROUP,
    POSTGRES,
    PROCESS,
    TOPIC,
    UPSERT_MINUTE,
    UPSERT_PERIOD,
    WORK,
    columns,
    counted,
    mark_first,
)  # fmt: skip

CHECKPOINT_S = 2.0


class LastValues(BatchingSink):
    """Writes the last value of each total before the offsets of its checkpoint: idempotent."""

    def setup(self) -> None:
        self.postgres = psycopg.connect(POSTGRES)

    def write(self, batch: SinkBatch) -> None:
        minutes, periods = {}, {}
        for item in batch:
            customer, meter, minute, period, of_minute, of_period = item.value
            minutes[customer, meter, minute] = tuple(of_minute)
            periods[customer, meter, period] = tuple(of_period)
        with self.postgres.transaction(), self.postgres.cursor() as cursor:
            cursor.execute(UPSERT_MINUTE, columns(minutes))
            cursor.execute(UPSERT_PERIOD, columns(periods))


def grown(state: Any, key: str, quantity: float) -> tuple[int, float]:
    n, total = state.get(key, (0, 0.0))
    state.set(key, (n + 1, total + quantity))
    return n + 1, total + quantity


def step(payload: bytes, _key: Any, timestamp: int, _headers: Any, state: Any) -> Any:
    mark_first()
    event = counted(orjson.loads, payload, timestamp)
    if event is None or state.exists(event.id):
        return None
    state.set(event.id, 1)
    of_minute = grown(state, f"{event.meter} {event.minute}", event.quantity)
    of_period = grown(state, f"{event.meter} {event.period}", event.quantity)
    return event.customer, event.meter, event.minute, event.period, of_minute, of_period


def main() -> None:
    app = Application(
        BOOTSTRAP, consumer_group=GROUP, auto_offset_reset="earliest", commit_interval=CHECKPOINT_S,
        state_dir=WORK / f"state-{PROCESS}", processing_guarantee="exactly-once",
        producer_extra_config={"compression.type": "lz4"},
    )  # fmt: skip
    topic = app.topic(TOPIC, value_deserializer="bytes", key_deserializer="str")
    frame = app.dataframe(topic).apply(step, stateful=True, metadata=True)
    frame.filter(lambda row: row is not None).sink(LastValues())
    app.run()


if __name__ == "__main__":
    main()
