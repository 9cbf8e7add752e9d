"""Calendars that list their boundaries one by one, such as a 4-4-5 year, where no interval says where periods begin."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from typing import Any

from udfs.calendars.localtime import CalendarError, LocalCalendar, NoPeriodError, instant_of
from udfs.values import rfc3339

# One ends the only period; weeks of a century.
LEAST_BOUNDARIES = 2
MOST_BOUNDARIES = 5_300
# Ten years, as for intervals: longer periods would outlive the state that holds their totals.
_LONGEST_MS = 3_653 * 86_400_000


@dataclass(frozen=True)
class BoundaryCalendar(LocalCalendar):
    """Periods from each boundary to the next; there is none before the first boundary or from the last one on.

    Parameters
    ----------
    boundaries:
        Naive local wall-clock times. One in a skipped local hour moves forward by the gap, one in a repeated hour takes
        the first reading.
    timezone:
        IANA name, resolved from the pinned tzdata package.

    Raises
    ------
    CalendarError
        Fewer than LEAST_BOUNDARIES or more than MOST_BOUNDARIES, one that is not after the one before it, or one that
        is over ten years after it.
    """

    boundaries: tuple[datetime, ...]
    timezone: str
    _instants: tuple[int, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not LEAST_BOUNDARIES <= (count := len(self.boundaries)) <= MOST_BOUNDARIES:
            raise CalendarError(f"boundaries: {count} given; list {LEAST_BOUNDARIES} to {MOST_BOUNDARIES} of them.")
        instants = tuple(instant_of(one, self.timezone) for one in self.boundaries)
        for k, (before, after) in enumerate(pairwise(instants)):
            if not before < after <= before + _LONGEST_MS:
                raise CalendarError(self._fault(k, too_long=before < after))
        object.__setattr__(self, "_instants", instants)

    def __reduce__(self) -> tuple[Any, ...]:
        return BoundaryCalendar, (self.boundaries, self.timezone)

    def index_at(self, ms: int) -> int:
        """K of the last boundary that is not after an instant (UTC epoch ms).

        Raises
        ------
        NoPeriodError
            It is before the first boundary, or not before the last.
        """
        first, last = self._instants[0], self._instants[-1]
        if not first <= ms < last:
            raise NoPeriodError(
                f"{rfc3339(ms)} is in no period: the boundaries of its calendar begin with {rfc3339(first)} "
                f"({_local(self.boundaries[0])} in {self.timezone}) and end with {rfc3339(last)} "
                f"({_local(self.boundaries[-1])}), which is in none itself."
            )
        return bisect_right(self._instants, ms) - 1

    def boundary(self, k: int) -> int:
        """Boundary k of the list, counted from 0; UTC epoch ms."""
        return self._instants[k]

    def wall_clock(self, k: int) -> datetime:
        """Boundary k as it is listed."""
        return self.boundaries[k]

    def _fault(self, k: int, *, too_long: bool) -> str:
        before, after = self.boundaries[k], self.boundaries[k + 1]
        if too_long:
            return f"boundaries: from {_local(before)} to {_local(after)} are over ten years; put one in between."
        text = f"boundaries: {_local(after)} is listed after {_local(before)} and is not later"
        if before < after:
            return f"{text} in {self.timezone}, where the clock skips what lies between; leave one out."
        return f"{text}; list them in ascending order, each once."


def _local(boundary: datetime) -> str:
    return boundary.isoformat()
