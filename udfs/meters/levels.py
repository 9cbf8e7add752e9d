"""Time integrals of a level that changes by deltas, such as GB-hours from bytes stored and deleted."""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal, localcontext
from typing import Literal

Per = Literal["second", "minute", "hour", "day"]

PER_MS: dict[str, int] = {"second": 1_000, "minute": 60_000, "hour": 3_600_000, "day": 86_400_000}
_QUANTUM = Decimal("1E-9")
_PRECISION = 60


def integral(level_before: Decimal, change: Decimal, moment: Decimal, start_ms: int, end_ms: int, per: Per) -> Decimal:
    """The level added up over [start_ms, end_ms), rounded half-even to 9 decimals.

    A change d at t holds from t on, so it adds d * (end - t): over all changes that is change * end - moment.

    Parameters
    ----------
    level_before:
        Sum of all changes before `start_ms`.
    change:
        Sum of the changes d in the interval.
    moment:
        Sum of d * t, t in UTC epoch ms.
    start_ms, end_ms:
        UTC epoch ms.
    per:
        Unit of time: a level of 1 over one of it is 1.
    """
    with localcontext() as context:
        context.prec = _PRECISION
        total = level_before * (end_ms - start_ms) + change * end_ms - moment
        return (total / PER_MS[per]).quantize(_QUANTUM, ROUND_HALF_EVEN)
