"""The two threads of a process and what is between them; a fork gets its own."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tidemark_client.events import slots
from tidemark_client.events.errors import SpoolError
from tidemark_client.events.queue import Mark, OnFull, Queue
from tidemark_client.events.sender import Sender, Sending
from tidemark_client.events.spool import Rejected, Spool
from tidemark_client.events.transport import Transport
from tidemark_client.events.writer import Writer, Writing

# For a thread to end that waits for nothing.
_END_S = 1.0

log = logging.getLogger("tidemark_client")


@dataclass(frozen=True)
class Plan:
    """Settings of a client, for the engines of this process and of its forks."""

    folder: Path
    tenant: str
    source: str | None
    batch_events: int
    linger_s: float
    spool_bytes: int
    most_rejected: int
    on_full: OnFull


class Engine:
    """Queue to spool, spool to server.

    Parameters
    ----------
    plan, queue, transport:
        How, from where, by what.
    on_rejected:
        Called with rejected events, on a thread of the SDK.

    Raises
    ------
    SpoolError
        The spool cannot be used.
    """

    def __init__(
        self, plan: Plan, queue: Queue, transport: Transport, on_rejected: Callable[[list[Rejected]], None]
    ) -> None:
        self.queue, self.transport = queue, transport
        self._slot = slots.first_free(slots.made(plan.folder))
        try:
            self.spool = Spool(self._slot.file)
        except SpoolError:
            self._slot.release()
            raise
        sending = Sending(plan.batch_events, plan.linger_s, plan.most_rejected, plan.folder, plan.spool_bytes)
        self.sender = Sender(self.spool, transport, sending, on_rejected, queue.wake.set)
        writing = Writing(plan.tenant, plan.source, plan.spool_bytes, plan.on_full)
        self.writer = Writer(queue, self.spool, writing, self.sender.wake.set, on_rejected)
        self._writing = threading.Thread(target=self.writer.run, name="tidemark-writer", daemon=True)
        self._sending = threading.Thread(target=self.sender.run, name="tidemark-sender", daemon=True)
        self._writing.start()
        self._sending.start()

    def flush(self, timeout_s: float) -> bool:
        """Whether the outcome of all events so far is known, in time."""
        deadline = time.monotonic() + timeout_s
        mark = self.queue.mark()
        if not mark.spooled.wait(timeout_s):
            return False
        with self.sender.progress:
            while self._waits(mark):
                left = deadline - time.monotonic()
                if left <= 0:
                    return False
                self.sender.hurry()
                self.sender.progress.wait(min(left, 0.5))
        return True

    def close(self, timeout_s: float) -> bool:
        """Put all events on disk, send what can be sent in time, end the threads; whether nothing is left."""
        deadline = time.monotonic() + timeout_s
        flushed = self.flush(timeout_s)
        self.writer.stopping.set()
        self.sender.stopping.set()
        self.queue.mark()
        self.sender.wake.set()
        # The time is that of the server; the disk has its own, for what is in memory is lost without it.
        self._writing.join(timeout_s + _END_S)
        self._sending.join(max(0.0, deadline - time.monotonic()) + _END_S)
        if lost := self.queue.events():
            reason = self.writer.error or "the disk is slow."
            log.error("%d events are lost: they could not be put on disk: %s", lost, reason)
        if self._writing.is_alive() or self._sending.is_alive():
            # It still waits for a server. The process ends soon, and the kernel then frees what it holds.
            return False
        self.transport.close()
        self.spool.close()
        self._slot.release()
        return flushed and not lost

    def before_fork(self) -> None:
        """Wait until no file is open but the lock of the slot, and keep it so."""
        self.sender.taking.acquire()
        self.spool.suspend()

    def after_fork(self) -> None:
        """Go on, in the process that forked."""
        self.spool.resume()
        self.sender.taking.release()

    def leave_to_parent(self) -> None:
        """In a process that was forked: let go of what belongs to its parent, without a trace in it."""
        self._slot.release()
        self.transport.forget()

    def _waits(self, mark: Mark) -> bool:
        first = self.spool.first()
        return first is not None and first <= mark.last
