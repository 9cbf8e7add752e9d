"""Precision and recall over ten weeks of made-up usage, lest tuning rots unseen. The year of flights: tests/bench."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import NamedTuple

import pytest

from tests.unit.anomaly.test_anomaly import METER, MONDAY_MS, TUNING, by_day, minutes
from udfs.anomaly.detector import replay
from udfs.anomaly.series import Change
from udfs.anomaly.tuning import DAY_MS, HOUR_MS, MINUTE_MS

WEEKS = 10
FIRST_DAY = 28


class Fault(NamedTuple):
    """Volume times `factor` in [start_ms, end_ms)."""

    start_ms: int
    end_ms: int
    factor: float


def faults_of(seed: int) -> list[Fault]:
    """A fault every other day, one to three hours between 7 and 18 h, spikes and drops in turn."""
    rng = Random(seed)
    found = []
    for index, day in enumerate(range(FIRST_DAY, WEEKS * 7 - 1, 2)):
        start_ms = MONDAY_MS + day * DAY_MS + rng.randrange(7 * 60, 18 * 60) * MINUTE_MS
        found.append(Fault(start_ms, start_ms + rng.randrange(60, 181) * MINUTE_MS, (3.0, 0.0)[index % 2]))
    return found


def with_faults(faults: list[Fault], level: float) -> Callable[[int], float]:
    def rate(at_ms: int) -> float:
        factors = [fault.factor for fault in faults if fault.start_ms <= at_ms < fault.end_ms]
        return by_day(at_ms, level, level / 20) * (factors[0] if factors else 1)

    return rate


def explains(fault: Fault, change: Change) -> bool:
    kinds = {"spike"} if fault.factor else {"drop", "missing"}
    return change.kind in kinds and fault.start_ms <= change.at_ms <= fault.end_ms + HOUR_MS


@pytest.mark.parametrize("level", [25.0, 400.0])
def test_faults_are_found_and_hardly_anything_else_is_said(level: float) -> None:
    faults = faults_of(seed=5)
    stream = minutes(WEEKS * 7, with_faults(faults, level), seed=6)
    changes = replay(METER, stream, MONDAY_MS + WEEKS * 7 * DAY_MS, TUNING)
    begun = [change for change in changes if change.status == "firing"]
    found = [fault for fault in faults if any(explains(fault, change) for change in begun)]
    true = [change for change in begun if any(explains(fault, change) for fault in faults)]
    # Weekends have half the volume: at the lower level one of their faults may be too small to differ from chance.
    assert len(found) >= 0.9 * len(faults)
    assert len(true) >= 0.9 * len(begun)
