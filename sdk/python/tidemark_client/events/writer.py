"""The thread that puts recorded events on disk."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from tidemark_client.events.event import Encoded, Recorded, encoded
from tidemark_client.events.queue import OnFull, Queue
from tidemark_client.events.spool import Rejected, Spool

# Events of so long are one transaction, which costs about as much for one as for hundreds.
COLLECT_S = 0.01
_MOST = 1_000
# Between two looks at a disk that failed or is full.
_RETRY_S = 0.5

log = logging.getLogger("tidemark_client")


@dataclass(frozen=True)
class Writing:
    """How events are written.

    Parameters
    ----------
    tenant, source:
        Fields of every event.
    spool_bytes:
        Most bytes of waiting events on disk.
    on_full:
        As for `Queue`.
    """

    tenant: str
    source: str | None
    spool_bytes: int
    on_full: OnFull


class Writer:
    """Takes from the queue, writes to the spool, says so to whoever waits.

    Parameters
    ----------
    queue, spool, writing:
        From where, to where, and how.
    on_written:
        Called after each transaction: there is something to send.
    on_rejected:
        Called with events that can never be sent.
    """

    def __init__(
        self,
        queue: Queue,
        spool: Spool,
        writing: Writing,
        on_written: Callable[[], None],
        on_rejected: Callable[[list[Rejected]], None],
    ) -> None:
        self._queue, self._spool, self._writing = queue, spool, writing
        self._on_written, self._on_rejected = on_written, on_rejected
        self.dropped = 0
        self.error = ""
        self.stopping = threading.Event()

    def run(self) -> None:
        """Write until it is stopped, and then what is left."""
        while not self.stopping.is_set():
            self._queue.wake.wait()
            self._queue.hurry.wait(COLLECT_S)
            self._queue.hurry.clear()
            self._queue.wake.clear()
            self.drain()
        self.drain()

    def drain(self) -> None:
        """Write until the queue is empty, or nothing more can be written."""
        while self._queue.items:
            if not self._step():
                # Whoever makes room wakes this thread; a disk that failed is tried again.
                self.stopping.wait(_RETRY_S)
                self._queue.wake.set()
                return

    def _step(self) -> bool:
        events, marks = self._queue.take(self._room())
        if not events and not marks:
            return False
        try:
            ready, refused = self._encoded(events)
            last = self._spool.add(ready, refused)
            self._make_room()
        except Exception as error:  # noqa: BLE001  whatever it is, the events must not leave memory
            self._queue.put_back(events, marks)
            self._failed(error)
            return False
        self.error = ""
        for mark in marks:
            mark.last = last
            mark.spooled.set()
        if refused:
            self._on_rejected(refused)
        self._on_written()
        return True

    def _room(self) -> int:
        # At the end what stays in memory is lost; its own bound is how far the spool may go above the other.
        if self.stopping.is_set() or self._writing.on_full == "drop_oldest":
            return _MOST
        return 0 if self._spool.bytes >= self._writing.spool_bytes else _MOST

    def _make_room(self) -> None:
        if self._writing.on_full != "drop_oldest" or self._spool.bytes <= self._writing.spool_bytes:
            return
        dropped = self._spool.drop_oldest(self._writing.spool_bytes)
        self.dropped += dropped
        log.error("The spool is full: the %d oldest events were dropped, as on_full says.", dropped)

    def _encoded(self, events: list[Recorded]) -> tuple[list[Encoded], list[Rejected]]:
        ready: list[Encoded] = []
        refused: list[Rejected] = []
        for event in events:
            result = self._try(event)
            if isinstance(result, Rejected):
                refused.append(result)
            else:
                ready.append(result)
        return ready, refused

    def _try(self, event: Recorded) -> Encoded | Rejected:
        try:
            return encoded(event, self._writing.tenant, self._writing.source)
        except Exception as error:  # noqa: BLE001  one event that cannot be said must not stop the others
            detail = f"{error} Its properties were {', '.join(event.properties)}."[:2_000]
            return Rejected(*self._rest(event), "not_encodable", detail, time.time_ns() // 1_000_000)

    def _rest(self, event: Recorded) -> Encoded:
        try:
            # The fault can only be among the properties: everything else was checked at the call.
            return encoded(event._replace(properties={}), self._writing.tenant, self._writing.source)
        except Exception:  # noqa: BLE001  if it is not, this event must not stop the others all the same
            return Encoded(event.id, event.customer, b"{}")

    def _failed(self, error: Exception) -> None:
        if not self.error:
            log.error("Events stay in memory: %s", error)
        self.error = str(error)
