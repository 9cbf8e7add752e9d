"""A consumer that marks ids in Redis, then adds the new ones to Postgres in one statement a batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson
import psycopg
import redis
from confluent_kafka import Consumer

from tests.bench.contestants.common import (
    ADD_MINUTE,
    ADD_PERIOD,
    BOOTSTRAP,
    GROUP,
    POSTGRES,
    REDIS,
    TOPIC,
    Counted,
    Totals,
    add,
    columns,
    counted,
    mark_first,
)  # fmt: skip

BATCH = 5_000
KEPT_S = 86_400


def new_ones(client: Any, events: Sequence[Counted]) -> list[Counted]:
    pipeline = client.pipeline(transaction=False)
    for event in events:
        pipeline.set(f"{GROUP}:{event.id}", b"", nx=True, ex=KEPT_S)
    return [event for event, is_new in zip(events, pipeline.execute(), strict=True) if is_new]


def main() -> None:
    consumer = Consumer(
        {"bootstrap.servers": BOOTSTRAP, "group.id": GROUP, "auto.offset.reset": "earliest",
         "enable.auto.commit": False},
    )  # fmt: skip
    consumer.subscribe([TOPIC])
    client, postgres = redis.Redis.from_url(REDIS), psycopg.connect(POSTGRES)
    while True:
        messages = [message for message in consumer.consume(BATCH, 0.2) if not message.error()]
        if not messages:
            continue
        mark_first()
        read = (counted(orjson.loads, message.value(), message.timestamp()[1]) for message in messages)
        minutes: Totals = {}
        periods: Totals = {}
        for event in new_ones(client, [event for event in read if event is not None]):
            add(minutes, (event.customer, event.meter, event.minute), 1, event.quantity)
            add(periods, (event.customer, event.meter, event.period), 1, event.quantity)
        with postgres.transaction(), postgres.cursor() as cursor:
            cursor.execute(ADD_MINUTE, columns(minutes))
            cursor.execute(ADD_PERIOD, columns(periods))
        # In the background the next batch, which is not stored yet, would be committed too.
        consumer.commit(asynchronous=False)


if __name__ == "__main__":
    main()
