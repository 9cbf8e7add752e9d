"""The sliding hour: exact sums of its steps, and the minutes that wait for their step to end."""

from __future__ import annotations

from decimal import Decimal

import msgspec

from udfs.anomaly.series import Minute
from udfs.anomaly.tuning import MINUTE_MS, STEP_MS, STEPS, WINDOW_MS
from udfs.values import EXACT

_NOTHING = Decimal(0)


class Window(msgspec.Struct, array_like=True):
    """Sums of the last hour of one series.

    Parameters
    ----------
    done_ms:
        End of the last step taken in, a multiple of STEP_MS; 0 before the first minute.
    first_ms, last_ms:
        First minute with something in it, and last.
    begun:
        Whether a step was taken in: before that an earlier minute may still come.
    n, totals:
        Sums of the last STEPS steps, oldest first.
    events, amount:
        Their sums; decimals are exact, so that adding and taking away leaves no rest.
    waiting:
        Minutes from `done_ms` on: at_ms, n, total. No more than the watermark lets through before a step ends.
    """

    done_ms: int = 0
    first_ms: int = 0
    last_ms: int = 0
    n: list[int] = msgspec.field(default_factory=lambda: [0] * STEPS)
    totals: list[Decimal] = msgspec.field(default_factory=lambda: [Decimal(0)] * STEPS)
    begun: bool = False
    events: int = 0
    amount: Decimal = Decimal(0)
    waiting: list[tuple[int, int, Decimal]] = msgspec.field(default_factory=list)

    def add(self, minute: Minute) -> bool:
        """Keep a minute until its step ends; False for one that comes after that."""
        if not self.begun and (not self.first_ms or minute.at_ms < self.first_ms):
            self.done_ms = minute.at_ms // STEP_MS * STEP_MS
            self.first_ms = minute.at_ms
        if minute.at_ms < self.done_ms:
            return False
        self.waiting.append((minute.at_ms, minute.n, minute.total))
        return True

    def step(self) -> int:
        """Take in the next step; its end."""
        end_ms = self.done_ms + STEP_MS
        n, total = self._due(end_ms) if self.waiting else (0, _NOTHING)
        self.events += n - self.n[0]
        self.amount = EXACT.add(self.amount, EXACT.subtract(total, self.totals[0]))
        self.n = [*self.n[1:], n]
        self.totals = [*self.totals[1:], total]
        self.done_ms = end_ms
        self.begun = True
        return end_ms

    def _due(self, end_ms: int) -> tuple[int, Decimal]:
        n, total, later = 0, _NOTHING, []
        for waiting in self.waiting:
            if waiting[0] < end_ms:
                n, total = n + waiting[1], EXACT.add(total, waiting[2])
                self.last_ms = max(self.last_ms, waiting[0])
            else:
                later.append(waiting)
        self.waiting = later
        return n, total

    @property
    def empty(self) -> bool:
        """Whether nothing is in the hour, and nothing waits."""
        return not self.waiting and not self.last_ms > self.done_ms - WINDOW_MS - MINUTE_MS
