"""What to expect of a sliding hour: by the hours of the week, with level and dispersion each, or by the last week."""

from __future__ import annotations

from math import sqrt
from statistics import median
from typing import NamedTuple

import msgspec

from udfs.anomaly.tuning import HOUR_MS, HOURS_A_WEEK, Tuning

# Mean absolute deviation and median absolute deviation of a normal distribution, as factors to its standard deviation.
_FROM_MEAN_DEVIATION = 1.2533
_FROM_MEDIAN_DEVIATION = 1.4826
# Weight, in weeks, of the dispersion of the whole series in that of one hour of the week.
_SHARED_WEEKS = 4.0
# Lessons an hour gives about dispersion, lessons that the dispersion of the whole series remembers (two weeks), and
# how many its first value counts for.
_LESSONS = 2
_SHARED_LESSONS = 2 * HOURS_A_WEEK * _LESSONS
_PRIOR_LESSONS = 12
# Weeks are counted no further.
_MOST_WEEKS = 1_000
_ANSCOMBE = 0.375
# Counts of this order say something about dispersion; smaller ones are all rounding.
_ENOUGH_EXPECTED = 2.0


class Expectation(NamedTuple):
    """What is expected of a sliding hour.

    Parameters
    ----------
    events:
        Expected volume in events: amounts are counted in events of the usual size.
    dispersion:
        How much wider than Poisson the series is, at least 1.
    rate:
        Events expected per hour at its end.
    lowest, highest:
        Volumes of the last week, as far as it is judged by that; else 0 and 0.
    """

    events: float
    dispersion: float
    rate: float
    lowest: float = 0.0
    highest: float = 0.0


def score(observed: float, expected: float, dispersion: float) -> float:
    """Standard deviations between two volumes in events.

    Square roots make the variance of counts the same whatever their size (Anscombe 1948), so that three events an hour
    and three million are judged alike; a deviation never counts for more than Poisson noise allows.
    """
    return 2 * (sqrt(observed + _ANSCOMBE) - sqrt(expected + _ANSCOMBE)) / dispersion


def volume_at(scored: float, expected: float, dispersion: float) -> float:
    """The volume in events that has this score; not below 0."""
    root = sqrt(expected + _ANSCOMBE) + scored * dispersion / 2
    return max(0.0, root * root - _ANSCOMBE) if root > 0 else 0.0


class Season(msgspec.Struct, array_like=True):
    """Baselines of one series; volumes in events.

    Parameters
    ----------
    level, spread, seen:
        Of each hour of the week, Monday 0 h first: volume, mean absolute score before dispersion, times seen.
    shared, lessons:
        Mean absolute score of the whole series, and how often it learned.
    hours:
        The last 168 whole hours, oldest first.
    moving:
        What `hours` make an Expectation of, until the next whole hour; empty when it has to be worked out.
    """

    level: list[float] = msgspec.field(default_factory=lambda: [0.0] * HOURS_A_WEEK)
    spread: list[float] = msgspec.field(default_factory=lambda: [0.0] * HOURS_A_WEEK)
    seen: list[int] = msgspec.field(default_factory=lambda: [0] * HOURS_A_WEEK)
    shared: float = 0.8
    lessons: int = 0
    hours: list[float] = msgspec.field(default_factory=list)
    moving: tuple[float, ...] = ()

    def expect(self, local_ms: int, tuning: Tuning) -> Expectation | None:
        """Expectation of the hour that ends at `local_ms`, epoch ms of the local clock; None without enough history."""
        hour, rest_ms = divmod(local_ms, HOUR_MS)
        share = rest_ms / HOUR_MS
        before, now = _bucket(hour - 1), _bucket(hour)
        if min(self.seen[before], self.seen[now] if rest_ms else tuning.season_weeks) < tuning.season_weeks:
            return self._moving(tuning)
        events = (1 - share) * self.level[before] + share * self.level[now]
        rate = self.level[now if rest_ms else before]
        return Expectation(events, self._dispersion(before if share < 0.5 else now), rate)  # noqa: PLR2004  half an hour

    def learn(self, local_ms: int, observed: float, alarmed: bool, tuning: Tuning) -> None:
        """Take in the hour that ends at `local_ms`; little of it while an episode runs.

        Levels learn from whole hours of the clock. Dispersion learns from half hours too: what the straight line
        between two hours misses is noise as well.
        """
        hour, rest_ms = divmod(local_ms, HOUR_MS)
        before, now = _bucket(hour - 1), _bucket(hour)
        if not rest_ms:
            self._disperse(before, observed, self.level[before], alarmed, tuning)
            self._rise(before, observed, alarmed, tuning)
            self._remember(observed, alarmed, tuning)
        elif rest_ms == HOUR_MS // 2 and self.seen[now]:
            self._disperse(before, observed, (self.level[before] + self.level[now]) / 2, alarmed, tuning)

    def follow(self, factor: float) -> None:
        """Multiply what is expected of every hour; the last week is taken as if it had been so."""
        self.level = [level * factor for level in self.level]
        self.hours = [volume * factor for volume in self.hours]
        self.moving = ()

    def _remember(self, observed: float, alarmed: bool, tuning: Tuning) -> None:
        if alarmed and len(self.hours) >= tuning.moving_hours:
            observed = min(max(observed, min(self.hours)), max(self.hours))
        self.hours.append(observed)
        del self.hours[:-HOURS_A_WEEK]
        self.moving = ()

    def _moving(self, tuning: Tuning) -> Expectation | None:
        if len(self.hours) < tuning.moving_hours:
            return None
        if self.moving:
            return Expectation(*self.moving)
        roots = [2 * sqrt(volume + _ANSCOMBE) for volume in self.hours]
        middle = median(roots)
        deviation = median(abs(root - middle) for root in roots)
        events = max(0.0, middle * middle / 4 - _ANSCOMBE)
        lowest, highest = min(self.hours), max(self.hours)
        made = Expectation(events, max(1.0, _FROM_MEDIAN_DEVIATION * deviation), lowest, lowest, highest)
        self.moving = tuple(made)
        return made

    def _dispersion(self, bucket: int) -> float:
        weeks = self.seen[bucket]
        mixed = (_SHARED_WEEKS * self.shared + weeks * self.spread[bucket]) / (_SHARED_WEEKS + weeks)
        return max(1.0, _FROM_MEAN_DEVIATION * mixed)

    def _disperse(self, bucket: int, observed: float, expected: float, alarmed: bool, tuning: Tuning) -> None:
        weeks = self.seen[bucket]
        if not weeks:
            return
        deviation = min(abs(score(observed, expected, 1.0)), tuning.clip * self._dispersion(bucket))
        share = tuning.learn_alarmed if alarmed else max(tuning.learn, 1 / weeks)
        self.spread[bucket] += share / _LESSONS * (deviation - self.spread[bucket])
        if expected >= _ENOUGH_EXPECTED and not alarmed:
            self.lessons = min(self.lessons + 1, _SHARED_LESSONS)
            self.shared += (deviation - self.shared) / (self.lessons + _PRIOR_LESSONS)

    def _rise(self, bucket: int, observed: float, alarmed: bool, tuning: Tuning) -> None:
        weeks, level = self.seen[bucket], self.level[bucket]
        share = max(tuning.learn, 1 / (weeks + 1))
        if weeks >= tuning.season_weeks:
            dispersion = self._dispersion(bucket)
            lowest, highest = (volume_at(sign * tuning.clip, level, dispersion) for sign in (-1, 1))
            observed = min(max(observed, lowest), highest)
            share = tuning.learn_alarmed if alarmed else share
        self.level[bucket] += share * (observed - level)
        self.seen[bucket] = min(weeks + 1, _MOST_WEEKS)


def _bucket(hour: int) -> int:
    # 1970-01-01 was a Thursday.
    return (hour + 72) % HOURS_A_WEEK
