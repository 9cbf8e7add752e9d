"""The limits as the hot path knows them: never waited for, so that no database delays a decision."""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable

from udfs.catalog.model import Pair
from udfs.limits.lookups import Lookups
from udfs.limits.rule import Limit
from udfs.limits.source import LimitSource, SharedLimits
from udfs.limits.timeline import CustomerRules, PlanVersion, Stretch, timeline
from udfs.meters.meter import FOREVER_MS

log = logging.getLogger(__name__)

# A look-up that failed is not tried again for this long, and one that takes too long not waited for again.
RETRY_S = 5.0


class _Known:
    """What is known of a customer: its rules, the revision they were asked for under, and what was made of them."""

    __slots__ = ("made_for", "revision", "rules", "timelines")

    def __init__(self, rules: CustomerRules, revision: int) -> None:
        self.rules = rules
        self.revision = revision
        self.timelines: dict[str, tuple[Stretch, ...]] = {}
        self.made_for = revision


class LimitCache:
    """Answers by event time from memory.

    Two threads of its own ask the source: one looks for changes, one looks customers up, by batch when first seen. A
    batch waits for the second for `wait_s` at most, and not at all for as long as it has been found slow; nobody waits
    for customers that are known by an earlier revision, which answers until the newer one is there. While a customer
    is not known its limits are unknown, which is not the same as none.

    Parameters
    ----------
    source, customer_source:
        Where limits are stored: for each of the threads, since a connection serves one.
    refresh_s:
        How often the source is asked for changes; 0: no threads. `refresh` and `prefetch` then ask themselves, and
        answer by nothing but the newest revision (tests, tools).
    cache_size:
        Customers kept, those used last.
    wait_s:
        Longest wait of a batch for customers that are seen first; a look-up takes milliseconds.
    clock:
        Seconds that only grow.
    """

    def __init__(
        self,
        source: LimitSource,
        customer_source: LimitSource,
        *,
        refresh_s: float,
        cache_size: int = 100_000,
        wait_s: float = 0.5,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._source = source
        self._cache_size = cache_size
        self._wait_s = wait_s
        self._clock = clock
        self._read: SharedLimits | None = None
        self._shared: SharedLimits | None = None
        self._by_tenant: dict[str, list[Limit]] = {}
        self._customers: OrderedDict[Pair, _Known] = OrderedDict()
        self._retry_at = float("-inf")
        self._stop = threading.Event()
        self._refresh_s = refresh_s
        self._refresh_failures = 0
        self._lookups = Lookups(customer_source)
        if refresh_s:
            self._look()
            threading.Thread(target=self._watch, name="limits", daemon=True).start()
            self._lookups.start()

    @property
    def revision(self) -> int:
        """Revision of the catalog that was read last; -1 before the first."""
        return -1 if self._shared is None else self._shared.revision

    @property
    def failures(self) -> int:
        """How often the source did not answer."""
        return self._refresh_failures + self._lookups.failures

    def revision_of(self, tenant: str, customer: str) -> int:
        """Revision of the catalog that answers about a customer rest on."""
        known = self._customers.get((tenant, customer))
        return self.revision if known is None else known.revision

    def refresh(self) -> bool:
        """Take over what was read since; whether anything changed."""
        if not self._refresh_s:
            self._look()
        # One reference is read, so the thread can replace it at any time.
        read = self._read
        if read is None or read is self._shared:
            return False
        self._shared = read
        grouped: dict[str, list[Limit]] = defaultdict(list)
        for limit in read.limits:
            grouped[limit.tenant_id].append(limit)
        self._by_tenant = dict(grouped)
        if not self._refresh_s:
            self._customers.clear()
        return True

    def prefetch(self, pairs: Iterable[Pair]) -> None:
        """Have customers of tenants with limits looked up that are not known by this revision; failures are retried."""
        if self._shared is None:
            return
        tenants, revision = self._shared.tenants, self._shared.revision
        wanted = [pair for pair in dict.fromkeys(pairs) if pair[0] in tenants]
        self._take_over()
        known = [self._used(pair) for pair in wanted]
        behind = [pair for pair, one in zip(wanted, known, strict=True) if one is None or one.revision != revision]
        if not behind or self._clock() < self._retry_at:
            return
        self._lookups.ask(behind, revision)
        if not self._refresh_s:
            self._lookups.run_once()
        elif None in known and not self._lookups.wait(self._wait_s):
            self._retry_at = self._clock() + RETRY_S
            log.warning("limits of %d customers not looked up within %.1f s", known.count(None), self._wait_s)
        self._take_over()
        self._make_room(len(wanted))

    def stretches(self, tenant: str, customer: str, meter: str) -> tuple[Stretch, ...] | None:
        """All limits of a customer's meter in order of time; None while they are unknown, empty where none can be."""
        if self._shared is None:
            return None
        if tenant not in self._shared.tenants:
            return ()
        known = self._customers.get((tenant, customer))
        if known is None:
            return None
        if known.made_for != self._shared.revision:
            known.timelines.clear()
            known.made_for = self._shared.revision
        made = known.timelines.get(meter)
        if made is None:
            made = known.timelines[meter] = timeline(meter, self._by_tenant.get(tenant, ()), known.rules)
        return made

    def meters(self, tenant: str, customer: str) -> list[str]:
        """Meters for which a customer that was prefetched can have a limit, by name."""
        known = self._customers.get((tenant, customer))
        own = known.rules.limits if known is not None else ()
        return sorted({one.meter for one in (*self._by_tenant.get(tenant, ()), *own)})

    def defaults(self, at_ms: int) -> dict[str, list[Limit]]:
        """Limits of each tenant with limits that hold for every customer at an instant; empty for some."""
        tenants = self._shared.tenants if self._shared is not None else frozenset()
        return {
            tenant: [
                one
                for one in self._by_tenant.get(tenant, ())
                if one.scope == "tenant" and one.valid_from_ms <= at_ms < one.valid_to_ms
            ]
            for tenant in sorted(tenants)
        }

    def next_change(self, after_ms: int) -> int:
        """First begin or end of a known version after an instant; FOREVER_MS for none."""
        versions: list[Limit | PlanVersion] = [*(self._shared.limits if self._shared else ())]
        for known in self._customers.values():
            versions += [*known.rules.limits, *known.rules.plans]
        instants = [ms for one in versions for ms in (one.valid_from_ms, one.valid_to_ms) if ms > after_ms]
        return min(instants, default=FOREVER_MS)

    def close(self) -> None:
        """End the threads."""
        self._stop.set()
        self._lookups.close()

    def _used(self, pair: Pair) -> _Known | None:
        known = self._customers.get(pair)
        if known is not None:
            self._customers.move_to_end(pair)
        return known

    def _take_over(self) -> None:
        answers, failed = self._lookups.taken()
        for revision, pairs, found in answers:
            for pair in pairs:
                self._customers[pair] = _Known(found.get(pair, CustomerRules()), revision)
                self._customers.move_to_end(pair)
        if failed:
            self._retry_at = self._clock() + RETRY_S
        elif answers:
            # It answers again.
            self._retry_at = float("-inf")

    def _make_room(self, in_use: int) -> None:
        """Forget those that were not used for the longest time, and none of the batch, which are the last."""
        while len(self._customers) > max(self._cache_size, in_use):
            self._customers.popitem(last=False)

    def _watch(self) -> None:
        while not self._stop.wait(self._refresh_s):
            self._look()

    def _look(self) -> None:
        try:
            read = self._source.shared(-1 if self._read is None else self._read.revision)
        except Exception as error:  # noqa: BLE001  by its contract any exception of a source means unavailable
            self._refresh_failures += 1
            log.warning("limits not refreshed (failure %d): %s", self._refresh_failures, error)
            return
        if read is not None:
            self._read = read
