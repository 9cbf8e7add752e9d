"""The limits as the hot path knows them: never waited for, so that no database delays a decision."""

from __future__ import annotations

import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from udfs.catalog.model import Pair
from udfs.limits.rule import Limit
from udfs.limits.timeline import CustomerRules, PlanVersion, Stretch, timeline
from udfs.meters.meter import FOREVER_MS

log = logging.getLogger(__name__)

# A look-up that failed is not tried again for this long: the batch must not wait for each of its customers.
RETRY_S = 5.0


@dataclass(frozen=True, slots=True)
class SharedLimits:
    """Limits of tenants and plans as of one revision, all versions; and which tenants have any limit at all."""

    revision: int
    limits: Sequence[Limit] = ()
    tenants: frozenset[str] = frozenset()


class LimitSource(Protocol):
    """Where limits are stored. Every call ends in bounded time; any exception counts as unavailable."""

    def shared(self, known_revision: int) -> SharedLimits | None:
        """Everything but what single customers have; None while the revision is the one known."""
        ...

    def customers(self, pairs: Sequence[Pair]) -> Mapping[Pair, CustomerRules]:
        """Plans and limits of the customers named; one without any is absent."""
        ...


class LimitCache:
    """Answers by event time from memory.

    A thread of its own looks for changes; customers are looked up by batch when first seen, with the short time-out of
    the source. While a customer cannot be looked up its limits are unknown, which is not the same as none.

    Parameters
    ----------
    source, customer_source:
        Where limits are stored: for the thread, and for look-ups, since a connection serves one thread.
    refresh_s:
        How often the thread looks; 0: no thread, `refresh` looks itself (tests, tools).
    cache_size:
        Customers kept.
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
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._source = source
        self._customer_source = customer_source
        self._cache_size = cache_size
        self._clock = clock
        self._read: SharedLimits | None = None
        self._shared: SharedLimits | None = None
        self._by_tenant: dict[str, list[Limit]] = {}
        self._customers: dict[Pair, CustomerRules] = {}
        self._timelines: dict[tuple[str, str, str], tuple[Stretch, ...]] = {}
        self._retry_at = float("-inf")
        self._stop = threading.Event()
        self._refresh_s = refresh_s
        self.failures = 0
        if refresh_s:
            self._look()
            threading.Thread(target=self._watch, name="limits", daemon=True).start()

    @property
    def revision(self) -> int:
        """Revision of the catalog that answers rest on; -1 before the first."""
        return -1 if self._shared is None else self._shared.revision

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
        self._customers.clear()
        self._timelines.clear()
        return True

    def prefetch(self, pairs: Iterable[Pair]) -> None:
        """Look customers of tenants with limits up that are not known yet; a failure is tried again later."""
        if self._shared is None or self._clock() < self._retry_at:
            return
        tenants = self._shared.tenants
        wanted = [pair for pair in dict.fromkeys(pairs) if pair[0] in tenants]
        missing = [pair for pair in wanted if pair not in self._customers]
        if not missing:
            return
        # What makes room must not forget those of this batch that are known.
        full = len(self._customers) + len(missing) > self._cache_size
        missing = wanted if full else missing
        try:
            found = self._customer_source.customers(missing)
        except Exception as error:  # noqa: BLE001  by its contract any exception of a source means unavailable
            self.failures += 1
            self._retry_at = self._clock() + RETRY_S
            log.warning("limits of %d customers not looked up: %s", len(missing), error)
            return
        if full:
            self._customers.clear()
            self._timelines.clear()
        for pair in missing:
            self._customers[pair] = found.get(pair, CustomerRules())

    def stretches(self, tenant: str, customer: str, meter: str) -> tuple[Stretch, ...] | None:
        """All limits of a customer's meter in order of time; None while they are unknown, empty where none can be."""
        known = self._timelines.get((tenant, customer, meter))
        if known is not None:
            return known
        if self._shared is None:
            return None
        if tenant not in self._shared.tenants:
            return ()
        rules = self._customers.get((tenant, customer))
        if rules is None:
            return None
        made = timeline(meter, self._by_tenant.get(tenant, ()), rules)
        self._timelines[tenant, customer, meter] = made
        return made

    def meters(self, tenant: str, customer: str) -> list[str]:
        """Meters for which a customer that was prefetched can have a limit, by name."""
        rules = self._customers.get((tenant, customer), CustomerRules())
        return sorted({one.meter for one in (*self._by_tenant.get(tenant, ()), *rules.limits)})

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
        for rules in self._customers.values():
            versions += [*rules.limits, *rules.plans]
        instants = [ms for one in versions for ms in (one.valid_from_ms, one.valid_to_ms) if ms > after_ms]
        return min(instants, default=FOREVER_MS)

    def close(self) -> None:
        """End the thread."""
        self._stop.set()

    def _watch(self) -> None:
        while not self._stop.wait(self._refresh_s):
            self._look()

    def _look(self) -> None:
        try:
            read = self._source.shared(-1 if self._read is None else self._read.revision)
        except Exception as error:  # noqa: BLE001  as above
            self.failures += 1
            log.warning("limits not refreshed (failure %d): %s", self.failures, error)
            return
        if read is not None:
            self._read = read
