"""Writes what a topic holds for readers in read_committed to a file: broker's time in ms, tab, value.

python -m tests.bench.tools.dump --bootstrap HOST --topic T --to FILE
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from confluent_kafka import Consumer, KafkaError, TopicPartition

# Without a record for so long nothing more can be read: what is not committed stays out of reach.
STALL_S = 20.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bootstrap", required=True)
    parser.add_argument("--topic", required=True)
    parser.add_argument("--to", type=Path, required=True)
    asked = parser.parse_args()
    consumer = Consumer(
        {
            "bootstrap.servers": asked.bootstrap, "group.id": "bench-dump", "isolation.level": "read_committed",
            "enable.auto.commit": False, "enable.partition.eof": True, "auto.offset.reset": "earliest",
        },
    )  # fmt: skip
    partitions = consumer.list_topics(asked.topic, 20).topics[asked.topic].partitions
    consumer.assign([TopicPartition(asked.topic, number, 0) for number in partitions])
    ended: set[int] = set()
    read, moved = 0, time.monotonic()
    with asked.to.open("wb") as file:
        while len(ended) < len(partitions):
            for message in consumer.consume(5_000, 0.5):
                moved = time.monotonic()
                error = message.error()
                if error is None:
                    file.write(b"%d\t%b\n" % (message.timestamp()[1], message.value()))
                    read += 1
                elif error.code() == KafkaError._PARTITION_EOF:
                    ended.add(message.partition())
            if time.monotonic() - moved > STALL_S:
                raise SystemExit(f"{asked.topic} could not be read to its end within {STALL_S:.0f} s")
    consumer.close()
    sys.stdout.write(f"{read}\n")


if __name__ == "__main__":
    main()
