"""A calendar as far as it holds: where another takes over, the running period is cut and a new one begins."""

from __future__ import annotations

from udfs.calendars.localtime import BillingCalendar, Period
from udfs.wire import PERIOD, STAMP


class CutCalendar:
    """A calendar for event times in [start_ms, end_ms) alone; of a period that reaches further, the part within.

    With the calendars that hold before and after it, cut in the same way, no instant is left out and none is in two
    periods. Asked for the period of an instant outside, it raises ValueError.

    Parameters
    ----------
    calendar:
        What is cut. It may be shared, and what it remembers is used.
    start_ms, end_ms:
        UTC epoch ms; need not be boundaries of anything.
    """

    __slots__ = ("_cut_tail", "_last", "_tail_length", "calendar", "end_ms", "start_ms")

    def __init__(self, calendar: BillingCalendar, start_ms: int, end_ms: int) -> None:
        self.calendar = calendar
        self.start_ms = start_ms
        self.end_ms = end_ms
        # The last period that was asked for, how much of the calendar's stamps in it names the uncut period, and what
        # is named instead; '' if the period needs no cut. Events come close together in time.
        self._last = Period(start_ms, start_ms)
        self._tail_length = 0
        self._cut_tail = ""

    def period_at(self, ms: int) -> Period:
        """The part of the calendar's period that lies within; raises what the calendar does."""
        if not self._last.start_ms <= ms < self._last.end_ms:
            self._remember(self.calendar.period_at(ms), ms)
        return self._last

    def day_at(self, ms: int) -> str:
        """The local date of an instant, as ISO text; days are never cut."""
        return self.calendar.day_at(ms)

    def stamp_at(self, ms: int) -> str:
        """See `BillingCalendar.stamp_at`; the period is the one of `period_at`."""
        stamp = self.calendar.stamp_at(ms)
        if not self._last.start_ms <= ms < self._last.end_ms:
            self._remember(self.calendar.period_at(ms), ms)
        return stamp[: -self._tail_length] + self._cut_tail if self._cut_tail else stamp

    def _remember(self, uncut: Period, ms: int) -> None:
        if not self.start_ms <= ms < self.end_ms:
            raise ValueError(f"{ms} is outside [{self.start_ms}, {self.end_ms}), where this calendar holds")
        cut = Period(max(uncut.start_ms, self.start_ms), min(uncut.end_ms, self.end_ms))
        self._last = cut
        self._tail_length = len(_tail(uncut))
        self._cut_tail = "" if cut == uncut else _tail(cut)


def _tail(period: Period) -> str:
    return STAMP.separator + PERIOD.pack(period.start_ms, period.end_ms)
