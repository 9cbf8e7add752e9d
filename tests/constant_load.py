"""A producer that sends without a pause while something is done to the jobs."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice

from tests.pipeline import Pipeline
from tests.streams import StreamRecord

PIECE, PIECE_S = 50, 0.25


@dataclass
class Load:
    """What is sent to a run, from an iterator that a later load goes on with."""

    run: Pipeline
    records: Iterator[StreamRecord]
    sent: int = 0
    _end: threading.Event = field(default_factory=threading.Event)

    def send(self) -> None:
        """Send until it is ended, or nothing is left."""
        while piece := list(islice(self.records, PIECE)):
            self.run.send(piece)
            self.sent += len(piece)
            if self._end.wait(PIECE_S):
                return

    def end(self) -> None:
        self._end.set()


@contextmanager
def load(run: Pipeline, records: Iterator[StreamRecord]) -> Iterator[Load]:
    """Send about 200 records a second while the body runs, which they must outlast."""
    made = Load(run, records)
    thread = threading.Thread(target=made.send, name="load", daemon=True)
    thread.start()
    try:
        yield made
        assert thread.is_alive(), f"all {made.sent} records were sent before the end"
    finally:
        made.end()
        thread.join()
