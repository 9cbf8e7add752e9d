"""The catalog as workers use it: a refreshed snapshot, and a bounded cache of customers filled batch by batch."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from udfs.calendars import UTC_MONTH, Calendar, parse_calendar
from udfs.catalog_model import CalendarDef, CatalogSnapshot, CatalogSource, Customer, Pair, Tenant
from udfs.meters import BEGINNING_MS, FOREVER_MS, Meter

log = logging.getLogger(__name__)

# Attempts to look customers up before the task is given back to Flink, which restarts it and begins again.
LOOKUP_ATTEMPTS = 3
FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 5.0

_Version = TypeVar("_Version", Tenant, CalendarDef, Customer)
# Event times [start_ms, end_ms) for which an answer holds.
_Span = tuple[int, int]


class CatalogUnavailable(Exception):  # noqa: N818 - a state of the world, not a mistake of the caller
    """The catalog cannot be read; the same call may succeed later."""


class Catalog:
    """Answers by event time; asks its source at most once a batch and once a refresh.

    A worker that starts while the source is away says so and waits. A running one goes on with what it has; only an
    event of a customer it has never seen must wait, because a guessed calendar would be a wrong bill.

    Parameters
    ----------
    source:
        Where the catalog is stored.
    refresh_s:
        Seconds between two looks at the source's revision.
    cache_size:
        Customers kept. One batch may exceed it while it is being decoded.
    clock, sleep:
        Monotonic seconds; how to wait.
    """

    def __init__(
        self,
        source: CatalogSource,
        refresh_s: float,
        cache_size: int,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._source = source
        self._refresh_s = refresh_s
        self._cache_size = cache_size
        self._clock = clock
        self._sleep = sleep
        self._snapshot: _Index | None = None
        self._customers: dict[Pair, _Account] = {}
        self._asked_at = float("-inf")
        self._confirmed_at = clock()
        self.failures = 0

    @property
    def age_s(self) -> float:
        """Seconds since the source last confirmed what is used here."""
        return self._clock() - self._confirmed_at

    def refresh(self) -> None:
        """Look for a newer revision if it is time; the first call waits until there is a snapshot."""
        pause_s = FIRST_PAUSE_S
        while self._clock() - self._asked_at >= self._refresh_s or self._snapshot is None:
            self._asked_at = self._clock()
            try:
                self._read()
            except Exception as error:  # noqa: BLE001  by its contract any exception of a source means unavailable
                self.failures += 1
                log.warning("catalog not refreshed (failure %d): %s", self.failures, error)
            if self._snapshot is not None:
                return
            log.warning("no catalog yet: waiting %.1f s for its database", pause_s)
            self._sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    def _read(self) -> None:
        if self._snapshot is None or self._source.revision() != self._snapshot.revision:
            self._snapshot = _Index(self._source.snapshot())
            self._customers.clear()
        self._confirmed_at = self._clock()

    def meters_at(self, tenant_id: str, event_type: str, ms: int) -> tuple[Meter, ...] | None:
        """Meters that an event feeds, by name; None for a tenant unknown at that event time."""
        return self._index().meters_at(tenant_id, event_type, ms)

    def prefetch(self, pairs: Iterable[Pair]) -> None:
        """Make sure that `calendar_at` can answer for these customers; one look-up for all that are missing.

        Raises
        ------
        CatalogUnavailable
            The source did not answer LOOKUP_ATTEMPTS times.
        """
        wanted = set(pairs)
        missing = [pair for pair in wanted if pair not in self._customers]
        if not missing:
            return
        versions = self._look_up(missing)
        self._make_room(len(missing), wanted)
        for pair in missing:
            self._customers[pair] = _Account(pair, versions.get(pair, ()))

    def _look_up(self, missing: Sequence[Pair]) -> dict[Pair, Sequence[Customer]]:
        pause_s = FIRST_PAUSE_S
        for attempt in range(1, LOOKUP_ATTEMPTS + 1):
            try:
                return dict(self._source.customers(missing))
            except Exception as error:
                self.failures += 1
                log.warning(
                    "look-up of %d customers failed (%d of %d): %s", len(missing), attempt, LOOKUP_ATTEMPTS, error
                )
                if attempt == LOOKUP_ATTEMPTS:
                    raise CatalogUnavailable(f"customers cannot be looked up: {error}") from error
            self._sleep(pause_s)
            pause_s *= 2
        raise AssertionError

    def _make_room(self, count: int, wanted: set[Pair]) -> None:
        overflow = len(self._customers) + count - self._cache_size
        if overflow > 0:
            oldest = [pair for pair in self._customers if pair not in wanted][:overflow]
            for pair in oldest:
                del self._customers[pair]

    def calendar_at(self, pair: Pair, ms: int) -> Calendar:
        """Billing calendar of a customer that was prefetched; unknown customers are on their tenant's default."""
        return self._customers[pair].calendar_at(ms, self._index())

    def _index(self) -> _Index:
        if self._snapshot is None:
            raise CatalogUnavailable("the catalog was never loaded")
        return self._snapshot


class _Index:
    """A snapshot, arranged for look-ups by event time."""

    def __init__(self, snapshot: CatalogSnapshot) -> None:
        self.revision = snapshot.revision
        self._tenants: dict[str, list[Tenant]] = {}
        for tenant in snapshot.tenants:
            self._tenants.setdefault(tenant.tenant_id, []).append(tenant)
        self._calendars: dict[str, list[CalendarDef]] = {}
        self._parsed: dict[CalendarDef, Calendar] = {}
        for one in snapshot.calendars:
            self._parsed[one] = parse_calendar(one.anchor, one.interval, one.timezone)
            self._calendars.setdefault(one.calendar_id, []).append(one)
        self._meters = sorted(snapshot.meters, key=lambda meter: meter.meter)
        self._timeless: dict[tuple[str, str], tuple[Meter, ...]] = {}

    def tenant_at(self, tenant_id: str, ms: int) -> tuple[Tenant | None, _Span]:
        """The version of a tenant at an event time."""
        return _version_at(self._tenants.get(tenant_id, ()), ms)

    def meters_at(self, tenant_id: str, event_type: str, ms: int) -> tuple[Meter, ...] | None:
        """See `Catalog.meters_at`."""
        fed = self._timeless.get((tenant_id, event_type))
        if fed is not None:
            return fed
        if self.tenant_at(tenant_id, ms)[0] is None:
            return None
        visible = [one for one in self._meters if one.tenant_id in (None, tenant_id)]
        names = {one.meter for one in visible if event_type in one.event_types}
        # A meter hides by its name, whatever events it takes itself.
        candidates = [one for one in visible if one.meter in names]
        fed = tuple(one for one in _valid_at(candidates, ms) if event_type in one.event_types)
        if fed and all(map(_is_timeless, candidates)) and all(map(_is_timeless, self._tenants[tenant_id])):
            # Bounded by the catalog: only what some meter takes is kept.
            self._timeless[tenant_id, event_type] = fed
        return fed

    def calendar_at(self, calendar_id: str | None, ms: int) -> tuple[Calendar, _Span]:
        """The version of a calendar at an event time; the calendar month in UTC if there is none."""
        found, span = _version_at(self._calendars.get(calendar_id, ()) if calendar_id else (), ms)
        return UTC_MONTH if found is None else self._parsed[found], span


def _is_timeless(version: Meter | Tenant) -> bool:
    return version.valid_from_ms == BEGINNING_MS and version.valid_to_ms == FOREVER_MS


def _valid_at(candidates: Iterable[Meter], ms: int) -> tuple[Meter, ...]:
    """Versions that hold; a tenant's own meter hides one for all tenants of the same name."""
    chosen: dict[str, Meter] = {}
    for meter in candidates:
        if meter.valid_from_ms <= ms < meter.valid_to_ms and (meter.meter not in chosen or meter.tenant_id is not None):
            chosen[meter.meter] = meter
    return tuple(chosen.values())


class _Account:
    """One customer: its versions, and the calendars already worked out, each with the event times it holds for."""

    __slots__ = ("_pair", "_spans", "_versions")

    def __init__(self, pair: Pair, versions: Sequence[Customer]) -> None:
        self._pair = pair
        self._versions = versions
        self._spans: list[tuple[int, int, Calendar]] = []

    def calendar_at(self, ms: int, index: _Index) -> Calendar:
        for start_ms, end_ms, calendar in self._spans:
            if start_ms <= ms < end_ms:
                return calendar
        span = self._work_out(ms, index)
        self._spans.append(span)
        return span[2]

    def _work_out(self, ms: int, index: _Index) -> tuple[int, int, Calendar]:
        """The calendar at an instant, with the stretch in which none of the versions it rests on changes."""
        customer, customer_span = _version_at(self._versions, ms)
        tenant, tenant_span = index.tenant_at(self._pair[0], ms)
        calendar_id = (customer and customer.calendar_id) or (tenant and tenant.calendar_id) or None
        calendar, calendar_span = index.calendar_at(calendar_id, ms)
        starts, ends = zip(customer_span, tenant_span, calendar_span, strict=True)
        return max(starts), min(ends), calendar


def _version_at(versions: Sequence[_Version], ms: int) -> tuple[_Version | None, _Span]:
    """The version that holds at an instant, if one does, and the stretch around it in which that stays so."""
    for one in versions:
        if one.valid_from_ms <= ms < one.valid_to_ms:
            return one, (one.valid_from_ms, one.valid_to_ms)
    start_ms = max((one.valid_to_ms for one in versions if one.valid_to_ms <= ms), default=BEGINNING_MS)
    end_ms = min((one.valid_from_ms for one in versions if one.valid_from_ms > ms), default=FOREVER_MS)
    return None, (start_ms, end_ms)
