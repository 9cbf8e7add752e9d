"""The catalog as workers use it: a refreshed snapshot, and a bounded cache of customers filled batch by batch."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

from udfs.calendars.calendar import BillingCalendar
from udfs.catalog.index import Account, CatalogIndex
from udfs.catalog.model import CatalogSource, Customer, Pair
from udfs.meters.meter import Meter

log = logging.getLogger(__name__)

# Attempts to look customers up before the task is given back to Flink, which restarts it and begins again.
LOOKUP_ATTEMPTS = 3
FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 5.0

_Answer = TypeVar("_Answer")


class CatalogUnavailable(Exception):  # noqa: N818 - a state of the world, not a mistake of the caller
    """The catalog cannot be read; the same call may succeed later."""


class Catalog:
    """Answers by event time; asks its source at most once a batch and once a refresh.

    A worker that starts while the source is away says so and waits. A running one goes on with what it has until that
    is too old: then it waits too, rather than count by rules that may have changed. An event of a customer it has never
    seen must wait at once, because a guessed calendar would be a wrong bill.

    Parameters
    ----------
    source:
        Where the catalog is stored.
    refresh_s:
        Seconds between two looks at the source's revision.
    cache_size:
        Customers kept. One batch may exceed it while it is being decoded.
    max_age_s:
        Seconds since the source last confirmed the snapshot after which it is used no more.
    clock, sleep:
        Monotonic seconds; how to wait.
    """

    def __init__(
        self,
        source: CatalogSource,
        refresh_s: float,
        cache_size: int,
        *,
        max_age_s: float = float("inf"),
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._source = source
        self._refresh_s = refresh_s
        self._cache_size = cache_size
        self._max_age_s = max_age_s
        self._clock = clock
        self._sleep = sleep
        self._snapshot: CatalogIndex | None = None
        self._customers: dict[Pair, Account] = {}
        self._asked_at = float("-inf")
        self._confirmed_at = clock()
        # When the source was last asked for a calendar that customers name and the snapshot lacks.
        self._sought_at: dict[str, float] = {}
        self.failures = 0

    @property
    def revision(self) -> int:
        """Revision that answers rest on; CatalogUnavailable before the first."""
        return self._index().revision

    @property
    def age_s(self) -> float:
        """Seconds since the source last confirmed what is used here."""
        return self._clock() - self._confirmed_at

    def refresh(self) -> None:
        """Look for a newer revision if it is time; waits while there is no snapshot, or only one that is too old."""
        pause_s = FIRST_PAUSE_S
        while self._clock() - self._asked_at >= self._refresh_s or self._unusable():
            self._asked_at = self._clock()
            try:
                self._read()
            except Exception as error:  # noqa: BLE001  by its contract any exception of a source means unavailable
                self.failures += 1
                log.warning("catalog not refreshed (failure %d): %s", self.failures, error)
            why = self._unusable()
            if not why:
                return
            log.warning("%s: waiting %.1f s for its database", why, pause_s)
            self._sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    def _unusable(self) -> str:
        """Why nothing may be counted now; empty if it may."""
        if self._snapshot is None:
            return "no catalog yet"
        if self.age_s > self._max_age_s:
            return f"catalog last confirmed {self.age_s:.0f} s ago, over the limit of {self._max_age_s:.0f} s"
        return ""

    def _read(self) -> None:
        if self._snapshot is None or self._source.revision() != self._snapshot.revision:
            self._snapshot = CatalogIndex(self._source.snapshot())
            self._customers.clear()
        self._confirmed_at = self._clock()

    def meters_at(self, tenant_id: str, event_type: str, ms: int) -> tuple[Meter, ...] | None:
        """Meters that an event feeds, by name; None for a tenant unknown at that event time."""
        # As `_index` does, without a call: each event asks.
        return (self._snapshot or self._index()).meters_at(tenant_id, event_type, ms)

    @property
    def restricted(self) -> frozenset[str]:
        """Tenants whose events `takes_source` has to be asked about."""
        return (self._snapshot or self._index()).restricted

    def takes_source(self, tenant_id: str, source: str, ms: int) -> bool:
        """Whether a tenant takes events of a source at an event time; '' stands for no source."""
        tenant, _ = self._index().tenant_at(tenant_id, ms)
        return tenant is None or tenant.sources is None or source in tenant.sources

    def prefetch(self, pairs: Iterable[Pair]) -> None:
        """Make sure that `account` knows these customers; one look-up for all that are missing.

        Customers may be newer than the snapshot, which is looked at now and then only. If they name a calendar that it
        lacks, a newer one is read at once.

        Raises
        ------
        CatalogUnavailable
            The source did not answer LOOKUP_ATTEMPTS times.
        """
        wanted = set(pairs)
        missing = [pair for pair in wanted if pair not in self._customers]
        if 2 * len(self._customers) >= self._cache_size:
            # The order matters only when room is made: those used last go last.
            for pair in wanted.difference(missing):
                self._customers[pair] = self._customers.pop(pair)
        if not missing:
            return
        versions = self._look_up(missing)
        while self._was_behind(versions.values()):
            # The newer snapshot made the cache forget the others.
            missing = list(wanted)
            versions = self._look_up(missing)
        self._make_room(len(missing), wanted)
        for pair in missing:
            self._customers[pair] = Account(pair[0], versions.get(pair, ()), self._index())

    def _was_behind(self, customers: Iterable[Sequence[Customer]]) -> bool:
        """Whether a newer snapshot had to be read for customers.

        A calendar that is in the newest one neither is asked for again after a refresh interval only: a broken
        reference must not cost a question per batch.
        """
        before, now = self._index(), self._clock()
        lacking = {
            one
            for one in before.lacking(customers)
            if one not in self._sought_at or now - self._sought_at[one] >= self._refresh_s
        }
        if not lacking:
            return False
        self._insist(f"calendars {sorted(lacking)[:5]}", self._read)
        self._sought_at.update(dict.fromkeys(lacking, self._clock()))
        return self._index() is not before

    def _look_up(self, missing: Sequence[Pair]) -> Mapping[Pair, Sequence[Customer]]:
        return self._insist(f"{len(missing)} customers", lambda: self._source.customers(missing))

    def _insist(self, what: str, question: Callable[[], _Answer]) -> _Answer:
        pause_s = FIRST_PAUSE_S
        for attempt in range(1, LOOKUP_ATTEMPTS + 1):
            try:
                return question()
            except Exception as error:
                self.failures += 1
                log.warning("look-up of %s failed (%d of %d): %s", what, attempt, LOOKUP_ATTEMPTS, error)
                if attempt == LOOKUP_ATTEMPTS:
                    raise CatalogUnavailable(f"{what} cannot be looked up: {error}") from error
            self._sleep(pause_s)
            pause_s *= 2
        raise AssertionError

    def _make_room(self, count: int, wanted: set[Pair]) -> None:
        overflow = len(self._customers) + count - self._cache_size
        if overflow > 0:
            oldest = [pair for pair in self._customers if pair not in wanted][:overflow]
            for pair in oldest:
                del self._customers[pair]

    def account(self, pair: Pair) -> Account | None:
        """A customer that was prefetched and not dropped since; unknown ones are on their tenant's default calendar."""
        return self._customers.get(pair)

    def calendar_at(self, pair: Pair, ms: int) -> BillingCalendar:
        """See `Account.calendar_at`, of a customer that was prefetched; raises what `CatalogIndex.calendar_at` does."""
        return self._customers[pair].calendar_at(ms)

    def _index(self) -> CatalogIndex:
        if self._snapshot is None:
            raise CatalogUnavailable("the catalog was never loaded")
        return self._snapshot
