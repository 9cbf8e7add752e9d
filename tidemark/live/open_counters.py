"""Counters of running periods and customers with limits of their own, a page at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
from psycopg import sql

from udfs.catalog.model import Pair

# Counters, or customers, of one page: under a second of Postgres.
PAGE_ROWS = 5_000

# Read from an index, in its order. Of a counter with several running periods (its calendar was changed) the one that
# began last is meant, with its earliest end.
_OPEN = """
WITH page AS (
    SELECT DISTINCT period_end, tenant_id, customer_id, meter, period_start
    FROM {schema}.usage_period
    WHERE (period_end, tenant_id, customer_id, meter, period_start)
          > (%(period_end)s, %(tenant)s, %(customer)s, %(meter)s, %(period_start)s)
      AND period_end > %(now)s AND period_start <= %(now)s AND (part = '' OR part LIKE 'u%%')
    ORDER BY period_end, tenant_id, customer_id, meter, period_start
    LIMIT %(rows)s
)
SELECT period_end, tenant_id, customer_id, meter, period_start,
       NOT EXISTS (
           SELECT FROM {schema}.usage_period other
           WHERE (other.tenant_id, other.customer_id, other.meter) = (page.tenant_id, page.customer_id, page.meter)
             AND other.period_end > %(now)s AND other.period_start <= %(now)s
             AND (other.part = '' OR other.part LIKE 'u%%')
             AND (other.period_start > page.period_start
                  OR (other.period_start = page.period_start AND other.period_end < page.period_end))
       ),
       (extract(epoch FROM period_start) * 1000)::bigint, (extract(epoch FROM period_end) * 1000)::bigint
FROM page
ORDER BY period_end, tenant_id, customer_id, meter, period_start
"""
# Customers with limits of their own or of a plan: they have a counter before they use anything.
_NAMED = """
SELECT tenant_id, customer_id
FROM (
    (SELECT DISTINCT tenant_id, scope_id AS customer_id
     FROM {catalog}.usage_limit
     WHERE scope = 'customer' AND valid_from <= now() AND valid_to > now()
       AND (tenant_id, scope_id) > (%(tenant)s, %(customer)s)
     ORDER BY 1, 2 LIMIT %(rows)s)
    UNION
    (SELECT c.tenant_id, c.customer_id
     FROM {catalog}.customer c
     WHERE c.valid_from <= now() AND c.valid_to > now()
       AND (c.tenant_id, c.customer_id) > (%(tenant)s, %(customer)s)
       AND EXISTS (
           SELECT FROM {catalog}.usage_limit l
           WHERE l.tenant_id = c.tenant_id AND l.scope = 'plan' AND l.scope_id = c.plan
             AND l.valid_from <= now() AND l.valid_to > now()
       )
     ORDER BY 1, 2 LIMIT %(rows)s)
) named
ORDER BY 1, 2 LIMIT %(rows)s
"""
_USED = """
SELECT DISTINCT tenant_id, customer_id, meter
FROM {schema}.usage_period
JOIN unnest(%s::text[], %s::text[]) AS wanted (tenant_id, customer_id) USING (tenant_id, customer_id)
WHERE period_end > now() AND period_start <= now() AND (part = '' OR part LIKE 'u%%')
"""


@dataclass(frozen=True, slots=True)
class Counter:
    """A counter of the running period; `used`: it has usage already."""

    tenant: str
    customer: str
    meter: str
    start_ms: int
    end_ms: int
    used: bool


@dataclass(frozen=True, slots=True)
class Place:
    """How far the counters of running periods were read."""

    period_end: datetime
    tenant: str = ""
    customer: str = ""
    meter: str = ""
    period_start: datetime | None = None


class OpenCounters:
    """Reads them of a run.

    Parameters
    ----------
    usage_schema, catalog_schema:
        Where the rollups are, and the catalog.
    """

    def __init__(self, usage_schema: str, catalog_schema: str) -> None:
        schema, catalog = sql.Identifier(usage_schema), sql.Identifier(catalog_schema)
        self._open, self._used = (sql.SQL(text).format(schema=schema) for text in (_OPEN, _USED))
        self._named = sql.SQL(_NAMED).format(catalog=catalog)

    def page(
        self, connection: psycopg.Connection, now: datetime, after: Place | None
    ) -> tuple[Place | None, list[Counter]]:
        """The next counters behind a place, and where they end; None behind the last of them."""
        at = after or Place(now)
        given: dict[str, Any] = {
            "now": now, "rows": PAGE_ROWS, "period_end": at.period_end, "tenant": at.tenant, "customer": at.customer,
            "meter": at.meter, "period_start": at.period_start or "-infinity",
        }  # fmt: skip
        rows = connection.execute(self._open, given).fetchall()
        found = [Counter(row[1], row[2], row[3], row[6], row[7], used=True) for row in rows if row[5]]
        return (Place(*rows[-1][:5]) if len(rows) == PAGE_ROWS else None), found

    def named(self, connection: psycopg.Connection, after: Pair) -> list[Pair]:
        """The next customers with limits of their own or of a plan; fewer than PAGE_ROWS are the last."""
        given = {"tenant": after[0], "customer": after[1], "rows": PAGE_ROWS}
        return [(row[0], row[1]) for row in connection.execute(self._named, given)]

    def used(self, connection: psycopg.Connection, pairs: Sequence[Pair]) -> set[tuple[str, str, str]]:
        """Tenant, customer and meter of the counters of running periods that customers have."""
        wanted = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
        return {(row[0], row[1], row[2]) for row in connection.execute(self._used, wanted)}
