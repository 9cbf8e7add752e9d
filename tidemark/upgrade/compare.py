"""Whether two versions that both run on agree: lines that get events move while they are compared."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

from tidemark.replay.diff import Line

Place = tuple[str, str, str, str, datetime]


class Compared(NamedTuple):
    """What several comparisons found.

    Parameters
    ----------
    differing:
        Lines that are not equal in any of them, and are apart by more than they moved.
    moving:
        Lines that were not equal in any of them, because each time they had just got events.
    """

    differing: tuple[Line, ...] = ()
    moving: tuple[Line, ...] = ()


def place_of(line: Line) -> Place:
    """What a line is about: two lines of one place differ in their values alone."""
    return line.tenant_id, line.customer_id, line.meter, line.dims, line.period_start


def compared(rounds: Sequence[Sequence[Line]]) -> Compared:
    """Lines that each of several comparisons found, each begun when both versions had caught up with each other.

    Of two versions one is ahead of the other by what came just now. A line without events is therefore equal, or
    differs. One that gets events in every round takes the values that the other had or will have: its values over all
    rounds have a range in common, unless it differs by more than it moved.

    Returns
    -------
    The lines as they were in the last round, in its order.
    """
    seen = [{place_of(line): line for line in lines} for lines in rounds]
    always = [place for place in (seen[-1] if seen else ()) if all(place in one for one in seen)]
    apart = {place for place in always if _apart([one[place] for one in seen])}
    return Compared(
        tuple(seen[-1][place] for place in always if place in apart),
        tuple(seen[-1][place] for place in always if place not in apart),
    )


def _apart(lines: Sequence[Line]) -> bool:
    before, after = _range([line.before for line in lines]), _range([line.after for line in lines])
    return before is None or after is None or before[1] < after[0] or after[1] < before[0]


def _range(values: Sequence[Decimal | None]) -> tuple[Decimal, Decimal] | None:
    """Least and greatest value; None where there never was one."""
    known = [value for value in values if value is not None]
    return (min(known), max(known)) if known else None
