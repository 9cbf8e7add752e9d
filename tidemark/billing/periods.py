"""Which billing periods are due: those of every customer's calendar, and any other period with usage."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from typing import Any

import psycopg
from psycopg import sql

from tidemark.billing.due_index import DueIndex, columns_of
from tidemark.billing.lines import PeriodKey
from tidemark.billing.store import batches
from tidemark.core.names import Names
from tidemark.core.settings import Settings
from tidemark.core.stored_catalog import readable
from udfs.calendars.calendar import CalendarError, NoPeriodError
from udfs.catalog.cache import Catalog
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

# Where the last current closed period of a customer ended, else where its own usage began; and until when the catalog
# knows it.
_CUSTOMERS = """
SELECT pair.tenant_id, pair.customer_id, started.first_start, last.period_end, nullif(known.until, 'infinity')
FROM unnest(%(tenants)s::text[], %(customers)s::text[]) AS pair (tenant_id, customer_id)
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
ORDER BY 1, 2
"""
# Usage without a current close, by the start of its period: the end in the rollups may be that of an older calendar.
_UNCLOSED = """
SELECT u.tenant_id, u.customer_id, u.period_start, min(u.period_end)
FROM unnest(%(tenants)s::text[], %(customers)s::text[]) AS pair (tenant_id, customer_id)
JOIN {schema}.usage_period u USING (tenant_id, customer_id)
WHERE u.period_start < %(cutoff)s
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
_UNTIL = """
SELECT tenant_id, customer_id, nullif(max(k.valid_to), 'infinity')
FROM unnest(%(tenants)s::text[], %(customers)s::text[]) AS pair (tenant_id, customer_id)
JOIN catalog.customer k USING (tenant_id, customer_id)
GROUP BY tenant_id, customer_id
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

    def __init__(self, url: str, schema: str) -> None:
        self._source = PostgresCatalogSource(url, schema)

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
    """The catalog of a run, for calendars and meters: the present one, but for a replay by an earlier one.

    Raises
    ------
    UnavailableError
        It cannot be read.
    """
    source = _Closing(settings.postgres.ledger.url, settings.catalog.schema_name)
    with readable():
        # Checked here, because a catalog waits for its first snapshot without a limit.
        source.revision()
    catalog = Catalog(source, float("inf"), settings.catalog.customer_cache_size)
    catalog.refresh()
    return catalog


def due(
    connection: psycopg.Connection, settings: Settings, catalog: Catalog, cutoff: datetime, tenant: str | None = None,
    customer: str | None = None, most: int | None = None,
) -> Due:  # fmt: skip
    """Periods that end at `cutoff` (watermark less grace) or before and are not closed, of all or the named customers.

    At most `most` periods of a customer are walked, the oldest: a cutoff that is wrong by decades costs nothing.

    1. Take the customers of whom the index says that a period may have ended.
    2. Walk the calendar of each from the end of its last closed period, else from its first usage: from then on,
       periods without usage are closed too.
    3. Add each period with usage that was not walked and is not closed, for example from before a change of
       calendar: every period with usage is closed at some time.
    4. Put the index right about those who have none.
    """
    # Step 1
    ends = partial(next_ends, connection, settings, catalog)
    index = DueIndex(connection, settings.names, ends, lambda: catalog.revision)
    index.catch_up()
    result = Due()
    for pairs in batches(index.candidates(cutoff, tenant, customer)):
        # Steps 2 and 3
        found = _due_of(connection, settings, catalog, pairs, cutoff, most)
        result.keys |= found.keys
        result.broken |= found.broken
        # Step 4
        named = {key[:2] for key in found.keys} | found.broken.keys()
        index.put_right(pair for pair in pairs if pair not in named)
    return result


def _due_of(
    connection: psycopg.Connection, settings: Settings, catalog: Catalog, pairs: Sequence[Pair], cutoff: datetime,
    most: int | None,
) -> Due:  # fmt: skip
    """Periods of a batch of customers that are due."""
    found = Due()
    catalog.prefetch(pairs)
    for owner in _customers(connection, settings, pairs):
        _walk_into(found, catalog, owner, cutoff, most)
    walked = {key[:3] for key in found.keys}
    unclosed = _unclosed(connection, settings, catalog, pairs, cutoff)
    found.keys |= {key for key in unclosed if key.end <= cutoff and key[:3] not in walked}
    return found


def next_ends(
    connection: psycopg.Connection, settings: Settings, catalog: Catalog, pairs: Sequence[Pair]
) -> dict[Pair, datetime]:
    """When the first period of each customer ends that is not closed; FOREVER where none will.

    A customer whose calendar cannot be used has its own error: named as soon as a period could end.
    """
    catalog.prefetch(pairs)
    ends = dict.fromkeys(pairs, FOREVER) | {
        owner.pair: _first_end(catalog, owner) for owner in _customers(connection, settings, pairs)
    }
    for key in _unclosed(connection, settings, catalog, pairs, FOREVER):
        ends[key[:2]] = min(ends[key[:2]], key.end)
    return ends


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


def known_until(connection: psycopg.Connection, names: Names, pairs: Sequence[Pair]) -> dict[Pair, datetime]:
    """Event time from which on the catalog no longer has them, of the customers for whom there is one."""
    tenants, customers = columns_of(pairs)
    found = _query(connection, names, _UNTIL, {"tenants": tenants, "customers": customers})
    return {row[:2]: row[2] for row in found if row[2] is not None}


def period_of(catalog: Catalog, pair: Pair, start: datetime, end: datetime) -> PeriodKey:
    """The period of a stored row of a prefetched customer: the row may be older than a change that cut the period."""
    try:
        known = _period(catalog, pair, start)
    except CALENDAR_ERRORS:
        return PeriodKey(*pair, start, end)
    return PeriodKey(*pair, start, min(end, known.end) if known.start == start else end)


def _customers(connection: psycopg.Connection, settings: Settings, pairs: Sequence[Pair]) -> list[Customer]:
    """What is known of customers; nobody is billed for heartbeats."""
    tenants, customers = columns_of(pairs)
    found = _query(connection, settings.names, _CUSTOMERS, {"tenants": tenants, "customers": customers})
    return [Customer(row[:2], *row[2:]) for row in found if row[:2] != _beats(settings)]


def _unclosed(
    connection: psycopg.Connection, settings: Settings, catalog: Catalog, pairs: Sequence[Pair], cutoff: datetime
) -> set[PeriodKey]:
    """Periods of prefetched customers with usage and without a close that begin before `cutoff`."""
    tenants, customers = columns_of(pairs)
    given = {"tenants": tenants, "customers": customers, "cutoff": cutoff}
    found = _query(connection, settings.names, _UNCLOSED, given)
    return {period_of(catalog, row[:2], row[2], row[3]) for row in found if row[:2] != _beats(settings)}


def _beats(settings: Settings) -> Pair:
    return settings.heartbeat.tenant, HEARTBEAT_CUSTOMER


def _first_end(catalog: Catalog, customer: Customer) -> datetime:
    if customer.start is None:
        return FOREVER
    try:
        first = next(walk(catalog, customer.pair, customer.start, FOREVER, customer.until), None)
    except CALENDAR_ERRORS:
        return customer.start
    return FOREVER if first is None else first.end


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
