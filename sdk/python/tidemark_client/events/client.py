"""The client: records uses, so that each is counted once or has a reason."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from tidemark_client.events import forks
from tidemark_client.events.checks import (
    PLAIN,
    QUANTITY_LIMIT,
    Quantity,
    amount,
    check_id,
    frozen,
    instant_ns,
    positive,
)
from tidemark_client.events.engine import Engine, Plan
from tidemark_client.events.errors import ClosedError, NotDurableError, SpoolError
from tidemark_client.events.event import Recorded
from tidemark_client.events.http import ApiKey, HttpTransport
from tidemark_client.events.ids import Ids
from tidemark_client.events.queue import OnFull, Queue
from tidemark_client.events.sender import MOST_EVENTS
from tidemark_client.events.slots import folder_of, made
from tidemark_client.events.spool import Rejected
from tidemark_client.events.transport import Transport
from tidemark_client.tracing import annotator

# Ids that were found to be ids; about 100 bytes each.
_MOST_KNOWN = 50_000

log = logging.getLogger("tidemark_client")


@dataclass(frozen=True)
class Stats:
    """What became of the events of this process, and of those it found on disk.

    Parameters
    ----------
    queued:
        In memory: lost if the process is killed now.
    spooled, spooled_bytes:
        On disk, not yet acknowledged.
    accepted, rejected:
        By the server, since the process began.
    kept_rejected, rejected_forgotten:
        Rejected events on disk; those removed because there were more than `most_rejected`.
    dropped:
        By `on_full="drop_oldest"`.
    requests:
        Batches that were sent, repetitions among them.
    error:
        What keeps events from being sent or written at present; empty: nothing.
    """

    queued: int
    spooled: int
    spooled_bytes: int
    accepted: int
    rejected: int
    kept_rejected: int
    rejected_forgotten: int
    dropped: int
    requests: int
    error: str


class Client:
    """Records uses and sends them to Tidemark; once a process, for any number of threads and tasks.

    Parameters
    ----------
    to:
        URL of the server, or a transport, such as `KafkaTransport`.
    tenant:
        As in the catalog; the API key must be its.
    spool:
        Folder for events on their way; on a disk that stays. Processes may share it.
    api_key:
        With a URL: a key of scope `ingest`, or what returns it.
    source:
        Name of this service in its events; part of what identifies them. Never change it between two tries of one id.
    batch_events, linger_s:
        A request is made when so many events wait, or the first of them has waited so long.
    queue_events:
        Most events in memory.
    spool_bytes:
        Most bytes of events on disk, for each process that shares the folder. What is in memory at its end is added.
    on_full:
        What `record` does when both are full: `block` (up to `block_s`, then QueueFullError), `raise` QueueFullError,
        or `drop_oldest`, which is counted.
    most_rejected:
        How many rejected events are kept to be looked at.
    on_rejected:
        Called with rejected events, on a thread of the SDK, which sends nothing until it returns: it must not wait for
        the client. What it raises is logged.
    exit_timeout_s:
        How long the end of the process may wait for the server, and a second for a request that is under way; what is
        left stays on disk.

    Raises
    ------
    ValueError
        A setting is not valid.
    SpoolError
        The folder cannot be used.
    """

    def __init__(
        self,
        to: str | Transport,
        *,
        tenant: str,
        spool: str | Path,
        api_key: ApiKey | None = None,
        source: str | None = None,
        batch_events: int = 500,
        linger_s: float = 1.0,
        queue_events: int = 10_000,
        spool_bytes: int = 256 * 1024 * 1024,
        on_full: OnFull = "block",
        block_s: float = 10.0,
        most_rejected: int = 10_000,
        on_rejected: Callable[[list[Rejected]], None] | None = None,
        exit_timeout_s: float = 5.0,
    ) -> None:
        check_id("tenant", tenant)
        if source is not None:
            check_id("source", source)
        if not 1 <= batch_events <= MOST_EVENTS:
            raise ValueError(f"batch_events is {batch_events!r}: give 1 to {MOST_EVENTS}.")
        self._transport = _transport(to, api_key, tenant)
        self._on_rejected = on_rejected
        self._exit_timeout_s = positive("exit_timeout_s", exit_timeout_s)
        self._queue_events = self._size = int(positive("queue_events", queue_events))
        self._on_full, self._block_s = on_full, positive("block_s", block_s)
        self._plan = Plan(
            made(folder_of(Path(spool), tenant)),
            tenant,
            source,
            batch_events,
            positive("linger_s", linger_s),
            int(positive("spool_bytes", spool_bytes)),
            most_rejected,
            on_full,
        )
        self._known: set[str] = set()
        self._annotate = annotator()
        self.tenant = tenant
        self._closed = False
        self._begin()
        with forks.beginning:
            # At once, and not with the first event: a process before this one may have left some.
            self._start()
            forks.add(self)

    def record(
        self,
        event_type: str,
        *,
        customer: str,
        quantity: Quantity = 1,
        at: datetime | None = None,
        event_id: str | None = None,
        voids: str | None = None,
        durable: bool = False,
        properties: Mapping[str, Any] | None = None,
        **more: Any,
    ) -> Recorded:
        """Record a use. Its id and time are those of the call, so every later try is the same event.

        Parameters
        ----------
        event_type, customer:
            What was used, and by whom; ids.
        quantity:
            How much, below 10^18 either way, in at most 256 characters.
        at:
            When, with a zone; now where it is not given.
        event_id:
            An id of your own, if the same use may be recorded again (by a request that is repeated).
        voids:
            Id of an event that this one takes back; everything else as in that event.
        durable:
            Return only once the event is on disk, which takes some milliseconds. Otherwise the event is in memory
            first, for about 10 ms: a process that is killed then loses it.
        properties, more:
            Anything else about the use; `properties` for names that are parameters here.

        Raises
        ------
        ValueError
            Something of it is not valid.
        QueueFullError
            By `on_full`; the event is not recorded.
        NotDurableError
            With `durable`: the disk did not take it within `block_s`. The event is recorded, in memory.
        ClosedError
            The client was closed.
        """
        if event_type not in self._known or customer not in self._known:
            self._learn(event_type, customer)
        if type(quantity) is not int or not -QUANTITY_LIMIT < quantity < QUANTITY_LIMIT:
            quantity = amount(quantity)
        if properties is not None or not PLAIN.issuperset(map(type, more.values())):
            more = frozen({**(properties or {}), **more})
        tick, random_bits, at_ns = self._next_id()
        event = Recorded(tick, random_bits, at_ns, event_type, customer, quantity, more)
        if at is not None or event_id is not None or voids is not None:
            event = _detailed(event, at, event_id, voids)
        if len(self._items) >= self._size:
            self._make_room()
        self._items.append(event)
        if self._annotate is not None:
            self._annotate(event)
        if not self._wake.is_set():
            self._notify()
        if durable:
            self._until_durable()
        return event

    async def record_durable(self, event_type: str, **use: Any) -> Recorded:
        """`record(…, durable=True)` for asyncio: the event loop goes on while the disk works."""
        event = self.record(event_type, **use)
        await asyncio.get_running_loop().run_in_executor(None, self._until_durable)
        return event

    def sync(self, timeout_s: float = 10.0) -> None:
        """Return once all events recorded so far are on disk; raises NotDurableError when they are not in time."""
        self._until_durable(timeout_s)

    def flush(self, timeout_s: float = 30.0) -> bool:
        """Send now, and wait; whether the server has accepted or rejected all events recorded so far."""
        return self._running().flush(timeout_s)

    async def flush_async(self, timeout_s: float = 30.0) -> bool:
        """`flush` for asyncio."""
        return await asyncio.get_running_loop().run_in_executor(None, self.flush, timeout_s)

    def rejected(self, limit: int = 100) -> list[Rejected]:
        """Rejected events that are kept, the oldest first."""
        return self._running().spool.rejected(limit)

    def forget_rejected(self, *events: Rejected) -> int:
        """Remove rejected events that someone has seen to; how many there were."""
        return self._running().spool.forget_rejected([event.id for event in events])

    def resend_rejected(self, *events: Rejected) -> int:
        """Send rejected events again, under the same ids, once what was wrong is put right; how many there were."""
        engine = self._running()
        count = engine.spool.resend_rejected([event.id for event in events])
        engine.sender.wake.set()
        return count

    def stats(self) -> Stats:
        """What became of the events so far."""
        engine = self._running()
        counts = engine.sender.counts
        return Stats(
            queued=len(self._items),
            spooled=engine.spool.events,
            spooled_bytes=engine.spool.bytes,
            accepted=counts.accepted,
            rejected=counts.rejected,
            kept_rejected=engine.spool.rejected_count(),
            rejected_forgotten=counts.rejected_forgotten,
            dropped=self._queue.dropped + engine.writer.dropped,
            requests=counts.requests,
            error=engine.writer.error or counts.error,
        )

    def close(self, timeout_s: float = 30.0) -> bool:
        """Put all events on disk, send until the time is up; whether none is left.

        What is left is sent by the next process that uses the spool. Threads that still record meet ClosedError.
        """
        if self._closed:
            return True
        # Recording meets the bound of the queue, and there finds out.
        self._closed, self._size = True, 0
        try:
            return self._engine.close(timeout_s) if self._engine else True
        finally:
            # Not before: while it closes, its threads use SQLite, and a fork must wait for them.
            forks.remove(self)

    def __enter__(self) -> Client:  # noqa: PYI034  typing has no Self before Python 3.11
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Client:  # noqa: PYI034  as above
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.get_running_loop().run_in_executor(None, self.close)

    def before_fork(self) -> Callable[[], None]:
        """No connection of SQLite is open, and no thread in the middle of using one, while the process forks.

        Returns what makes the process that forked go on as before.
        """
        engine = self._engine
        if engine is None:
            return lambda: None
        engine.before_fork()
        return engine.after_fork

    def in_child(self) -> None:
        """What the parent recorded is the parent's to send; the child begins with nothing, at its first event."""
        if self._engine:
            self._engine.leave_to_parent()
        self._begin()

    def at_exit(self) -> None:
        """Nothing stays in memory; what cannot be sent in time stays on disk."""
        self.close(self._exit_timeout_s)

    def _begin(self) -> None:
        self._engine: Engine | None = None
        self._next_id = Ids().next
        self._queue = Queue(self._queue_events, self._on_full, self._block_s)
        # What every call reads, without a way over other objects.
        self._items, self._wake = self._queue.items, self._queue.wake

    def _start(self) -> Engine:
        with forks.beginning:
            if self._engine is None:
                self._engine = Engine(self._plan, self._queue, self._transport, self._report)
                forks.at_end_of_worker(self)
            return self._engine

    def _running(self) -> Engine:
        return self._engine or self._start()

    def _notify(self) -> None:
        if self._engine is None:
            try:
                self._start()
            except SpoolError as error:
                # After a fork. The event is in memory, and the next one tries again.
                log.error("Events stay in memory: %s", error)  # noqa: TRY400  it says all
                return
        self._wake.set()

    def _make_room(self) -> None:
        if not self._closed:
            self._queue.make_room()
        # The room may be that of the end, after which nobody takes from the queue any more.
        if self._closed:
            raise ClosedError("the client was closed: record before close().")

    def _until_durable(self, timeout_s: float | None = None) -> None:
        wait_s = self._block_s if timeout_s is None else timeout_s
        try:
            engine = self._running()
            if self._queue.mark().spooled.wait(wait_s):
                return
            error = engine.writer.error or engine.sender.counts.error or "the disk is slow, or the spool is full."
        except SpoolError as failure:
            error = str(failure)
        raise NotDurableError(f"the event is in memory, and not on disk after {wait_s} s: {error}")

    def _learn(self, event_type: str, customer: str) -> None:
        check_id("event_type", event_type)
        check_id("customer", customer)
        if len(self._known) >= _MOST_KNOWN:
            self._known.clear()
        self._known.update((event_type, customer))

    def _report(self, rejected: list[Rejected]) -> None:
        if self._on_rejected is None:
            return
        try:
            self._on_rejected(rejected)
        except Exception:
            log.exception("on_rejected failed; the events are kept.")


def _transport(to: str | Transport, api_key: ApiKey | None, tenant: str) -> Transport:
    if not isinstance(to, str):
        if (other := getattr(to, "tenant", tenant)) != tenant:
            raise ValueError(f"the transport is of tenant {other!r}, the client of {tenant!r}: give both the same.")
        return to
    if not api_key:
        raise ValueError("api_key is missing: give a key with the scope `ingest`.")
    return HttpTransport(to, api_key)


def _detailed(event: Recorded, at: datetime | None, event_id: str | None, voids: str | None) -> Recorded:
    for name, value in (("event_id", event_id), ("voids", voids)):
        if value is not None:
            check_id(name, value)
    at_ns = event.at_ns if at is None else instant_ns(at)
    return event._replace(at_ns=at_ns, given_id=event_id, voids=voids)
