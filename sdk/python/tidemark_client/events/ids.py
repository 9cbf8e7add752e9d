"""Ids of events: UUIDs of version 7 (RFC 9562), which sort by the time of the call."""

from __future__ import annotations

import os
import random
import threading
import time

# The 12 bits after the milliseconds are their fraction, so a tick is 244 ns.
_TICKS_PER_MS = 4_096
_NS_PER_MS = 1_000_000
_RANDOM_BITS = 62


class Ids:
    """Makes the numbers behind ids, each tick above the last; for many threads.

    Formatting a number costs more than all the rest of a call, so that is left to whoever needs the text.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last = 0
        # A generator of its own: a program that seeds the common one would make the same ids again.
        self._random_bits = random.Random(os.urandom(16)).getrandbits  # noqa: S311  unique, not secret

    def next(self) -> tuple[int, int, int]:
        """A tick, random bits, and the instant in epoch ns that the clock says."""
        now_ns = time.time_ns()
        tick = now_ns * _TICKS_PER_MS // _NS_PER_MS
        with self._lock:
            # A clock that was set back goes on from the last tick.
            if tick <= self._last:
                tick = self._last + 1
            self._last = tick
        return tick, self._random_bits(_RANDOM_BITS), now_ns


def text(tick: int, random_bits: int) -> str:
    """The UUID of a tick: 48 bits of milliseconds and 12 of their fraction, then 62 random ones."""
    number = (tick >> 12) << 80 | 0x7 << 76 | (tick & 0xFFF) << 64 | 0b10 << 62 | random_bits
    digits = f"{number:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
