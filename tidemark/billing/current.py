"""Which periods of a customer are current once another version of the rollups takes over: its calendar decides."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from datetime import datetime
from itertools import pairwise

from tidemark.billing.lines import PeriodKey
from tidemark.billing.periods import CALENDAR_ERRORS, FOREVER, walk
from tidemark.billing.true_up import current_periods
from tidemark.core.rollup_views import Overlay
from udfs.catalog.cache import Catalog
from udfs.catalog.model import Pair

Keys = AbstractSet[PeriodKey]


class EdgeError(Exception):
    """Two periods that follow each other, one in the scope and the other not, do not meet."""

    def __init__(self, first: PeriodKey, second: PeriodKey) -> None:
        super().__init__(first, second)
        self.first = first
        self.second = second


def current_by_calendar(
    catalog: Catalog, pair: Pair, closed: Keys, used: Keys, scope: Overlay, until: datetime | None = None
) -> set[PeriodKey]:
    """Periods of a customer that are final within a scope: those of its calendar, as far as it was closed.

    A closed period without usage says nothing of the calendar that it is of, so the calendar is walked anew. The next
    close walks it from the end of the last current period: together they leave no instant out, and bill none twice.

    Parameters
    ----------
    catalog, pair:
        The customer, and the catalog in which it was prefetched.
    closed:
        Its closed periods that are current, in the scope and at its edges. Those outside stay as they are.
    used:
        Its final periods with usage, in the scope.
    scope:
        The range that changes hands.
    until:
        Event time from which on the catalog no longer has it: no period without usage is added from then on.

    Raises
    ------
    EdgeError
        At an edge of the scope the closed periods are not those of the calendar: a level would be billed twice there,
        or not at all.
    """
    kept = {key for key in closed if scope.holds(key.start, key.end)}
    if not kept and not used:
        return set()
    try:
        walked = _walked(catalog, pair, closed | used, scope)
    except CALENDAR_ERRORS:
        return current_periods(kept, used)
    if not used <= set(walked):
        # The usage was counted by another calendar.
        return current_periods(kept, used)
    end = max(key.end for key in closed | used)
    within = [key for key in walked if scope.holds(key.start, key.end) and key.end <= end]
    _refuse_gap(closed, within, walked, scope)
    return {key for key in within if until is None or key.start < until or key in used or key in closed}


def current_as_before(closed: Keys, replaced: Keys, used: Keys) -> set[PeriodKey]:
    """Periods that are final once a promotion is taken back.

    The calendar may still be that of the promotion, and the version below was counted by the one before. So what the
    promotion replaced is current again, and of what it closed, only what overlaps none of that.

    Parameters
    ----------
    closed:
        Closed periods that are current now.
    replaced:
        Closed periods that were current until the promotion.
    used:
        Final periods with usage in the version below.
    """
    return current_periods(closed, current_periods(replaced, used))


def _walked(catalog: Catalog, pair: Pair, known: Keys, scope: Overlay) -> list[PeriodKey]:
    """Periods of the calendar from the first known one on, to the one that holds the end of the last."""
    start, end = min(key.start for key in known), max(key.end for key in known)
    walked = list(walk(catalog, pair, start, FOREVER, end))
    # Without a close before the scope, nothing was billed before the first period that is known.
    return walked if start < scope.start else [key for key in walked if key.start >= start]


def _refuse_gap(closed: Keys, within: list[PeriodKey], walked: list[PeriodKey], scope: Overlay) -> None:
    """Compare what is final within with the closed periods outside; behind the last one the next close follows."""
    before = sorted((key for key in closed if key.start < scope.start), key=lambda key: key.end)
    after = sorted(key for key in closed if scope.end is not None and key.end > scope.end)
    parts = [*before[-1:], *within]
    following = after or [key for key in walked if parts and key.end > parts[-1].end]
    for one, other in pairwise([*parts, *following[:1]]):
        if one.end != other.start:
            raise EdgeError(one, other)
