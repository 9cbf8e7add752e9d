"""Hysteresis: a score becomes an episode that begins once and ends once."""

from __future__ import annotations

from decimal import Decimal
from typing import Literal

import msgspec

from udfs.anomaly.series import Change, Figures, Kind, Status
from udfs.anomaly.tuning import WINDOW_MS, Levels


class Episode(msgspec.Struct, array_like=True):
    """Where one kind of anomaly stands in one series.

    Parameters
    ----------
    kind:
        What it fires as; empty while it does not.
    over_ms:
        Since when it is over the begin level without a break; 0 while it is not.
    under_ms:
        Since when a firing one is under the end level; 0 while it is not.
    since_ms:
        What its alerts name as its beginning; 0 while nothing fires.
    """

    kind: Kind | Literal[""] = ""
    over_ms: int = 0
    under_ms: int = 0
    since_ms: int = 0

    @property
    def firing(self) -> bool:
        """Whether it began and has not ended."""
        return self.since_ms != 0

    @property
    def quiet(self) -> bool:
        """Whether nothing is under way."""
        return not self.over_ms and not self.since_ms

    def turn(self, at_ms: int, over: bool, under: bool, levels: Levels) -> Status | None:
        """Tell it what holds at `at_ms`; says whether it begins or ends now.

        Parameters
        ----------
        at_ms:
            Instant judged, later than the last one.
        over, under:
            Whether it is at the begin level, and whether it is below the end level; both are false in between.
        levels:
            How long each must hold.
        """
        if self.firing:
            return self._ending(at_ms, under, levels)
        if not over:
            self.over_ms = 0
            return None
        self.over_ms = self.over_ms or at_ms
        if at_ms - self.over_ms < levels.begin_for_ms:
            return None
        self.since_ms = self.over_ms
        return "firing"

    def clear(self) -> None:
        """Forget the episode that ended."""
        self.kind, self.over_ms, self.under_ms, self.since_ms = "", 0, 0, 0

    def _ending(self, at_ms: int, under: bool, levels: Levels) -> Status | None:
        self.under_ms = (self.under_ms or at_ms) if under else 0
        return "resolved" if under and at_ms - self.under_ms >= levels.end_for_ms else None


def change(episode: Episode, status: Status, at_ms: int, figures: Figures) -> Change:
    """The change that `turn` announced; an episode that has ended is cleared."""
    if not episode.kind:
        raise ValueError("an episode without a kind says nothing")
    made = Change(episode.kind, status, episode.since_ms, at_ms, *figures)
    if status == "resolved":
        episode.clear()
    return made


def ending(episode: Episode, at_ms: int) -> Change:
    """The end of a firing episode of which nothing is known any more: all figures are 0."""
    nothing = Decimal(0)
    return change(episode, "resolved", at_ms, Figures(nothing, nothing, nothing, nothing, WINDOW_MS))
