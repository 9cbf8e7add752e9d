"""Heartbeats again and again, so that jobs that have read everything commit their offsets soon.

An idle consumer of Flink commits when its fetch has timed out, after 10 s; one that gets a record commits with the next
checkpoint. Closing and explaining wait for what is committed.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from tidemark.billing import heartbeat
from tidemark.core.kafka import Sender
from tidemark.core.settings import Settings
from udfs.values import epoch_ms

EVERY_S = 0.5


class Pulse(threading.Thread):
    """Sends a heartbeat into each partition twice a second, of the time that `advance` was given last.

    Parameters
    ----------
    settings:
        A run whose tenant of heartbeats is in the catalog, and whose producers set the arrival.
    """

    def __init__(self, settings: Settings) -> None:
        super().__init__(daemon=True)
        self._settings = settings
        self._ended = threading.Event()
        # The watermark follows the last record of a partition: none of an earlier time may come after a later one.
        self._sending = threading.Lock()
        self._at: datetime | None = None

    def advance(self, at: datetime) -> int:
        """Send heartbeats of this time into every partition, and no others from now on; how many."""
        with self._sending:
            self._at = at
            return heartbeat.beat(self._settings, at)

    def run(self) -> None:
        """Send until the end is asked for."""
        with Sender(self._settings.kafka) as sender:
            while not self._ended.wait(EVERY_S):
                with self._sending:
                    if self._at is not None:
                        self._beat(sender, self._at)

    def end(self) -> None:
        """Send no more."""
        self._ended.set()
        self.join()

    def _beat(self, sender: Sender, at: datetime) -> None:
        for partition in range(self._settings.topics.partitions):
            sender.send(
                self._settings.topics.events, heartbeat.event(self._settings, at), partition=partition,
                timestamp_ms=epoch_ms(at),
            )  # fmt: skip
        sender.flush()


@contextmanager
def pulse(settings: Settings, at: datetime | None = None) -> Iterator[Pulse]:
    """A pulse that ends with the block; silent until it has a time."""
    made = Pulse(settings)
    made.start()
    try:
        if at is not None:
            made.advance(at)
        yield made
    finally:
        made.end()
