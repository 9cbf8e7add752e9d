"""Limits as the hot path and the limit sync read them: Postgres, every wait short, a lost connection made again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any, TypeVar

import psycopg
from psycopg import sql

from udfs.catalog.cache import CatalogUnavailable
from udfs.catalog.model import Pair
from udfs.limits.rule import Limit
from udfs.limits.source import SharedLimits
from udfs.limits.timeline import CustomerRules, PlanVersion
from udfs.meters.meter import BEGINNING_MS, FOREVER_MS
from udfs.postgres import connect, deadline, first_line

_BOUNDS = f"coalesce(catalog.epoch_ms(valid_from), {BEGINNING_MS}), coalesce(catalog.epoch_ms(valid_to), {FOREVER_MS})"
_LIMIT = f"tenant_id, scope, scope_id, meter, cap, mode, thresholds, on_unknown, {_BOUNDS}"
# In each, `{schema}` is that of the catalog.
_REVISION = "SELECT revision FROM {schema}.revision"
_SHARED = f"SELECT {_LIMIT} FROM {{schema}}.usage_limit WHERE scope <> 'customer'"
_TENANTS = "SELECT DISTINCT tenant_id FROM {schema}.usage_limit"
_CUSTOMER_LIMITS = f"""
SELECT {_LIMIT}
FROM {{schema}}.usage_limit
JOIN unnest(%s::text[], %s::text[]) AS wanted (tenant_id, scope_id) USING (tenant_id, scope_id)
WHERE scope = 'customer'
"""
_PLANS = f"""
SELECT tenant_id, customer_id, plan, {_BOUNDS}
FROM {{schema}}.customer
JOIN unnest(%s::text[], %s::text[]) AS wanted (tenant_id, customer_id) USING (tenant_id, customer_id)
"""

_Result = TypeVar("_Result")


class PostgresLimitSource:
    """`LimitSource` over Postgres; not safe for use from several threads.

    Parameters
    ----------
    url:
        Postgres without a password (libpq's password file is used).
    timeout_ms:
        Longest answer; what takes longer counts as unavailable.
    schema:
        Schema of the catalog: the present one, or one as known at an earlier instant.
    """

    def __init__(self, url: str, timeout_ms: int, schema: str = "catalog") -> None:
        self._url = url
        self._timeout_ms = timeout_ms
        self._schema = sql.Identifier(schema).as_string()
        self._connection: psycopg.Connection | None = None

    def shared(self, known_revision: int) -> SharedLimits | None:
        """See `LimitSource.shared`; raises CatalogUnavailable."""

        def read(connection: psycopg.Connection) -> SharedLimits | None:
            revision = self._rows(connection, _REVISION)[0][0]
            if revision == known_revision:
                return None
            with connection.transaction():
                connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
                revision = self._rows(connection, _REVISION)[0][0]
                limits = [_limit(row) for row in self._rows(connection, _SHARED)]
                tenants = frozenset(row[0] for row in self._rows(connection, _TENANTS))
            return SharedLimits(revision, limits, tenants)

        return self._ask(read)

    def customers(self, pairs: Sequence[Pair]) -> Mapping[Pair, CustomerRules]:
        """See `LimitSource.customers`; raises CatalogUnavailable."""
        wanted = [pair[0] for pair in pairs], [pair[1] for pair in pairs]

        def read(connection: psycopg.Connection) -> Mapping[Pair, CustomerRules]:
            plans: dict[Pair, list[PlanVersion]] = {}
            for tenant, customer, plan, start_ms, end_ms in self._rows(connection, _PLANS, wanted):
                plans.setdefault((tenant, customer), []).append(PlanVersion(plan, start_ms, end_ms))
            limits: dict[Pair, list[Limit]] = {}
            for row in self._rows(connection, _CUSTOMER_LIMITS, wanted):
                limits.setdefault((row[0], row[2]), []).append(_limit(row))
            found = plans.keys() | limits.keys()
            return {pair: CustomerRules(plans.get(pair, ()), limits.get(pair, ())) for pair in found}

        return self._ask(read)

    def close(self) -> None:
        """Give the connection back; the next call makes another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _rows(
        self, connection: psycopg.Connection, statement: str, parameters: Sequence[Any] | None = None
    ) -> list[Any]:
        return connection.execute(statement.format(schema=self._schema).encode(), parameters).fetchall()

    def _ask(self, question: Callable[[psycopg.Connection], _Result]) -> _Result:
        try:
            if self._connection is None:
                self._connection = connect(
                    self._url, statement_timeout_ms=self._timeout_ms, application_name="tidemark limits"
                )
            with deadline(self._connection, self._timeout_ms):
                return question(self._connection)
        except psycopg.Error as error:
            self.close()
            raise CatalogUnavailable(f"limits cannot be read: {first_line(error)}") from error


def _limit(row: Sequence[Any]) -> Limit:
    tenant, scope, scope_id, meter, cap, mode, thresholds, on_unknown, start_ms, end_ms = row
    return Limit(tenant, scope, scope_id, meter, Decimal(cap), mode, tuple(thresholds), on_unknown, start_ms, end_ms)
