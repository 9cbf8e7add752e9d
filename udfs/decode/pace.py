"""Holds a worker to a rate, so that a replay leaves the machine to the live jobs."""

from __future__ import annotations

import time
from collections.abc import Callable


class Pace:
    """Waits so that no more than `per_s` items a second pass; time that was not used is not saved up.

    Parameters
    ----------
    per_s:
        Items a second; 0: never waits.
    clock, sleep:
        Seconds that only grow, and how to wait for some.
    """

    def __init__(
        self, per_s: float, clock: Callable[[], float] = time.monotonic, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._per_s = per_s
        self._clock = clock
        self._sleep = sleep
        self._free_at = clock()

    def take(self, count: int) -> None:
        """Return when `count` more items are in the rate."""
        if not self._per_s:
            return
        now = self._clock()
        self._free_at = max(self._free_at, now) + count / self._per_s
        self._sleep(self._free_at - now)
