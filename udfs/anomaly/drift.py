"""Slow drift: the last seven days beside weeks that are long over."""

from __future__ import annotations

from decimal import Decimal
from math import log, sqrt
from statistics import median

import msgspec

from udfs.anomaly.episode import Episode, change
from udfs.anomaly.series import Change, Figures, rounded
from udfs.anomaly.tuning import DAY_MS, Tuning

WEEK = 7
# Days left out between the last week and those it is compared with: a slow drift must not be its own yardstick.
GAP = 14
REFERENCE_WEEKS = 4
DAYS = WEEK + GAP + REFERENCE_WEEKS * WEEK
_FROM_MEDIAN_DEVIATION = 1.4826
# Weeks of real usage differ by this much however large they are; a share.
_LEAST_NOISE = 0.05


class Drift(msgspec.Struct, array_like=True):
    """State of the drift of one series.

    Parameters
    ----------
    today:
        Sum of the day that runs.
    day:
        Its number, local days since 1970; 0 before the first.
    days, events:
        Sums and events of the last DAYS whole days, oldest first.
    today_events:
        Events of the day that runs.
    episode:
        Of drift in either direction.
    """

    today: Decimal = Decimal(0)
    today_events: int = 0
    day: int = 0
    days: list[Decimal] = msgspec.field(default_factory=list)
    events: list[int] = msgspec.field(default_factory=list)
    episode: Episode = msgspec.field(default_factory=Episode)

    def step(self, at_ms: int, local_ms: int, n: int, total: Decimal, tuning: Tuning) -> list[Change]:
        """Take in the step that ends at `at_ms`; judges when it is the last of a local day."""
        self.today += total
        self.today_events += n
        day = local_ms // DAY_MS
        if day == self.day:
            return []
        whole, self.day = bool(self.day), day
        if whole:
            self.days = [*self.days, self.today][-DAYS:]
            self.events = [*self.events, self.today_events][-DAYS:]
        self.today, self.today_events = Decimal(0), 0
        return self._judge(at_ms, tuning) if whole and len(self.days) == DAYS else []

    def _judge(self, at_ms: int, tuning: Tuning) -> list[Change]:
        observed = sum(self.days[-WEEK:], Decimal(0))
        weeks = [float(sum(self.days[start : start + WEEK])) for start in range(0, REFERENCE_WEEKS * WEEK, WEEK)]
        expected = median(weeks)
        events = sum(self.events[-WEEK:])
        if min(weeks) <= 0 or observed <= 0 or events <= 0:
            return []
        moved = log(float(observed) / expected)
        spread = _FROM_MEDIAN_DEVIATION * median(abs(log(week / expected)) for week in weeks)
        noise = max(_LEAST_NOISE, spread, 1 / sqrt(events))
        levels = tuning.drift
        bound = max(levels.begin * noise, log(levels.begin_ratio))
        least = max(levels.end * noise, log(levels.end_ratio))
        turn = self.episode.turn(at_ms, abs(moved) >= bound, abs(moved) < least, levels)
        if turn is None:
            return []
        self.episode.kind = "drift"
        factor = bound if moved > 0 else -bound
        threshold = rounded(expected * 2.718281828459045**factor)
        figures = Figures(rounded(expected), observed, threshold, rounded(moved / noise), WEEK * DAY_MS)
        return [change(self.episode, turn, at_ms, figures)]
