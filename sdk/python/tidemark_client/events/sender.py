"""The thread that sends what is on disk, and keeps it there until its outcome is known."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tidemark_client.events.backoff import Backoff
from tidemark_client.events.errors import SpoolError
from tidemark_client.events.outcome import Delivered, Later, Outcome, Rejection
from tidemark_client.events.slots import Slot, orphans
from tidemark_client.events.spool import Pending, Rejected, Spool, move
from tidemark_client.events.transport import Transport

MOST_EVENTS = 1_000
# The server reads 1 MiB; what is above the events themselves has room in the rest.
MOST_BYTES = 1_048_576 - 4_096
# Between two looks for events of processes that ended.
SCAN_S = 5.0
# Between two tries while the spool itself fails.
_BROKEN_S = 1.0

log = logging.getLogger("tidemark_client")


@dataclass(frozen=True)
class Sending:
    """How events are sent.

    Parameters
    ----------
    batch_events, linger_s:
        A request is made when so many events wait, or the first of them has waited so long.
    most_rejected:
        How many rejected events are kept; above it the oldest go, and are counted.
    folder:
        Where processes that ended may have left events.
    spool_bytes:
        Most bytes of waiting events: a full spool takes over none of them.
    """

    batch_events: int
    linger_s: float
    most_rejected: int
    folder: Path
    spool_bytes: int


@dataclass
class Counts:
    """What became of events since the process began; written by one thread."""

    accepted: int = 0
    rejected: int = 0
    rejected_forgotten: int = 0
    requests: int = 0
    error: str = ""


@dataclass
class Sender:
    """Sends the spool, batch by batch.

    Parameters
    ----------
    spool, transport, sending:
        From where, by what, and how.
    on_rejected:
        Called with rejected events once they are kept.
    on_room:
        Called when the spool holds less than before.
    clock:
        Monotonic seconds.
    """

    spool: Spool
    transport: Transport
    sending: Sending
    on_rejected: Callable[[list[Rejected]], None]
    on_room: Callable[[], None]
    clock: Callable[[], float] = time.monotonic
    backoff: Backoff = field(default_factory=Backoff)

    def __post_init__(self) -> None:
        self.counts = Counts()
        self.wake = threading.Event()
        self.stopping = threading.Event()
        self.progress = threading.Condition()
        # Held while files of other processes are open.
        self.taking = threading.Lock()
        self._broken: set[Path] = set()
        self._hurry = False
        self._most = self.sending.batch_events
        self._not_before = self._scan_at = 0.0
        # The last look found something, so there may be more.
        self._more = False
        # When the oldest event that waits was first seen.
        self._since: float | None = None

    def run(self) -> None:
        """Send until stopped."""
        while not self.stopping.is_set():
            try:
                wait_s = self.step()
            except SpoolError as error:
                self._troubled(str(error))
                wait_s = _BROKEN_S
            except Exception as error:
                # A key that cannot be fetched, say: the events are on disk, and this thread must not end.
                log.exception("Events wait on disk.")
                self._troubled(f"{type(error).__name__}: {error}")
                wait_s = _BROKEN_S
            if wait_s > 0:
                self.wake.wait(wait_s)
                self.wake.clear()

    def hurry(self) -> None:
        """Send what waits now, be it ever so little."""
        self._hurry = True
        self.wake.set()

    def step(self) -> float:
        """Send at most one batch; seconds until there is something to do, 0 for at once."""
        now = self.clock()
        if now < self._not_before:
            return self._not_before - now
        if self._scan_is_due(now) and self._take_over(now):
            return 0.0
        if not self.spool.events:
            self._hurry, self._since = False, None
            return self._scan_at - now
        if (wait_s := self._linger(now)) > 0:
            return min(wait_s, self._scan_at - now)
        batch = self.spool.oldest(self._most, MOST_BYTES)
        self.counts.requests += 1
        self._apply(batch, self.transport.send(batch))
        return 0.0

    def _linger(self, now: float) -> float:
        if self._since is None:
            self._since = now
        if self._hurry or self.spool.events >= self.sending.batch_events or self.backoff.failures:
            return 0.0
        return self._since + self.sending.linger_s - now

    def _apply(self, batch: Sequence[Pending], outcome: Outcome) -> None:
        if isinstance(outcome, Delivered):
            self._settle(batch, outcome)
        elif isinstance(outcome, Later):
            self._later(outcome)
        elif len(batch) > 1:
            self._most = len(batch) // 2
        else:
            self._settle(batch, Delivered((), [Rejection(0, outcome.reason, outcome.detail)]))

    def _settle(self, batch: Sequence[Pending], outcome: Delivered) -> None:
        now_ms = time.time_ns() // 1_000_000
        rejected = [
            Rejected(
                batch[one.index].id, batch[one.index].customer, batch[one.index].body, one.reason, one.detail, now_ms
            )
            for one in outcome.rejected
        ]
        settled = sorted({*outcome.accepted, *(one.index for one in outcome.rejected)})
        self.spool.settle([batch[index] for index in settled], rejected)
        self._since = None
        self.counts.accepted += len(settled) - len(rejected)
        self.counts.rejected += len(rejected)
        self._most = min(self._most * 2, self.sending.batch_events)
        if len(settled) < len(batch):
            self._later(Later(f"{len(batch) - len(settled)} of {len(batch)} events have no outcome yet"))
        else:
            self._recovered()
        if rejected:
            self._rejected(rejected)
        self.on_room()
        with self.progress:
            self.progress.notify_all()

    def _rejected(self, rejected: list[Rejected]) -> None:
        first = rejected[0]
        log.warning(
            "%d events were rejected, the first, %s: %s %s", len(rejected), first.id, first.reason, first.detail
        )
        self.counts.rejected_forgotten += self.spool.trim_rejected(self.sending.most_rejected)
        self.on_rejected(rejected)

    def _later(self, outcome: Later) -> None:
        self._troubled(outcome.detail)
        self._not_before = self.clock() + self.backoff.failed(outcome.after_s, refused=outcome.refused)

    def _troubled(self, detail: str) -> None:
        if not self.counts.error:
            log.warning("Events wait on disk: %s", detail)
        self.counts.error = detail

    def _recovered(self) -> None:
        if self.counts.error:
            log.info("Events are sent again.")
        self.counts.error = ""
        self.backoff.succeeded()

    def _scan_is_due(self, now: float) -> bool:
        if not self.spool.events:
            return self._more or now >= self._scan_at
        # What cannot be sent would only fill the spool for the events of this process.
        return now >= self._scan_at and not self.backoff.failures

    def _take_over(self, now: float) -> bool:
        """Take a part of what a process that ended left; whether there was any."""
        # First: a look that fails is not repeated before the events of this process were sent.
        self._scan_at, self._more = now + SCAN_S, False
        with self.taking:
            self._more = any(self._take_some(slot) for slot in orphans(self.sending.folder))
        return self._more

    def _take_some(self, slot: Slot) -> bool:
        left: Spool | None = None
        try:
            if slot.file in self._broken or self.spool.bytes >= self.sending.spool_bytes:
                return False
            left = Spool(slot.file)
            return move(left, self.spool, MOST_EVENTS, MOST_BYTES)
        except SpoolError as error:
            self._broken.add(slot.file)
            log.error("Events of a process that ended cannot be read: %s", error)  # noqa: TRY400  it says all
            return False
        finally:
            if left:
                left.close()
            slot.release()
