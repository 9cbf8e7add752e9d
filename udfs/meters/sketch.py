"""Percentiles from bins as wide as their values are large: they can be merged, and the relative error is bounded."""

from __future__ import annotations

import math
from collections.abc import Mapping
from decimal import ROUND_HALF_EVEN, Decimal, localcontext
from fractions import Fraction
from functools import lru_cache

# Bin i holds (GAMMA^(i-1), GAMMA^i]; its middle is at most (GAMMA-1)/(GAMMA+1) = 0.991 % off every value in it.
GAMMA = Decimal("1.02")
_LOG_GAMMA = math.log(1.02)
# A binary logarithm is surer than this; closer to a bound than that, whole numbers decide.
_DOUBT = 1e-9
_PRECISION = 60
# Decimals of an estimate: 18 are 9 more than a value has, so that small values keep the error bound.
_QUANTUM = Decimal("1E-18")

ZERO_BIN = "b0"
# Samples of a bin, its least and its greatest value.
Bin = tuple[int, Decimal | None, Decimal | None]


@lru_cache(maxsize=20_000)
def bin_of(value: str) -> str:
    """The bin of plain decimal text: `bp<i>` for positive values, `bn<i>` for negative ones, `b0` for zero."""
    size = Decimal(value)
    if not size:
        return ZERO_BIN
    return f"bn{_index(-size)}" if size < 0 else f"bp{_index(size)}"


def _index(size: Decimal) -> int:
    """The least i with size <= GAMMA^i, for a positive size."""
    exponent = math.log(size) / _LOG_GAMMA
    near = round(exponent)
    if abs(exponent - near) > _DOUBT:
        return math.ceil(exponent)
    return near if Fraction(size) <= Fraction(GAMMA) ** near else near + 1


def estimate(part: str, lo: Decimal, hi: Decimal) -> Decimal:
    """The value that stands for all of a bin, at most 0.991 % off any of them.

    Parameters
    ----------
    part:
        As `bin_of` returns it.
    lo, hi:
        Least and greatest value in the bin.
    """
    if part == ZERO_BIN:
        return Decimal(0)
    middle = _middle(int(part[2:]))
    return min(max(-middle if part[1] == "n" else middle, lo), hi)


@lru_cache(maxsize=4_096)
def _middle(index: int) -> Decimal:
    with localcontext() as context:
        context.prec = _PRECISION
        return (2 * GAMMA**index / (GAMMA + 1)).quantize(_QUANTUM, ROUND_HALF_EVEN)


def percentile(bins: Mapping[str, Bin], p: Decimal | str) -> Decimal | None:
    """The value at rank max(1, ceil(p * samples)) in ascending order, as `percentile_disc`, but for the bin's error.

    Parameters
    ----------
    bins:
        By part; those without samples are passed over. To merge, add up samples and widen lo and hi by part.
    p:
        In (0, 1].

    Returns
    -------
    Decimal or None
        None when there are no samples.

    Raises
    ------
    ValueError
        `p` is outside (0, 1].
    """
    share = Fraction(p)
    if not 0 < share <= 1:
        raise ValueError(f"percentile {p} is not within (0, 1].")
    filled = sorted((part for part, one in bins.items() if one[0] > 0), key=_place)
    rank = max(1, math.ceil(share * sum(bins[part][0] for part in filled)))
    for part in filled:
        samples, lo, hi = bins[part]
        rank -= samples
        if rank <= 0 and lo is not None and hi is not None:
            return estimate(part, lo, hi)
    return None


def _place(part: str) -> tuple[int, int]:
    """Sorts bins by value: of the negative ones the highest index comes first."""
    if part == ZERO_BIN:
        return 0, 0
    return (-1, -int(part[2:])) if part[1] == "n" else (1, int(part[2:]))
