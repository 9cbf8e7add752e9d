"""Medians with their spread, percentiles, and when a run is warm."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

# Two windows that differ by less are the same pace.
AGREEMENT = 0.10


@dataclass(frozen=True, slots=True)
class Spread:
    """The runs of one figure: all values, in the order they were measured."""

    values: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.values:
            raise ValueError("a figure needs a value.")

    @property
    def median(self) -> float:
        """The middle one."""
        return statistics.median(self.values)

    @property
    def least(self) -> float:
        """The smallest one."""
        return min(self.values)

    @property
    def most(self) -> float:
        """The largest one."""
        return max(self.values)


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of the values do not exceed (nearest rank).

    Raises
    ------
    ValueError
        There are no values.
    """
    if not values:
        raise ValueError("no values, so no percentile: nothing was seen.")
    ordered = sorted(values)
    rank = -int(-share * len(ordered) // 1)
    return ordered[min(len(ordered), max(1, rank)) - 1]


def agree(first: float, second: float, within: float = AGREEMENT) -> bool:
    """Whether two paces differ by at most a share of the greater one."""
    return abs(first - second) <= within * max(first, second)


def warm_after(rates: Sequence[float], within: float = AGREEMENT) -> int | None:
    """How many windows belong to the warm-up: those before the first two in a row that agree; None: no two do.

    Windows in which nothing came have no pace.
    """
    for index in range(1, len(rates)):
        if rates[index] and agree(rates[index - 1], rates[index], within):
            return index - 1
    return None


def slope(small: tuple[float, float], large: tuple[float, float]) -> float:
    """How cost grows from one size to another, each (size, cost): 1 is linear, 2 is twice as dear at the larger one."""
    return (large[1] / large[0]) / (small[1] / small[0])
