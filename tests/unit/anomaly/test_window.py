"""The sliding hour leaves no rest, whatever the digits of what went through it."""

from __future__ import annotations

from decimal import Decimal

from udfs.anomaly.series import Minute
from udfs.anomaly.tuning import MINUTE_MS, STEP_MS, STEPS
from udfs.anomaly.window import Window


def test_what_left_the_hour_leaves_no_rest() -> None:
    window = Window()
    window.add(Minute(STEP_MS, 1, Decimal("0.000000001")))
    window.add(Minute(STEP_MS + MINUTE_MS, 1, Decimal("12345678901234567890.123456789")))
    window.step()
    window.add(Minute(2 * STEP_MS, 1, Decimal("0.000000003")))
    window.step()
    assert window.amount == Decimal("12345678901234567890.123456793")
    for _ in range(STEPS - 1):
        window.step()
    assert window.amount == Decimal("0.000000003")
    window.step()
    assert window.amount == 0
