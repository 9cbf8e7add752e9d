"""Writes records of a topic as a reader in read_committed gets them: time in ms, tab, value; until it is ended.

python -m tests.bench.tools.watch --bootstrap HOST --topic T --to FILE
"""

from __future__ import annotations

import argparse
import signal
import time
from pathlib import Path
from types import FrameType

from confluent_kafka import Consumer, TopicPartition


class Ended:
    """Whether the end was asked for."""

    def __init__(self) -> None:
        self.asked = False
        signal.signal(signal.SIGTERM, self._ask)

    def _ask(self, _number: int, _frame: FrameType | None) -> None:
        self.asked = True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bootstrap", required=True)
    parser.add_argument("--topic", required=True)
    parser.add_argument("--to", type=Path, required=True)
    asked = parser.parse_args()
    ended = Ended()
    consumer = Consumer(
        {
            "bootstrap.servers": asked.bootstrap, "group.id": "bench-watch", "isolation.level": "read_committed",
            "enable.auto.commit": False, "auto.offset.reset": "earliest", "fetch.wait.max.ms": 20,
        },
    )  # fmt: skip
    partitions = consumer.list_topics(asked.topic, 20).topics[asked.topic].partitions
    consumer.assign([TopicPartition(asked.topic, number, 0) for number in partitions])
    with asked.to.open("wb") as file:
        while not ended.asked:
            messages = consumer.consume(1_000, 0.02)
            now_ms = time.time_ns() // 1_000_000
            for message in messages:
                if message.error() is None:
                    file.write(b"%d\t%b\n" % (now_ms, message.value()))
            file.flush()
    consumer.close()


if __name__ == "__main__":
    main()
