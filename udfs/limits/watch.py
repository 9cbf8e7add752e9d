"""Watches running totals against their limits: candidates for alerts, which Flink's state turns into one each.

What is kept here is memory, not state: it may be lost at any time. Of a counter that is not remembered all that it has
reached is reported, and what its earlier limits had to say is ended; the job keeps the last status of each condition
(`jobs/meter/alert_news.sql`) and drops what is no news. So a restart, a change of the catalog and a repeated batch
need no care of their own.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from udfs.alerts.event import Alert
from udfs.catalog.model import Pair
from udfs.limits.alerts import Counter, Why, alert_of, condition, per_hour
from udfs.limits.cache import LimitCache
from udfs.limits.rule import Limit
from udfs.limits.status import Crossing, crossings, ended, levels, quiet_range
from udfs.limits.timeline import Stretch, stretch_at, superseded
from udfs.meters.meter import BEGINNING_MS, FOREVER_MS
from udfs.values import EXACT, plain

# 100 000 counters with a limit remembered take about 60 MB.
MEMORY = 100_000
RECENT_MS = 600_000
TOP_DIMENSIONS = 5
# Series of one counter that are named; the rest of them stays unnamed.
MOST_DIMENSIONS = 32


# The limit that holds, and what is to be reported.
Seen = tuple[Limit | None, list[Alert]]


@dataclass(slots=True)
class Memory:
    """What is remembered of one counter.

    Parameters
    ----------
    revision, until_ms:
        For which catalog, and up to which event time, `limit` is known to hold.
    quiet:
        [floor, ceiling) in which no total has anything to say.
    recent:
        Event time and total at the begin of this and the last stretch of RECENT_MS.
    dims:
        Usage by group-by values since this memory began.
    """

    limit: Limit | None
    revision: int
    until_ms: int
    quiet: tuple[Decimal, Decimal]
    recent: list[tuple[int, Decimal]]
    dims: dict[str, Decimal] = field(default_factory=dict)


class LimitWatch:
    """Holds totals against limits; one for a worker, not safe for use from several threads.

    Parameters
    ----------
    cache:
        The limits.
    wall_ms:
        Epoch milliseconds, for the time of alerts.
    """

    def __init__(self, cache: LimitCache, wall_ms: Callable[[], int]) -> None:
        self._cache = cache
        self._wall_ms = wall_ms
        self._memory: OrderedDict[tuple[str, str, str, int], Memory] = OrderedDict()
        # Totals before the first change that was not compared with anything, because the limits were unknown.
        self._missed: OrderedDict[tuple[str, str, str, int], Decimal] = OrderedDict()

    def revision_of(self, tenant: str, customer: str) -> int:
        """Revision of the catalog that the limits of a customer are taken from."""
        return self._cache.revision_of(tenant, customer)

    def prepare(self, pairs: Iterable[Pair]) -> None:
        """Take over what changed, and look the customers of a batch up that are new."""
        self._cache.refresh()
        self._cache.prefetch(pairs)

    def see(self, counter: Counter, before: Decimal, total: Decimal, dims: str = "") -> Seen:
        """The limit that holds now (None for none), and the candidates of one change from `before` to `total`.

        Raises
        ------
        LimitsUnknownError
            The catalog has not been read, or the customer could not be looked up.
        """
        key = (counter.tenant, counter.customer, counter.meter, counter.period_start_ms)
        memory = self._memory.get(key)
        revision = self._cache.revision_of(counter.tenant, counter.customer)
        if memory is None or memory.revision != revision or counter.at_ms >= memory.until_ms:
            return self._anew(key, memory, counter, before, total, dims)
        self._memory.move_to_end(key)
        if memory.limit is None:
            return None, []
        _remember(memory, counter.at_ms, before, total, dims)
        floor, ceiling = memory.quiet
        if floor <= total < ceiling and floor <= before < ceiling:
            return memory.limit, []
        found = crossings(memory.limit, before, total)
        memory.quiet = quiet_range(memory.limit, total)
        return memory.limit, self._alerts(found, counter, total, "usage", _evidence(memory, counter.at_ms, total))

    def _anew(
        self,
        key: tuple[str, str, str, int],
        memory: Memory | None,
        counter: Counter,
        before: Decimal,
        total: Decimal,
        dims: str,
    ) -> Seen:
        stretches = self._cache.stretches(counter.tenant, counter.customer, counter.meter)
        revision = self._cache.revision_of(counter.tenant, counter.customer)
        if stretches is None:
            self._miss(key, before)
            raise LimitsUnknownError
        before = self._missed.pop(key, before)
        if not stretches and (memory is None or memory.limit is None):
            # No limit in the whole tenant: nothing to remember, and a change of that is a new revision.
            return None, []
        stretches = stretches or (Stretch(BEGINNING_MS, FOREVER_MS, None),)
        stretch = stretch_at(stretches, counter.at_ms)
        limit = stretch.limit
        if memory is not None and memory.limit == limit:
            memory.revision, memory.until_ms = revision, stretch.end_ms
            return self.see(counter, before, total, dims)
        earlier = superseded(stretches, counter.period_start_ms, counter.at_ms)
        if memory is not None and memory.limit is not None and memory.limit not in earlier:
            # A backdated change has taken it out of the history, or its end was set.
            earlier.append(memory.limit)
        gone = _gone(earlier, limit, counter, before, total)
        # Steps passed just now count each, also for a counter that was not known; the rest is reported by its level.
        passed = crossings(limit, before, total) if limit else []
        reached = [one for one in levels(limit, total) if one not in passed] if limit else []
        why: Why = "rule" if memory is not None or gone else "usage"
        quiet = quiet_range(limit, total) if limit else (Decimal("-Infinity"), Decimal("Infinity"))
        kept = Memory(limit, revision, stretch.end_ms, quiet, [(counter.at_ms, before)])
        self._keep(key, kept)
        alerts = self._alerts(gone, counter, total, "rule", {})
        alerts += self._alerts(reached, counter, total, why, {})
        return limit, alerts + self._alerts(passed, counter, total, "usage", {})

    def _keep(self, key: tuple[str, str, str, int], memory: Memory) -> None:
        self._memory[key] = memory
        self._memory.move_to_end(key)
        if len(self._memory) > MEMORY:
            self._memory.popitem(last=False)

    def _miss(self, key: tuple[str, str, str, int], before: Decimal) -> None:
        self._missed.setdefault(key, before)
        if len(self._missed) > MEMORY:
            self._missed.popitem(last=False)

    def _alerts(
        self, found: list[Crossing], counter: Counter, total: Decimal, why: Why, evidence: dict[str, Any]
    ) -> list[Alert]:
        now_ms = self._wall_ms()
        return [alert_of(one, counter, total, why=why, seen_ms=now_ms, evidence=evidence) for one in found]


class LimitsUnknownError(LookupError):
    """The limits of a customer are not known now, which is not the same as none."""


def _gone(
    earlier: list[Limit], limit: Limit | None, counter: Counter, before: Decimal, total: Decimal
) -> list[Crossing]:
    """What earlier limits had to say, less what holds all the same: a version is no other when only its end was set."""
    if not earlier:
        return []
    # Before this change the total may have been higher, and have reported more.
    found = [one for old in earlier for one in ended(old, max(before, total))]
    holds = {condition(one, counter) for one in ended(limit, total) if one.amount <= total} if limit else set()
    return [one for one in found if condition(one, counter) not in holds]


def _remember(memory: Memory, at_ms: int, before: Decimal, total: Decimal, dims: str) -> None:
    if at_ms - memory.recent[-1][0] >= RECENT_MS:
        memory.recent = [memory.recent[-1], (at_ms, before)]
    if dims and (dims in memory.dims or len(memory.dims) < MOST_DIMENSIONS):
        memory.dims[dims] = EXACT.add(memory.dims.get(dims, Decimal(0)), EXACT.subtract(total, before))


def _evidence(memory: Memory, at_ms: int, total: Decimal) -> dict[str, Any]:
    evidence: dict[str, Any] = {}
    since_ms, before = memory.recent[0]
    if at_ms > since_ms:
        evidence["recent_rate_per_hour"] = per_hour(EXACT.subtract(total, before), at_ms - since_ms)
    top = sorted(memory.dims.items(), key=lambda one: (one[1].copy_negate(), one[0]))[:TOP_DIMENSIONS]
    if top:
        evidence["top_dimensions"] = [{"dims": dims, "value": plain(value)} for dims, value in top]
    return evidence
