"""Sends events to a topic: a file as fast as it goes, or a stream, each event when it is due.

python -m tests.bench.tools.send --bootstrap HOST --topic T --partitions N file PATH [--round-robin] [--arrival-ms MS]
python -m tests.bench.tools.send --bootstrap HOST --topic T --partitions N stream --start S --stages RATExSECONDS ...
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from confluent_kafka import KafkaError, Message, Producer

from tests.bench.pace import Stage, Stream

# Shorter sleeps than this are not kept.
BURST_S = 0.002
POLL_EVERY = 1_000

Keyed = tuple[int, bytes]


class Sender:
    """A producer that ends with the first record that was not delivered."""

    def __init__(self, bootstrap: str, topic: str) -> None:
        self._producer = Producer(
            {
                "bootstrap.servers": bootstrap, "acks": "all", "enable.idempotence": True, "compression.type": "lz4",
                "linger.ms": 5, "queue.buffering.max.messages": 500_000,
            },
        )  # fmt: skip
        self._topic = topic
        self.sent = 0
        self._failure: KafkaError | None = None

    def send(self, customer: int, value: bytes, partition: int, arrival_ms: int = 0) -> None:
        key = b"customer-%06d" % customer
        while True:
            try:
                self._producer.produce(
                    self._topic, value, key, partition=partition, timestamp=arrival_ms, on_delivery=self._delivered
                )
                break
            except BufferError:
                self._producer.poll(0.05)
        self.sent += 1
        if self.sent % POLL_EVERY == 0:
            self._producer.poll(0)

    def _delivered(self, error: KafkaError | None, _: Message) -> None:
        self._failure = self._failure or error

    def flush(self) -> None:
        left = self._producer.flush(60)
        if left or self._failure:
            raise SystemExit(f"{left} events were not delivered to {self._topic}: {self._failure}")


def lines(file: Path) -> Iterator[Keyed]:
    with file.open("rb") as rows:
        for row in rows:
            customer, _, payload = row.rstrip(b"\n").partition(b"\t")
            yield int(customer), payload


def paced(stream: Stream) -> Iterator[Keyed]:
    """Each event when it is due; one that cannot be sent then is late, and so is what is measured."""
    for index in range(stream.count):
        due = stream.due_s(index)
        while (ahead := due - time.time()) > BURST_S:
            time.sleep(ahead)
        yield stream.payload(index, due)


def stage(text: str) -> Stage:
    rate, _, seconds = text.partition("x")
    return Stage(int(rate), int(seconds))


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bootstrap", required=True)
    parser.add_argument("--topic", required=True)
    parser.add_argument("--partitions", type=int, required=True)
    commands = parser.add_subparsers(dest="command", required=True)
    file = commands.add_parser("file")
    file.add_argument("path", type=Path)
    file.add_argument("--round-robin", action="store_true")
    file.add_argument("--arrival-ms", type=int, default=0, help="of all events, for a topic with CreateTime")
    stream = commands.add_parser("stream")
    stream.add_argument("--start", type=float, required=True)
    stream.add_argument("--stages", type=stage, nargs="+", required=True)
    stream.add_argument("--first", type=int, default=0)
    stream.add_argument("--caps", action="store_true")
    return parser.parse_args()


def main() -> None:
    asked = parsed()
    sender = Sender(asked.bootstrap, asked.topic)
    if asked.command == "file":
        for index, (customer, payload) in enumerate(lines(asked.path)):
            sender.send(
                customer, payload, (index if asked.round_robin else customer) % asked.partitions, asked.arrival_ms
            )
    else:
        for customer, payload in paced(Stream(asked.start, tuple(asked.stages), asked.first, asked.caps)):
            sender.send(customer, payload, customer % asked.partitions)
    sender.flush()
    sys.stdout.write(f"{sender.sent}\n")


if __name__ == "__main__":
    main()
