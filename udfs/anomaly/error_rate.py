"""Error rate: the share of a tenant's events that end in the dead letters."""

from __future__ import annotations

from decimal import Decimal

import msgspec

from udfs.anomaly.episode import Episode, change
from udfs.anomaly.season import score
from udfs.anomaly.series import Change, Figures, rounded
from udfs.anomaly.tuning import HOUR_MS, WINDOW_MS, Tuning
from udfs.anomaly.window import Window

# Hours of records that the usual share remembers: about two weeks.
_REMEMBERED_HOURS = 336
# An hour teaches at most this many times the usual share, and this much where that is nearly nothing.
_CLIP_FACTOR, _CLIP_LEAST = 3.0, 0.01
# Fewer records in an hour say nothing about a share.
_ENOUGH_RECORDS = 20


class ErrorRate(msgspec.Struct, array_like=True):
    """State of the dead letters of one tenant.

    Parameters
    ----------
    share, hours:
        Usual share of dead letters, and the hours it was learned from.
    episode:
        Of too many.
    """

    share: float = 0.0
    hours: int = 0
    episode: Episode = msgspec.field(default_factory=Episode)

    def judge(self, window: Window, tuning: Tuning) -> list[Change]:
        """Judge the hour that ended at `window.done_ms`: `n` are events counted, `totals` dead letters."""
        rejected = int(window.amount)
        records = window.events + rejected
        changes = self._judge(window.done_ms, rejected, records, tuning) if self.hours >= tuning.error_hours else []
        if not window.done_ms % HOUR_MS and records >= _ENOUGH_RECORDS and self.episode.quiet:
            self._learn(rejected / records)
        return changes

    def _judge(self, at_ms: int, rejected: int, records: int, tuning: Tuning) -> list[Change]:
        levels = tuning.error_rate
        scored = score(rejected, records * self.share, 1.0)
        share = rejected / records if records else 0.0
        bound = max(self.share * levels.begin_ratio, self.share + tuning.error_points)
        over = rejected >= tuning.min_rejected and scored >= levels.begin and share >= bound
        under = scored < levels.end or share < self.share + tuning.error_points / 2
        turn = self.episode.turn(at_ms, over, under, levels)
        if turn is None:
            return []
        self.episode.kind = "error_rate"
        observed = Decimal(f"{share:.6f}").normalize() + 0
        figures = Figures(rounded(self.share), observed, rounded(bound), rounded(scored), WINDOW_MS)
        return [change(self.episode, turn, at_ms, figures)]

    def _learn(self, share: float) -> None:
        if self.hours:
            share = min(share, max(_CLIP_FACTOR * self.share, self.share + _CLIP_LEAST))
        self.hours = min(self.hours + 1, _REMEMBERED_HOURS)
        self.share += (share - self.share) / self.hours
