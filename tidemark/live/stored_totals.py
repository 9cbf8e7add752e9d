"""Stored totals as live ones, a part at a time: no statement grows with the installation."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

import psycopg
from psycopg import sql

from udfs.live.counters import LiveTotal

# Tenant, customer and meter of a counter; before the first one, whose ids are not empty.
Key = tuple[str, str, str]
FIRST: Key = ("", "", "")
# Counters of one page, and rows of one slice of time: about a second of Postgres each.
PAGE_KEYS = 5_000
SLICE_ROWS = 20_000

# Read from the primary key, in its order.
_PAGE_END = """
SELECT tenant_id, customer_id, meter
FROM (
    SELECT DISTINCT tenant_id, customer_id, meter
    FROM {schema}.usage_period
    WHERE (tenant_id, customer_id, meter) > (%(tenant)s, %(customer)s, %(meter)s)
    ORDER BY tenant_id, customer_id, meter
    LIMIT %(keys)s
) page
ORDER BY tenant_id DESC, customer_id DESC, meter DESC
LIMIT 1
"""
_PAGE = """
SELECT *
FROM {schema}.usage_period
WHERE (tenant_id, customer_id, meter) > (%(tenant)s, %(customer)s, %(meter)s)
  AND (tenant_id, customer_id, meter) <= (%(last_tenant)s, %(last_customer)s, %(last_meter)s)
"""
_SLICE_END = """
SELECT updated_at FROM {schema}.usage_period
WHERE updated_at > %(since)s AND updated_at <= %(until)s
ORDER BY updated_at OFFSET %(rows)s LIMIT 1
"""
_SLICE = """
SELECT p.*
FROM {schema}.usage_period p
JOIN (
    SELECT DISTINCT tenant_id, customer_id, meter
    FROM {schema}.usage_period
    WHERE updated_at > %(since)s AND updated_at <= %(until)s
) touched USING (tenant_id, customer_id, meter)
"""
# Over all dims, the latest period of each counter. A unique meter is the number of its values, of which each is a part;
# other parts than the plain one have no live counter.
_TOTALS = """
WITH chosen AS ({chosen}), periods AS (
    SELECT *, rank() OVER (PARTITION BY tenant_id, customer_id, meter ORDER BY period_start DESC) AS age
    FROM chosen
    WHERE part = '' OR part LIKE 'u%%'
)
SELECT tenant_id, customer_id, meter,
       (extract(epoch FROM period_start) * 1000)::bigint, (extract(epoch FROM min(period_end)) * 1000)::bigint,
       coalesce(sum(n) FILTER (WHERE part = ''), count(DISTINCT part))::bigint,
       coalesce(sum(samples) FILTER (WHERE part = ''), count(DISTINCT part))::bigint,
       coalesce(sum(total) FILTER (WHERE part = ''), count(DISTINCT part)),
       min(lo) FILTER (WHERE part = ''), max(hi) FILTER (WHERE part = ''), max(latest COLLATE "C")
FROM periods
WHERE age = 1
GROUP BY tenant_id, customer_id, meter, period_start
"""


class StoredTotals:
    """Reads totals of a run in parts.

    Parameters
    ----------
    schema:
        Schema of the rollups.
    """

    def __init__(self, schema: str) -> None:
        name = sql.Identifier(schema)
        self._page_end, self._slice_end = (sql.SQL(text).format(schema=name) for text in (_PAGE_END, _SLICE_END))
        self._page, self._slice = (
            sql.SQL(_TOTALS).format(chosen=sql.SQL(text).format(schema=name)) for text in (_PAGE, _SLICE)
        )

    def page(self, connection: psycopg.Connection, after: Key) -> tuple[Key | None, list[LiveTotal]]:
        """The last key of the next page of counters behind `after` and their totals; None behind the last one."""
        given = {"tenant": after[0], "customer": after[1], "meter": after[2], "keys": PAGE_KEYS}
        last = connection.execute(self._page_end, given).fetchone()
        if last is None:
            return None, []
        given |= {"last_tenant": last[0], "last_customer": last[1], "last_meter": last[2]}
        return last, [live_total(row) for row in connection.execute(self._page, given)]

    def written(
        self, connection: psycopg.Connection, since: datetime, until: datetime
    ) -> tuple[datetime, list[LiveTotal]]:
        """Totals of counters that were written after `since`, and up to when: `until`, or before it."""
        given = {"since": since, "until": until, "rows": SLICE_ROWS}
        cut = connection.execute(self._slice_end, given).fetchone()
        end = until if cut is None else cut[0]
        rows = connection.execute(self._slice, {"since": since, "until": end})
        return end, [live_total(row) for row in rows]


def live_total(row: Sequence[Any]) -> LiveTotal:
    """A row of the stored totals as a live one."""
    tenant, customer, meter, start_ms, end_ms, n, samples, total, lo, hi, latest = row
    figures = (plain(total), plain(lo), plain(hi), latest or "")
    return LiveTotal(tenant, customer, meter, start_ms, end_ms, n, samples, *figures)


def plain(value: Decimal | None) -> str:
    """Decimal as text without an exponent, all digits kept; empty for None."""
    return "" if value is None else format(value, "f")
