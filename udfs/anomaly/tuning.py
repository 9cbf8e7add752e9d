"""What the anomaly detectors are tuned by; figures of the tuning: docs/anomalies.md."""

from __future__ import annotations

from dataclasses import dataclass

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS
# Everything is judged over a sliding hour, because a minute of a sparse series says nothing; and anew this often.
WINDOW_MS = HOUR_MS
STEP_MS = 5 * MINUTE_MS
STEPS = WINDOW_MS // STEP_MS
HOURS_A_WEEK = 168


@dataclass(frozen=True, slots=True)
class Levels:
    """When an episode begins and ends.

    Parameters
    ----------
    begin, end:
        Scores: it begins at `begin` or above, and ends below `end`, which is smaller.
    begin_ratio, end_ratio:
        The effect there must be besides: observed to expected (its inverse for what falls).
    begin_for_ms, end_for_ms:
        How long each must hold, event time.
    """

    begin: float
    end: float
    begin_ratio: float
    end_ratio: float
    begin_for_ms: int
    end_for_ms: int


@dataclass(frozen=True, slots=True)
class Tuning:
    """All parameters of the detectors.

    Parameters
    ----------
    spike, low, customer_spike, error_rate, drift:
        Levels of each kind; `low` is drop and missing.
    moving_hours:
        Hours of history before the moving baseline is used.
    season_weeks:
        Times an hour of the week must have been seen before its season is used.
    learn, learn_alarmed:
        Share of a new week in the level of its hour; the share while an episode runs.
    clip:
        Scores beyond it teach a level no more than this.
    settle_high_hours, settle_low_hours, most_follow:
        So many hours on end above or below are how it is now, unless they are silent: all levels follow by what they
        differ, but by this factor at most. A storm or an outage of a day is low, so that takes longer.
    min_events:
        Fewer events in an hour are no spike.
    silent_events, silent_for_ms:
        A silence in which at least so many events were expected, and so long, is `missing`.
    min_rejected, error_points:
        Fewer dead letters in an hour, or a share fewer points above the usual one, are no error rate.
    error_hours:
        Hours with records before the share of dead letters is judged.
    forget_ms:
        A series silent for so long is forgotten.
    """

    spike: Levels = Levels(4.0, 2.5, 1.6, 1.35, 10 * MINUTE_MS, 20 * MINUTE_MS)
    low: Levels = Levels(4.8, 2.5, 3.0, 1.5, 10 * MINUTE_MS, 20 * MINUTE_MS)
    customer_spike: Levels = Levels(3.5, 2.0, 2.0, 1.4, 10 * MINUTE_MS, 30 * MINUTE_MS)
    error_rate: Levels = Levels(5.0, 2.5, 2.0, 1.5, 10 * MINUTE_MS, 20 * MINUTE_MS)
    drift: Levels = Levels(4.0, 2.5, 1.25, 1.15, DAY_MS, 2 * DAY_MS)
    moving_hours: int = 48
    season_weeks: int = 3
    learn: float = 0.2
    learn_alarmed: float = 0.04
    clip: float = 3.0
    settle_high_hours: int = 24
    settle_low_hours: int = 72
    most_follow: float = 4.0
    min_events: int = 10
    silent_events: float = 14.0
    silent_for_ms: int = 10 * MINUTE_MS
    min_rejected: int = 10
    error_points: float = 0.05
    error_hours: int = 24
    forget_ms: int = 35 * DAY_MS
