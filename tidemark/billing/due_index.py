"""An index of when the next period of each customer ends, in Postgres: a close walks only those whose has ended.

It may name an end that is too early, and the customer is then walked in vain and its row put right. It never names one
that is too late: usage, corrections, catalog and promotions that may bring an end forward are looked at first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import psycopg
from psycopg import sql

from tidemark.billing.store import batches
from tidemark.core import rollup_views
from tidemark.core.names import Names
from tidemark.core.postgres import lock_in_transaction
from udfs.catalog.model import Pair

# Rows committed this long after they were stamped are still seen; `rollup` commits a batch within seconds.
OVERLAP = timedelta(seconds=60)

NextEnds = Callable[[Sequence[Pair]], Mapping[Pair, datetime]]

_STATE = "SELECT upto, catalog_revision, catalog_at, versions FROM {schema}.period_due_progress"
_REVISION = "SELECT revision, applied_at, now() FROM catalog.revision"
# Jumps from pair to pair in both indexes, without reading all their rows.
_FORGET_ALL = """
WITH RECURSIVE used AS (
    (SELECT tenant_id, customer_id FROM {schema}.usage_period ORDER BY tenant_id, customer_id LIMIT 1)
    UNION ALL
    SELECT next.tenant_id, next.customer_id
    FROM used
    CROSS JOIN LATERAL (
        SELECT u.tenant_id, u.customer_id FROM {schema}.usage_period u
        WHERE (u.tenant_id, u.customer_id) > (used.tenant_id, used.customer_id)
        ORDER BY u.tenant_id, u.customer_id LIMIT 1
    ) next
), closed AS (
    (SELECT tenant_id, customer_id FROM {schema}.period_close ORDER BY tenant_id, customer_id LIMIT 1)
    UNION ALL
    SELECT next.tenant_id, next.customer_id
    FROM closed
    CROSS JOIN LATERAL (
        SELECT c.tenant_id, c.customer_id FROM {schema}.period_close c
        WHERE (c.tenant_id, c.customer_id) > (closed.tenant_id, closed.customer_id)
        ORDER BY c.tenant_id, c.customer_id LIMIT 1
    ) next
)
INSERT INTO {schema}.period_due (tenant_id, customer_id, next_end)
SELECT tenant_id, customer_id, '-infinity' FROM (SELECT * FROM used UNION SELECT * FROM closed) pair
ON CONFLICT (tenant_id, customer_id) DO UPDATE SET next_end = '-infinity'
"""
# A change of one of these moves the periods of any number of customers.
_RULES_CHANGED = """
SELECT EXISTS (
    SELECT FROM catalog.change
    WHERE changed_at >= %(catalog_at)s AND revision > %(revision)s AND table_name IN ('calendar', 'tenant')
)
"""
_FORGET_CHANGED = """
UPDATE {schema}.period_due d SET next_end = '-infinity'
FROM (
    SELECT DISTINCT coalesce(after, before) ->> 'tenant_id' AS tenant_id,
                    coalesce(after, before) ->> 'customer_id' AS customer_id
    FROM catalog.change
    WHERE changed_at >= %(catalog_at)s AND revision > %(revision)s AND table_name = 'customer'
) changed
WHERE (d.tenant_id, d.customer_id) = (changed.tenant_id, changed.customer_id)
"""
# New customers, usage of periods that end before the end that is known, and periods that are none any more.
_NEWS = """
SELECT u.tenant_id, u.customer_id
FROM {schema}.usage_period u
LEFT JOIN {schema}.period_due d USING (tenant_id, customer_id)
WHERE u.updated_at >= %(since)s
  AND (d.next_end IS NULL OR d.next_end > u.period_end)
  AND NOT EXISTS (
      SELECT FROM {schema}.period_status s
      WHERE (s.tenant_id, s.customer_id, s.period_start) = (u.tenant_id, u.customer_id, u.period_start) AND s.is_current
  )
UNION
SELECT tenant_id, customer_id FROM {schema}.correction WHERE NOT is_current AND made_at >= %(since)s
"""
_CANDIDATES = """
SELECT tenant_id, customer_id FROM {schema}.period_due
WHERE next_end <= %(cutoff)s
  AND (%(tenant)s::text IS NULL OR tenant_id = %(tenant)s)
  AND (%(customer)s::text IS NULL OR customer_id = %(customer)s)
ORDER BY tenant_id, customer_id
"""
_PUT = """
INSERT INTO {schema}.period_due (tenant_id, customer_id, next_end)
SELECT * FROM unnest(%s::text[], %s::text[], %s::timestamptz[])
ON CONFLICT (tenant_id, customer_id) DO UPDATE SET next_end = EXCLUDED.next_end
"""
_ADVANCE = """
UPDATE {schema}.period_due_progress
SET upto = %(now)s, catalog_revision = %(revision)s, catalog_at = %(catalog_at)s, versions = %(versions)s
WHERE upto IS NULL OR upto <= %(now)s
"""
_START_ANEW = "UPDATE {schema}.period_due_progress SET upto = NULL"


@dataclass(frozen=True, slots=True)
class _State:
    """What the index was made with, by the clock of the database; `at` None: it is not made yet."""

    at: datetime | None
    revision: int
    catalog_at: datetime | None
    versions: str


class DueIndex:
    """The index of a ledger.

    Parameters
    ----------
    connection, names:
        The ledger; statements that belong together are in one transaction.
    next_ends:
        Says of customers when the first period ends that is not closed.
    revision:
        Of the catalog that `next_ends` asks.
    """

    def __init__(
        self, connection: psycopg.Connection, names: Names, next_ends: NextEnds, revision: Callable[[], int]
    ) -> None:
        self._connection = connection
        self._names = names
        self._next_ends = next_ends
        self._revision = revision

    def catch_up(self) -> None:
        """Take what may have brought an end forward since the last call: usage, corrections, catalog, promotions.

        After a crash the next call goes on from the one before.
        """
        before, now = self._stored(), self._present()
        with self._alone():
            self._forget(before, now)
        news = [] if before.at is None else self._rows(_NEWS, {"since": before.at - OVERLAP})
        self.put_right((tenant, customer) for tenant, customer in news)
        if self._revision() < now.revision:
            # The catalog was read before it changed: what changed is looked for once more by the next call.
            now = replace(now, revision=self._revision(), catalog_at=before.catalog_at)
        given = {
            "now": now.at, "revision": now.revision, "catalog_at": now.catalog_at, "versions": now.versions,
        }  # fmt: skip
        self._execute(_ADVANCE, given)

    def candidates(self, cutoff: datetime, tenant: str | None = None, customer: str | None = None) -> list[Pair]:
        """Customers, all or the named, of whom a period may end at `cutoff` or before."""
        given = {"cutoff": cutoff, "tenant": tenant, "customer": customer}
        return [(tenant, customer) for tenant, customer in self._rows(_CANDIDATES, given)]

    def put_right(self, pairs: Iterable[Pair]) -> None:
        """Work out the next ends of customers again."""
        for batch in batches(pairs):
            # Read and written under one lock: the last writer has read the newest.
            with self._alone():
                ends = self._next_ends(batch)
                self._execute(_PUT, [*columns_of(ends), list(ends.values())])

    def _forget(self, before: _State, now: _State) -> None:
        """Mark the customers whose ends are no longer known, for the calendars or versions that they are of changed."""
        given = {"catalog_at": before.catalog_at, "revision": before.revision}
        if before.at is None or before.versions != now.versions:
            self._execute(_FORGET_ALL)
        elif before.revision != now.revision:
            rules = self._rows(_RULES_CHANGED, given)[0][0]
            self._execute(*((_FORGET_ALL,) if rules else (_FORGET_CHANGED, given)))

    def _stored(self) -> _State:
        return _State(*self._rows(_STATE)[0])

    def _present(self) -> _State:
        revision, catalog_at, now = self._rows(_REVISION)[0]
        return _State(now, revision, catalog_at, repr(rollup_views.overlays(self._connection, self._names)))

    @contextmanager
    def _alone(self) -> Iterator[None]:
        with self._connection.transaction():
            lock_in_transaction(self._connection, f"due index {self._names.billing_schema}")
            yield

    def _rows(self, statement: str, values: Any = None) -> list[Any]:
        return self._connection.execute(_sql(statement, self._names), values).fetchall()

    def _execute(self, statement: str, values: Any = None) -> None:
        self._connection.execute(_sql(statement, self._names), values)


def start_anew(connection: psycopg.Connection, names: Names) -> None:
    """Have the next update look at all customers, whatever the index says of them."""
    connection.execute(_sql(_START_ANEW, names))


def columns_of(pairs: Iterable[Pair]) -> list[list[str]]:
    """Tenants and customers of pairs, as two arrays."""
    listed = list(pairs)
    return [[tenant for tenant, _ in listed], [customer for _, customer in listed]]


def _sql(statement: str, names: Names) -> sql.Composed:
    return sql.SQL(statement).format(schema=sql.Identifier(names.billing_schema))
