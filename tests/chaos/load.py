"""Load during a fault: records in small pieces, and the rest at once when it is over; and how long recovery took."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from jobs.flink.rest import wait_until
from tests.conftest import STATE_DIR
from tests.pipeline import Pipeline
from tests.streams import StreamRecord
from tidemark.core.errors import UnavailableError

# Longer than any fault lasts: what is left of it is sent at once.
_PIECES, _PACE_S, _RETRY_S = 1_000, 0.4, 0.25


class Load(threading.Thread):
    """Sends records until `finish`; what raises is raised there."""

    def __init__(self, run: Pipeline, records: list[StreamRecord]) -> None:
        super().__init__(daemon=True)
        self._run, self._records = run, records
        self._hurry = threading.Event()
        self._error: BaseException | None = None

    def run(self) -> None:
        size, sent = len(self._records) // _PIECES + 1, 0
        try:
            while sent < len(self._records):
                piece = self._records[sent:] if self._hurry.is_set() else self._records[sent : sent + size]
                self._send(piece)
                sent += len(piece)
                self._hurry.wait(_PACE_S)
        except BaseException as error:  # noqa: BLE001 - it is raised where the load is awaited
            self._error = error

    def _send(self, records: list[StreamRecord]) -> None:
        """Send until it is acknowledged, as producers do; what arrived of earlier attempts are copies."""
        while True:
            try:
                return self._run.send(records)
            except UnavailableError:
                self._hurry.wait(_RETRY_S)

    def finish(self) -> None:
        """Send the rest at once, and wait for the end."""
        self._hurry.set()
        self.join()
        if self._error is not None:
            raise self._error


@contextmanager
def under_load(run: Pipeline, records: list[StreamRecord]) -> Iterator[Load]:
    """Records arrive while the block lasts, a piece every 0.4 s, and all of them when it ends."""
    load = Load(run, records)
    load.start()
    try:
        yield load
    finally:
        load.finish()


def counts_on(run: Pipeline, within_s: float) -> None:
    """Wait until more is committed than now."""
    now = run.committed()
    wait_until(lambda: run.committed() > now, within_s, "the jobs to go on")


@contextmanager
def measured(what: str) -> Iterator[None]:
    """Print how long the block took, and keep it beside the logs of the stack."""
    begin = time.monotonic()
    yield
    line = f"{what}\t{time.monotonic() - begin:.1f} s"
    print(f"\n{line}")  # noqa: T201 - the figure is what people read
    with (STATE_DIR / "drills.tsv").open("a") as report:
        report.write(f"{line}\n")
