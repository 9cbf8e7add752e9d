"""Which billing periods are due: those of every customer's calendar, and any other period with usage."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
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
from udfs.values import EPOCH, epoch_ms, instant

# After every period.
FOREVER = datetime(9999, 1, 1, tzinfo=UTC)
# Customer of heartbeats: usage that nobody is billed for.
HEARTBEAT_CUSTOMER = "tidemark.heartbeat"
# Errors of the calendar of a customer.
CALENDAR_ERRORS = (CalendarError, CalendarMissingError, NoPeriodError)

# Customers with usage or closes: where the last current closed period ended, else where their own usage began; and
# until when the catalog knows them. The query jumps from pair to pair in the index, without reading all their rows.
_CUSTOMERS = """
WITH RECURSIVE used AS (
    (SELECT tenant_id, customer_id FROM {schema}.usage_period
     WHERE tenant_id >= %(first)s ORDER BY tenant_id, customer_id LIMIT 1)
    UNION ALL
    SELECT next.tenant_id, next.customer_id
    FROM used
    CROSS JOIN LATERAL (
        SELECT u.tenant_id, u.customer_id FROM {schema}.usage_period u
        WHERE (u.tenant_id, u.customer_id) > (used.tenant_id, used.customer_id)
        ORDER BY u.tenant_id, u.customer_id LIMIT 1
    ) next
    WHERE %(tenant)s::text IS NULL OR next.tenant_id = %(tenant)s
), closed AS (
    (SELECT tenant_id, customer_id FROM {schema}.period_close
     WHERE tenant_id >= %(first)s ORDER BY tenant_id, customer_id LIMIT 1)
    UNION ALL
    SELECT next.tenant_id, next.customer_id
    FROM closed
    CROSS JOIN LATERAL (
        SELECT c.tenant_id, c.customer_id FROM {schema}.period_close c
        WHERE (c.tenant_id, c.customer_id) > (closed.tenant_id, closed.customer_id)
        ORDER BY c.tenant_id, c.customer_id LIMIT 1
    ) next
    WHERE %(tenant)s::text IS NULL OR next.tenant_id = %(tenant)s
)
SELECT tenant_id, customer_id, started.first_start, last.period_end, nullif(known.until, 'infinity')
FROM (SELECT * FROM used UNION SELECT * FROM closed) pair
LEFT JOIN LATERAL (
    SELECT s.period_end
    FROM {schema}.period_status s
    WHERE s.tenant_id = pair.tenant_id AND s.customer_id = pair.customer_id AND s.is_current
    ORDER BY s.period_end DESC
    LIMIT 1
) last ON true
LEFT JOIN LATERAL (
    -- Once a period was closed, the start of usage no longer matters.
    SELECT min(u.period_start) AS first_start
    FROM {schema}.usage_period u
    WHERE u.tenant_id = pair.tenant_id AND u.customer_id = pair.customer_id AND last.period_end IS NULL
) started ON true
LEFT JOIN LATERAL (
    SELECT max(k.valid_to) AS until
    FROM catalog.customer k
    WHERE k.tenant_id = pair.tenant_id AND k.customer_id = pair.customer_id
) known ON true
WHERE (%(tenant)s::text IS NULL OR tenant_id = %(tenant)s)
  AND (%(customer)s::text IS NULL OR customer_id = %(customer)s)
ORDER BY tenant_id, customer_id
"""
# Usage without a current close, by the start of its period: the end in the rollups may be that of an older calendar.
_UNCLOSED = """
SELECT u.tenant_id, u.customer_id, u.period_start, min(u.period_end)
FROM {schema}.usage_period u
WHERE u.period_start < %(cutoff)s
  AND (%(tenant)s::text IS NULL OR u.tenant_id = %(tenant)s)
  AND (%(customer)s::text IS NULL OR u.customer_id = %(customer)s)
  AND NOT EXISTS (
      SELECT FROM {schema}.period_status s
      WHERE (s.tenant_id, s.customer_id, s.period_start) = (u.tenant_id, u.customer_id, u.period_start) AND s.is_current
  )
GROUP BY u.tenant_id, u.customer_id, u.period_start
"""
# The smallest end of a period is the right one: a change of calendar cut the period.
_ROWS = """
SELECT tenant_id, customer_id, period_start, min(period_end)
FROM {schema}.usage_period
WHERE (%(tenants)s::text[] IS NULL OR tenant_id = ANY(%(tenants)s))
  AND period_start >= %(start)s AND period_start < %(end)s
GROUP BY tenant_id, customer_id, period_start
"""
_CLOSED_WITH_LEVELS = """
SELECT tenant_id, customer_id, period_start, period_end
FROM {schema}.period_status
WHERE is_current AND period_start >= %(start)s
  AND (%(tenants)s::text[] IS NULL OR tenant_id = ANY(%(tenants)s))
  AND tenant_id IN (SELECT tenant_id FROM {schema}.meter_kind WHERE aggregation = 'weighted_sum')
"""


@dataclass(slots=True)
class Due:
    """Periods to close, and customers whose calendar cannot be used, with the reason."""

    keys: set[PeriodKey] = field(default_factory=set)
    broken: dict[Pair, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Customer:
    """What is known of a customer before its calendar is used; None where unknown.

    Parameters
    ----------
    pair:
        Tenant and customer.
    first_start:
        Start of the first period with usage of its own; not queried once a period was closed.
    last_end:
        End of the last closed period that is current.
    until:
        Event time from which on the catalog no longer has it.
    """

    pair: Pair
    first_start: datetime | None
    last_end: datetime | None
    until: datetime | None

    @property
    def start(self) -> datetime | None:
        """An instant of the first period that was not closed yet; None while there was no usage."""
        return self.first_start if self.last_end is None else self.last_end


class _Closing:
    """The stored catalog, with a connection for each query: there are few, and no caller has to close one."""

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
    """The present catalog, for calendars and meters.

    Raises
    ------
    UnavailableError
        It cannot be read.
    """
    source = _Closing(settings.postgres.ledger.url)
    try:
        # Checked here, because a catalog waits for its first snapshot without a limit.
        source.revision()
    except CatalogUnavailable as error:
        raise UnavailableError(f"{error}.", "start Postgres (`tidemark up`), then repeat.") from error
    catalog = Catalog(source, float("inf"), settings.catalog.customer_cache_size)
    catalog.refresh()
    return catalog


def due(
    connection: psycopg.Connection,
    settings: Settings,
    catalog: Catalog,
    cutoff: datetime,
    tenant: str | None = None,
    customer: str | None = None,
    most: int | None = None,
) -> Due:
    """Periods that end at `cutoff` (watermark less grace) or before and are not closed, of all or the named customers.

    At most `most` periods of a customer are walked, the oldest: a cutoff that is wrong by decades costs nothing.

    1. Walk the calendar of each customer from the end of its last closed period, else from its first usage: from then
       on, periods without usage are closed too.
    2. Add each period with usage that was not walked and is not closed, for example from before a change of
       calendar: every period with usage is closed at some time.
    """
    names, result = settings.names, Due()
    wanted = {"tenant": tenant, "customer": customer, "first": tenant or "", "cutoff": cutoff}
    customers = [Customer(row[:2], *row[2:]) for row in _query(connection, names, _CUSTOMERS, wanted)]
    beats = settings.heartbeat.tenant, HEARTBEAT_CUSTOMER
    customers = [owner for owner in customers if owner.pair != beats]
    # Step 1
    for batch in batches(customers):
        catalog.prefetch(owner.pair for owner in batch)
        for owner in batch:
            _walk_into(result, catalog, owner, cutoff, most)
    # Step 2
    walked = {key[:3] for key in result.keys}
    rows = (row for row in _query(connection, names, _UNCLOSED, wanted) if row[:2] != beats and row[:3] not in walked)
    for unclosed in batches(rows):
        catalog.prefetch(row[:2] for row in unclosed)
        keys = (period_of(catalog, row[:2], row[2], row[3]) for row in unclosed)
        result.keys |= {key for key in keys if key.end <= cutoff}
    return result


def walk(
    catalog: Catalog, pair: Pair, start: datetime, cutoff: datetime, until: datetime | None
) -> Iterator[PeriodKey]:
    """Periods of a prefetched customer from the one that contains `start`, while they end at `cutoff` or before.

    No period begins at `until` or later, where the catalog no longer has the customer. Raises the errors of its
    calendar.
    """
    at = start
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
    """Periods with usage in the active rollups that begin in [start, end) and end at `cutoff` or before.

    `tenants`, `start`, `end` None: all.
    """
    wanted = {"tenants": list(tenants) if tenants else None, "start": start or EPOCH, "end": end or cutoff}
    rows = [(row[:2], row[2], row[3]) for row in _query(connection, names, _ROWS, wanted)]
    keys = set()
    for batch in batches(rows):
        catalog.prefetch(pair for pair, *_ in batch)
        keys |= {period_of(catalog, *row) for row in batch}
    return {key for key in keys if key.end <= cutoff}


def closed_with_levels_after(
    connection: psycopg.Connection, names: Names, tenants: Sequence[str] | None, start: datetime
) -> set[PeriodKey]:
    """Closed periods that begin at `start` or later, of tenants with levels: earlier usage may change their values."""
    wanted = {"tenants": list(tenants) if tenants else None, "start": start}
    return {PeriodKey(*row) for row in _query(connection, names, _CLOSED_WITH_LEVELS, wanted)}


def period_of(catalog: Catalog, pair: Pair, start: datetime, end: datetime) -> PeriodKey:
    """The period of a stored row of a prefetched customer: the row may be older than a change that cut the period."""
    try:
        known = _period(catalog, pair, start)
    except CALENDAR_ERRORS:
        return PeriodKey(*pair, start, end)
    return PeriodKey(*pair, start, min(end, known.end) if known.start == start else end)


def _walk_into(due: Due, catalog: Catalog, customer: Customer, cutoff: datetime, most: int | None) -> None:
    if customer.start is None:
        return
    try:
        for key in islice(walk(catalog, customer.pair, customer.start, cutoff, customer.until), most):
            due.keys.add(key)
    except CALENDAR_ERRORS as error:
        due.broken[customer.pair] = str(error)


def _period(catalog: Catalog, pair: Pair, at: datetime) -> PeriodKey:
    ms = epoch_ms(at)
    period = catalog.calendar_at(pair, ms).period_at(ms)
    return PeriodKey(*pair, instant(period.start_ms), instant(period.end_ms))


def _query(connection: psycopg.Connection, names: Names, statement: str, values: Any = None) -> list[Any]:
    text = sql.SQL(statement).format(schema=sql.Identifier(names.billing_schema))
    return connection.execute(text, values).fetchall()
