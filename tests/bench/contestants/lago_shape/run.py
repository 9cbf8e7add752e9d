"""All events in a table with a unique key; totals are summed when they are asked for, here once at the end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson
import psycopg
from confluent_kafka import Consumer, TopicPartition

from tests.bench.contestants.common import BOOTSTRAP, EVENTS, GROUP, POSTGRES, SCHEMA, TOPIC, counted, mark_first

BATCH = 5_000
TABLE = f"""
CREATE TABLE IF NOT EXISTS {SCHEMA}.event (
    customer text, id text, meter text NOT NULL, at timestamptz NOT NULL, quantity numeric NOT NULL, payload jsonb,
    PRIMARY KEY (customer, id)
)"""
STAGE = f"CREATE TEMP TABLE stage (LIKE {SCHEMA}.event)"
SUMS = """
INSERT INTO {schema}.{grain}
SELECT customer, meter, date_trunc('{unit}', at, 'UTC'), count(*), sum(quantity) FROM {schema}.event GROUP BY 1, 2, 3
"""


def store(postgres: psycopg.Connection, messages: Sequence[Any]) -> None:
    with postgres.transaction(), postgres.cursor() as cursor:
        with cursor.copy("COPY stage FROM STDIN") as copy:
            for message in messages:
                payload = message.value()
                event = counted(orjson.loads, payload, message.timestamp()[1])
                if event is not None:
                    copy.write_row((event.customer, event.id, event.meter, event.at, event.quantity, payload.decode()))
        cursor.execute(f"INSERT INTO {SCHEMA}.event SELECT * FROM stage ON CONFLICT DO NOTHING")
        cursor.execute("TRUNCATE stage")


def at_end(consumer: Consumer) -> bool:
    """Whether this process has read all of its partitions."""
    places = consumer.committed(consumer.assignment(), 10)
    ends = [consumer.get_watermark_offsets(TopicPartition(TOPIC, place.partition), 10)[1] for place in places]
    return all(place.offset >= end for place, end in zip(places, ends, strict=True))


def main() -> None:
    consumer = Consumer(
        {"bootstrap.servers": BOOTSTRAP, "group.id": GROUP, "auto.offset.reset": "earliest",
         "enable.auto.commit": False},
    )  # fmt: skip
    consumer.subscribe([TOPIC])
    postgres = psycopg.connect(POSTGRES, autocommit=True)
    postgres.execute(TABLE)
    postgres.execute(STAGE)
    read = 0
    while read < EVENTS:
        messages = [message for message in consumer.consume(BATCH, 0.2) if not message.error()]
        if messages:
            mark_first()
            store(postgres, messages)
            # In the background the next batch, which is not stored yet, would be committed too.
            consumer.commit(asynchronous=False)
            read += len(messages)
        elif consumer.assignment() and at_end(consumer):
            break
    with postgres.transaction():
        for grain, unit in (("minute", "minute"), ("period", "month")):
            postgres.execute(SUMS.format(schema=SCHEMA, grain=grain, unit=unit))


if __name__ == "__main__":
    main()
