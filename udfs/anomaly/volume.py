"""Volume of a meter: spikes, drops, silence; of a customer spikes alone."""

from __future__ import annotations

from decimal import Decimal
from typing import NamedTuple

import msgspec

from udfs.anomaly.episode import Episode, change
from udfs.anomaly.season import Expectation, Season, score, volume_at
from udfs.anomaly.series import Change, Figures, Kind, Status, rounded
from udfs.anomaly.tuning import HOUR_MS, MINUTE_MS, STEP_MS, WINDOW_MS, Levels, Tuning
from udfs.anomaly.window import Window

# Share of a new hour in the usual size of an event.
_LEARN_SIZE = 0.05
_LESSON_MS = HOUR_MS // 2
# An hour that fell far is called silent from this share of a silence that would be an anomaly by itself.
_MISSING_SHARE = 0.25
# Hours with fewer expected events do not tell whether something lasts.
_ACTIVE = 5.0
# Less than this is no volume to compare with, in events.
_LEAST = 0.5


class _Judged(NamedTuple):
    """A sliding hour beside what was expected of it: volumes in events, the amount in the unit of the meter."""

    at_ms: int
    observed: float
    amount: Decimal
    expected: Expectation
    score: float
    size: float

    @property
    def rise(self) -> float:
        """How many times the expected volume, or of the greatest of the week where that is the yardstick."""
        return self.observed / max(self.expected.events, self.expected.highest, _LEAST)

    @property
    def fall(self) -> float:
        """How many times smaller than the expected volume, or than the least of the week."""
        least = self.expected.lowest if self.expected.highest else self.expected.events
        return min(least, self.expected.events) / max(self.observed, _LEAST)


class Volume(msgspec.Struct, array_like=True):
    """State of the volume of one series.

    Parameters
    ----------
    season, high, low:
        Baselines, and the episodes of too much and too little.
    size:
        Usual amount of one event, in the unit of the meter; 0 before the first.
    signed:
        An hour had a negative sum: what adds up to nothing is no volume, so events are counted instead.
    silent_events:
        Events expected since the last one came.
    lasting:
        Whole hours on end above (or below, negative) what is expected, and the volumes seen and expected in them.
    """

    season: Season = msgspec.field(default_factory=Season)
    high: Episode = msgspec.field(default_factory=Episode)
    low: Episode = msgspec.field(default_factory=Episode)
    size: float = 0.0
    signed: bool = False
    silent_events: float = 0.0
    lasting: tuple[int, float, float] = (0, 0.0, 0.0)

    @property
    def quiet(self) -> bool:
        """Whether no episode is under way."""
        return self.high.quiet and self.low.quiet

    def judge(self, window: Window, local_ms: int, customer: bool, tuning: Tuning) -> list[Change]:
        """Judge the hour that ended at `window.done_ms`, and learn from it."""
        n, amount = window.events, window.amount
        observed = self._events(n, amount)
        changes: list[Change] = []
        # A quiet customer with few events is the usual case, and cannot be a spike.
        idle = customer and local_ms % HOUR_MS and observed < tuning.min_events and self.high.quiet
        expected = None if idle else self.season.expect(local_ms, tuning)
        if expected is not None:
            scored = score(observed, expected.events, expected.dispersion)
            amount = Decimal(n) if self.signed else amount
            judged = _Judged(window.done_ms, observed, amount, expected, scored, self._unit)
            changes = self._spike(judged, "customer_spike" if customer else "spike", tuning)
            if not customer:
                changes += self._low(judged, window, tuning)
            if not local_ms % HOUR_MS:
                self._last(judged, tuning)
        if not local_ms % _LESSON_MS and window.done_ms - window.first_ms >= WINDOW_MS:
            self.season.learn(local_ms, observed, not self.quiet, tuning)
            if not local_ms % HOUR_MS and n > 0 and not self.signed:
                self.size += _LEARN_SIZE * (float(amount) / n - self.size)
        return changes

    def _last(self, judged: _Judged, tuning: Tuning) -> None:
        """What lasts for days is how it is now: all hours of the week follow. A silence is not: it is an outage.

        Hours in which hardly anything is expected, such as nights, neither count nor break it off.
        """
        observed, expected = judged.observed, judged.expected.events
        if expected < _ACTIVE:
            return
        side = 1 if judged.rise > tuning.spike.end_ratio else 0
        if observed > 0 and judged.fall > tuning.low.end_ratio:
            side = -1
        hours, seen, usual = self.lasting if self.lasting[0] * side > 0 else (0, 0.0, 0.0)
        if side:
            hours, seen, usual = hours + side, seen + observed, usual + expected
        if hours >= tuning.settle_high_hours or -hours >= tuning.settle_low_hours:
            self.season.follow(min(max(seen / usual, 1 / tuning.most_follow), tuning.most_follow))
            hours, seen, usual = 0, 0.0, 0.0
        self.lasting = hours, seen, usual

    @property
    def _unit(self) -> float:
        return 1.0 if self.signed else self.size or 1.0

    def _events(self, n: int, amount: Decimal) -> float:
        """Volume in events of the usual size."""
        if amount < 0 and not self.signed:
            self.signed, self.season = True, Season()
        if not self.size and n > 0 and amount:
            self.size = float(amount) / n
        return float(max(n, 0)) if self.signed else max(0.0, float(amount) / self._unit)

    def _spike(self, judged: _Judged, kind: Kind, tuning: Tuning) -> list[Change]:
        levels = tuning.customer_spike if kind == "customer_spike" else tuning.spike
        enough = judged.observed >= tuning.min_events
        over = enough and judged.score >= levels.begin and judged.rise >= levels.begin_ratio
        under = judged.score < levels.end or judged.rise < levels.end_ratio
        turn = self.high.turn(judged.at_ms, over, under, levels)
        return self._changes(self.high, turn, kind, judged, levels)

    def _low(self, judged: _Judged, window: Window, tuning: Tuning) -> list[Change]:
        levels = tuning.low
        share = self._silence(judged, window, tuning)
        silent = share >= 1
        fallen = judged.score <= -levels.begin and judged.fall >= levels.begin_ratio
        # Something has to come for a silence to end, and it counts for little in an hour that was silent.
        under = (judged.score > -levels.end or judged.fall < levels.end_ratio) and not silent
        turn = self.low.turn(judged.at_ms, silent or fallen, under, levels)
        missing = share >= _MISSING_SHARE
        if turn == "firing" and missing:
            self.low.since_ms = window.last_ms + MINUTE_MS
        return self._changes(self.low, turn, "missing" if missing else "drop", judged, levels)

    def _silence(self, judged: _Judged, window: Window, tuning: Tuning) -> float:
        """Events missing since the last one, as a share of what cannot be chance."""
        silent_ms = judged.at_ms - window.last_ms - MINUTE_MS
        if silent_ms < STEP_MS:
            self.silent_events = 0.0
            return 0.0
        # Events of a series wider than Poisson come in bunches, and a bunch that is missing is one thing missing. Where
        # usage begins or ends within the hour, the smaller of both rates holds.
        rate = min(judged.expected.rate, judged.expected.events)
        self.silent_events += rate / judged.expected.dispersion**2 * STEP_MS / WINDOW_MS
        return self.silent_events / tuning.silent_events if silent_ms >= tuning.silent_for_ms else 0.0

    def _changes(
        self, episode: Episode, turn: Status | None, kind: Kind, judged: _Judged, levels: Levels
    ) -> list[Change]:
        if turn is None:
            return []
        if turn == "firing":
            episode.kind = kind
        events, dispersion = judged.expected.events, judged.expected.dispersion
        sign = -1 if kind in {"drop", "missing"} else 1
        bound = volume_at(sign * levels.begin, events, dispersion)
        bound = max(bound, events * levels.begin_ratio) if sign > 0 else min(bound, events / levels.begin_ratio)
        expected, threshold = rounded(events * judged.size), rounded(bound * judged.size)
        figures = Figures(expected, judged.amount, threshold, rounded(judged.score), WINDOW_MS)
        return [change(episode, turn, judged.at_ms, figures)]
