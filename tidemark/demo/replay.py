"""Sends the demo's stream so that an interrupted run is continued, at the pace at which the meter job counts it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from tidemark.core.errors import UnavailableError, UsageError
from tidemark.core.kafka import GroupOffsets, Sender, end_offsets, last_header
from tidemark.core.settings import Settings
from tidemark.demo.flights import DemoRecord

# Every record carries its place in the stream, so that the topic itself says where to go on.
SEQ_HEADER = "demo-seq"
# Records sent beyond what `meter` has committed. At the 940 flights of a day it is about ten days of event time: within
# the watermark bound of 14 days that the demo gives the sliding windows.
MAX_AHEAD = 10_000
# Longest wait for `meter` to commit anything: a restart of its TaskManager takes at most 45 s.
STALL_S = 300.0
_CHUNK = 1_000
_POLL_S = 0.2


def replay(
    settings: Settings,
    records: Sequence[DemoRecord],
    max_ahead: int | None = MAX_AHEAD,
    progress: Callable[[int], None] | None = None,
) -> int:
    """Send what the topic does not hold yet, in order.

    Within a partition Kafka keeps the order of one producer, so the last record of each partition tells all that was
    sent before; a second full run sends nothing.

    Parameters
    ----------
    settings:
        Where to.
    records:
        The whole stream, ordered by `seq`.
    max_ahead:
        Most records ahead of the offsets `meter` has committed; None sends as fast as Kafka takes them.
    progress:
        Called with a number of records that are done (sent now, or there from before).

    Returns
    -------
    Number of records sent.

    Raises
    ------
    UsageError
        The topic holds another demo stream.
    UnavailableError
        Kafka does not answer, or `meter` does not count.

    """
    # Step 1: what is there.
    last = _last_seq(settings, records)
    missing = [record for record in records if record.seq > last.get(record.partition, -1)]
    if progress is not None:
        progress(len(records) - len(missing))
    if not missing:
        return 0
    # Step 2: the rest, in chunks, never too far ahead.
    pace = None if max_ahead is None else _Pace(settings, max_ahead)
    try:
        with Sender(settings) as sender:
            for begin in range(0, len(missing), _CHUNK):
                chunk = missing[begin : begin + _CHUNK]
                if pace is not None:
                    sender.flush()
                    pace.wait_for(chunk)
                _send(settings, sender, chunk)
                if progress is not None:
                    progress(len(chunk))
    finally:
        if pace is not None:
            pace.close()
    return len(missing)


def _last_seq(settings: Settings, records: Sequence[DemoRecord]) -> Mapping[int, int]:
    last = {p: int(seq) for p, seq in last_header(settings, settings.events_topic, SEQ_HEADER).items()}
    for partition, seq in last.items():
        if seq >= len(records) or records[seq].partition != partition:
            raise UsageError(
                f"partition {partition} of {settings.events_topic} ends with record {seq} of another demo stream.",
                "remove it with `tidemark down` and `make clean`, then run the demo again.",
            )
    return last


def _send(settings: Settings, sender: Sender, chunk: Sequence[DemoRecord]) -> None:
    for record in chunk:
        sender.send(
            settings.events_topic, record.value, key=record.key, partition=record.partition,
            timestamp_ms=record.timestamp_ms, headers=[(SEQ_HEADER, str(record.seq).encode())],
        )  # fmt: skip


class _Pace:
    """Holds sending back while the meter job is more than `max_ahead` records behind."""

    def __init__(self, settings: Settings, max_ahead: int) -> None:
        self._sent = sum(end_offsets(settings, settings.events_topic).values())
        self._max_ahead = max_ahead
        self._group = settings.names.group("meter")
        self._offsets = GroupOffsets(settings, self._group, settings.events_topic)
        self._counted = 0

    def wait_for(self, chunk: Sequence[DemoRecord]) -> None:
        """Return when the chunk may be sent; then count it as sent."""
        deadline = time.monotonic() + STALL_S
        while self._sent + len(chunk) - self._counted > self._max_ahead:
            counted = sum(self._offsets.committed().values())
            if counted > self._counted:
                self._counted = counted
                deadline = time.monotonic() + STALL_S
                continue
            if time.monotonic() > deadline:
                raise UnavailableError(
                    f"group {self._group} has committed {counted} of {self._sent} records and nothing for "
                    f"{STALL_S:.0f} s.",
                    "see `tidemark status` and the Flink UI for the meter job, then run the demo again: it goes on.",
                )
            time.sleep(_POLL_S)
        self._sent += len(chunk)

    def close(self) -> None:
        """Close the connection."""
        self._offsets.close()
