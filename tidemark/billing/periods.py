"""Which billing periods are due: walked along the calendar of every customer, and whatever has usage besides."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
from psycopg import sql

from tidemark.billing.lines import PeriodKey
from tidemark.billing.store import batches
from tidemark.core.errors import UnavailableError
from tidemark.core.names import Names
from tidemark.core.settings import Settings
from udfs.calendars.calendar import CalendarError, NoPeriodError
from udfs.catalog.cache import Catalog, CatalogUnavailable
from udfs.catalog.index import CalendarMissingError
from udfs.catalog.model import CatalogSnapshot, Pair
from udfs.catalog.model import Customer as CatalogCustomer
from udfs.catalog.store import PostgresCatalogSource

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# After every period.
FOREVER = datetime(9999, 1, 1, tzinfo=UTC)
# Customer of heartbeats: usage that nobody is billed for.
HEARTBEAT_CUSTOMER = "tidemark.heartbeat"
# What asking for the calendar of a customer may raise.
CALENDAR_ERRORS = (CalendarError, CalendarMissingError, NoPeriodError)

# All customers: where usage began, where the last closed period that stands ended, and for which event times the
# catalog knows them. Infinite bounds are none.
_CUSTOMERS = """
WITH used AS (
    SELECT tenant_id, customer_id, min(period_start) AS first_start
    FROM {schema}.usage_period
    GROUP BY tenant_id, customer_id
), closed AS (
    SELECT tenant_id, customer_id, max(period_end) AS last_end
    FROM {schema}.period_standing
    WHERE stands
    GROUP BY tenant_id, customer_id
), known AS (
    SELECT tenant_id, customer_id, min(valid_from) AS since, max(valid_to) AS until
    FROM catalog.customer
    GROUP BY tenant_id, customer_id
)
SELECT tenant_id, customer_id, u.first_start, c.last_end,
       min(u.first_start) OVER (PARTITION BY tenant_id) AS tenant_start,
       k.tenant_id IS NOT NULL AS known, nullif(k.since, '-infinity'), nullif(k.until, 'infinity')
FROM used u
FULL JOIN known k USING (tenant_id, customer_id)
FULL JOIN closed c USING (tenant_id, customer_id)
ORDER BY tenant_id, customer_id
"""
_STANDING = """
SELECT tenant_id, customer_id, period_start
FROM {schema}.period_standing
WHERE stands AND period_end >= %s
"""
# The smallest end of a period is the one that holds: a change of calendar cut it.
_ROWS = """
SELECT tenant_id, customer_id, period_start, min(period_end)
FROM {schema}.usage_period
WHERE (%(tenants)s::text[] IS NULL OR tenant_id = ANY(%(tenants)s))
  AND period_start >= %(start)s AND period_start < %(end)s
GROUP BY tenant_id, customer_id, period_start
"""
_HELD = """
SELECT tenant_id, customer_id, period_start, period_end
FROM {schema}.period_standing
WHERE stands AND period_start >= %(start)s
  AND (%(tenants)s::text[] IS NULL OR tenant_id = ANY(%(tenants)s))
  AND tenant_id IN (SELECT tenant_id FROM {schema}.meter_kind WHERE aggregation = 'weighted_sum')
"""


@dataclass(slots=True)
class Due:
    """Periods to be closed, and customers whose calendar cannot be used, with the reason."""

    keys: set[PeriodKey] = field(default_factory=set)
    broken: dict[Pair, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Customer:
    """What is known of a customer before its calendar is asked; None where nothing is."""

    pair: Pair
    first_start: datetime | None
    last_end: datetime | None
    tenant_start: datetime | None
    known: bool
    since: datetime | None
    until: datetime | None

    @property
    def begin(self) -> datetime | None:
        """An instant of the first period that was not closed yet; None when there was no usage to begin with."""
        if self.last_end is not None:
            return self.last_end
        if not self.known or self.tenant_start is None:
            return self.first_start
        begin = self.tenant_start if self.since is None else max(self.tenant_start, self.since)
        return begin if self.first_start is None else min(begin, self.first_start)


class _Closing:
    """The stored catalog by a connection for each question: there are few, and nobody has to give it back."""

    def __init__(self, url: str) -> None:
        self._source = PostgresCatalogSource(url)

    def revision(self) -> int:
        with closing(self._source):
            return self._source.revision()

    def snapshot(self) -> CatalogSnapshot:
        with closing(self._source):
            return self._source.snapshot()

    def customers(self, pairs: Sequence[Pair]) -> Mapping[Pair, Sequence[CatalogCustomer]]:
        with closing(self._source):
            return self._source.customers(pairs)


def catalog_of(settings: Settings) -> Catalog:
    """The catalog as it is now, to ask for calendars and meters.

    Raises
    ------
    UnavailableError
        It cannot be read.
    """
    source = _Closing(settings.postgres_url)
    try:
        # Asked here, because a catalog waits for its first snapshot without end.
        source.revision()
    except CatalogUnavailable as error:
        raise UnavailableError(f"{error}.", "start Postgres (`tidemark up`), then repeat.") from error
    catalog = Catalog(source, float("inf"), settings.customer_cache_size)
    catalog.refresh()
    return catalog


def due(connection: psycopg.Connection, settings: Settings, catalog: Catalog, cutoff: datetime) -> Due:
    """Periods of all customers that end at `cutoff` (watermark less grace) or before and are not closed.

    1. Walk the calendar of each customer from the end of its last closed period, else from the first usage of its
       tenant: periods without usage are closed too.
    2. Add each period with usage that neither was walked nor stands closed, for example from before a change of
       calendar: nothing with usage is never closed.
    """
    names, found = settings.names, Due()
    customers = [Customer(row[:2], *row[2:]) for row in _ask(connection, names, _CUSTOMERS)]
    customers = [one for one in customers if one.pair != (settings.heartbeat_tenant, HEARTBEAT_CUSTOMER)]
    # Step 1
    for some in batches(customers):
        catalog.prefetch(one.pair for one in some)
        for one in some:
            _walk_into(found, catalog, one, cutoff)
    # Step 2
    rows = with_usage(connection, names, catalog, None, None, None, cutoff)
    taken = {(key.tenant_id, key.customer_id, key.start) for key in found.keys}
    oldest = min((key.start for key in rows), default=cutoff)
    taken |= {tuple(row) for row in _ask(connection, names, _STANDING, [oldest])}
    mine = {one.pair for one in customers}
    found.keys |= {key for key in rows if key[:2] in mine and key[:3] not in taken}
    return found


def walk(
    catalog: Catalog, pair: Pair, begin: datetime, cutoff: datetime, until: datetime | None
) -> Iterator[PeriodKey]:
    """Periods of a prefetched customer from the one that holds `begin`, while they end at `cutoff` or before.

    None begins at `until`, where the catalog knows the customer no longer. Raises what its calendar does.
    """
    at = begin
    while at < cutoff and (until is None or at < until):
        period = _period(catalog, pair, at)
        if period.end > cutoff:
            return
        yield period
        at = period.end


def with_usage(
    connection: psycopg.Connection,
    names: Names,
    catalog: Catalog,
    tenants: Sequence[str] | None,
    start: datetime | None,
    end: datetime | None,
    cutoff: datetime,
) -> set[PeriodKey]:
    """Periods that the rollups people read have usage of, begin in [start, end) and end at `cutoff` or before.

    `tenants`, `start`, `end` None: all.
    """
    wanted = {"tenants": list(tenants) if tenants else None, "start": start or _EPOCH, "end": end or cutoff}
    rows = [(row[:2], row[2], row[3]) for row in _ask(connection, names, _ROWS, wanted)]
    found = set()
    for some in batches(rows):
        catalog.prefetch(pair for pair, *_ in some)
        found |= {period_of(catalog, *row) for row in some}
    return {key for key in found if key.end <= cutoff}


def held_after(
    connection: psycopg.Connection, names: Names, tenants: Sequence[str] | None, start: datetime
) -> set[PeriodKey]:
    """Closed periods that begin at `start` or later, of tenants with levels: usage before may change what they hold."""
    wanted = {"tenants": list(tenants) if tenants else None, "start": start}
    return {PeriodKey(*row) for row in _ask(connection, names, _HELD, wanted)}


def period_of(catalog: Catalog, pair: Pair, start: datetime, end: datetime) -> PeriodKey:
    """The period of a stored row of a prefetched customer: it may have been written before its period was cut."""
    try:
        known = _period(catalog, pair, start)
    except CALENDAR_ERRORS:
        return PeriodKey(*pair, start, end)
    return PeriodKey(*pair, start, min(end, known.end) if known.start == start else end)


def instant(ms: int) -> datetime:
    """UTC epoch ms as an instant."""
    return _EPOCH + timedelta(milliseconds=ms)


def millis(moment: datetime) -> int:
    """An instant as UTC epoch ms, rounded down."""
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def _walk_into(found: Due, catalog: Catalog, one: Customer, cutoff: datetime) -> None:
    if one.begin is None:
        return
    try:
        for key in walk(catalog, one.pair, one.begin, cutoff, one.until):
            found.keys.add(key)
    except CALENDAR_ERRORS as error:
        found.broken[one.pair] = str(error)


def _period(catalog: Catalog, pair: Pair, at: datetime) -> PeriodKey:
    ms = millis(at)
    period = catalog.calendar_at(pair, ms).period_at(ms)
    return PeriodKey(*pair, instant(period.start_ms), instant(period.end_ms))


def _ask(connection: psycopg.Connection, names: Names, statement: str, values: Any = None) -> list[Any]:
    text = sql.SQL(statement).format(schema=sql.Identifier(names.billing_schema))
    return connection.execute(text, values).fetchall()
