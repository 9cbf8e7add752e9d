"""Tells events of a backlog from live ones: what is worked off needs throughput, not latency."""

from __future__ import annotations

import time
from collections.abc import Callable

# Fewer events at once are no work: longer ticks would save nothing, and delay history that is sent slowly.
FEWEST_EVENTS = 32
# A bundle ends with what is left over: a small batch soon after a large one belongs to the same backlog.
LINGER_MS = 1_000


class Backlog:
    """Says of each batch whether its events are of a backlog: many that are old, or some soon after such a batch.

    Parameters
    ----------
    after_ms:
        Time since the arrival of its newest event from which a batch is old; None: no batch ever is.
    clock_ms:
        UTC epoch ms.
    """

    def __init__(self, after_ms: int | None, clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000) -> None:
        self._after_ms = after_ms
        self._clock_ms = clock_ms
        self._until_ms = 0

    def holds(self, events: int, newest_ms: int) -> bool:
        """Whether a batch of so many events is of a backlog; ask once for each, in their order."""
        if self._after_ms is None:
            return False
        now_ms = self._clock_ms()
        if now_ms - newest_ms <= self._after_ms:
            return False
        if events >= FEWEST_EVENTS:
            self._until_ms = now_ms + LINGER_MS
        return now_ms < self._until_ms
