"""The catalog as the jobs read it: Postgres, every wait bounded, one connection that is made again when it is lost."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from udfs.catalog.cache import CatalogUnavailable
from udfs.catalog.model import CalendarDef, CatalogSnapshot, Customer, Pair, Tenant, stored_filter
from udfs.meters.meter import BEGINNING_MS, FOREVER_MS, Meter
from udfs.postgres import connect, deadline, first_line

STATEMENT_TIMEOUT_MS = 5_000
_DROPPED_WITHIN_S = 1.0

_BOUNDS = (
    f"coalesce(catalog.epoch_ms(valid_from), {BEGINNING_MS}) AS valid_from_ms, "
    f"coalesce(catalog.epoch_ms(valid_to), {FOREVER_MS}) AS valid_to_ms"
)
# In each, `{schema}` is that of the catalog.
_REVISION = "SELECT revision FROM {schema}.revision"
_TENANTS = f"SELECT tenant_id, calendar_id, {_BOUNDS}, sources FROM {{schema}}.tenant"
_CALENDARS = f"""
SELECT calendar_id, anchor, "interval", timezone, coalesce(boundaries, ARRAY[]::text[]) AS boundaries, {_BOUNDS}
FROM {{schema}}.calendar
"""
_METERS = f"""
SELECT meter, tenant_id, event_types, aggregation, value, group_by, unit, allow_negative, filter::text AS filter,
       on_missing, per, precision, {_BOUNDS}
FROM {{schema}}.meter
"""
_CUSTOMERS = f"""
SELECT tenant_id, customer_id, calendar_id, {_BOUNDS}, plan, trim_scale(revenue_weight) AS revenue_weight
FROM {{schema}}.customer
JOIN unnest(%s::text[], %s::text[]) AS wanted (tenant_id, customer_id) USING (tenant_id, customer_id)
"""

_Result = TypeVar("_Result")


class PostgresCatalogSource:
    """`CatalogSource` over Postgres; not safe for use from several threads.

    Parameters
    ----------
    url:
        Postgres without a password (libpq's password file is used).
    schema:
        Schema of the catalog: the present one, or one as known at an earlier instant.

    """

    def __init__(self, url: str, schema: str = "catalog") -> None:
        self._url = url
        self._schema = sql.Identifier(schema).as_string()
        self._connection: psycopg.Connection | None = None

    def revision(self) -> int:
        """Return the number of the newest change.

        Raises
        ------
        CatalogUnavailable
            Postgres cannot be reached in CONNECT_TIMEOUT_S, or is not done in STATEMENT_TIMEOUT_MS.

        """
        return self._ask(lambda connection: _read_revision(connection, self._schema))

    def snapshot(self) -> CatalogSnapshot:
        """Read tenants, meters and calendars as of one revision; raises CatalogUnavailable, see `revision`."""
        return self._ask(lambda connection: _read_snapshot(connection, self._schema))

    def customers(self, pairs: Sequence[Pair]) -> Mapping[Pair, Sequence[Customer]]:
        """Read all versions of the customers named, in one query; raises CatalogUnavailable, see `revision`."""
        return self._ask(lambda connection: _read_customers(connection, self._schema, pairs))

    def close(self) -> None:
        """Give the connection back; the next call makes another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _ask(self, question: Callable[[psycopg.Connection], _Result]) -> _Result:
        """One answer; a kept connection that Postgres has dropped since (it restarted) is replaced once."""
        kept, began = self._connection is not None, time.monotonic()
        try:
            return self._answer(question)
        except psycopg.Error as error:
            lost = self._connection is not None and self._connection.broken
            self.close()
            # A dropped connection shows at once; one that had to be cut has already taken all the time there is.
            if not (kept and lost and time.monotonic() - began < _DROPPED_WITHIN_S):
                raise _unavailable(error) from error
        try:
            return self._answer(question)
        except psycopg.Error as error:
            self.close()
            raise _unavailable(error) from error

    def _answer(self, question: Callable[[psycopg.Connection], _Result]) -> _Result:
        if self._connection is None:
            self._connection = connect(
                self._url, statement_timeout_ms=STATEMENT_TIMEOUT_MS, application_name="tidemark catalog"
            )
        with deadline(self._connection, STATEMENT_TIMEOUT_MS):
            return question(self._connection)


def _read_revision(connection: psycopg.Connection, schema: str) -> int:
    found = _rows(connection, _REVISION, schema)
    return int(found[0][0]) if found else 0


def _read_snapshot(connection: psycopg.Connection, schema: str) -> CatalogSnapshot:
    with connection.transaction():
        # One view of the data for the four statements: rows of a later revision must not slip in.
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        revision = _read_revision(connection, schema)
        tenants = [_tenant(row) for row in _rows(connection, _TENANTS, schema)]
        calendars = [_calendar(row) for row in _records(connection, _CALENDARS, schema)]
        meters = [_meter(row) for row in _records(connection, _METERS, schema)]
    return CatalogSnapshot(revision, tenants, meters, calendars)


def _read_customers(
    connection: psycopg.Connection, schema: str, pairs: Sequence[Pair]
) -> dict[Pair, Sequence[Customer]]:
    found: dict[Pair, list[Customer]] = {}
    wanted = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    for row in _rows(connection, _CUSTOMERS, schema, wanted):
        customer = Customer(*row)
        found.setdefault((customer.tenant_id, customer.customer_id), []).append(customer)
    return dict(found)


def _tenant(row: Sequence[Any]) -> Tenant:
    tenant_id, calendar_id, valid_from_ms, valid_to_ms, sources = row
    return Tenant(tenant_id, calendar_id, valid_from_ms, valid_to_ms, None if sources is None else tuple(sources))


def _calendar(row: dict[str, Any]) -> CalendarDef:
    return CalendarDef(**{**row, "boundaries": tuple(row["boundaries"])})


def _meter(row: dict[str, Any]) -> Meter:
    lists = {name: tuple(row[name]) for name in ("event_types", "group_by")}
    return Meter(**{**row, **lists, "filter": stored_filter(row["filter"])})


def _records(connection: psycopg.Connection, statement: str, schema: str) -> list[dict[str, Any]]:
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(statement.format(schema=schema).encode()).fetchall()


def _rows(
    connection: psycopg.Connection, statement: str, schema: str, parameters: Sequence[Any] | None = None
) -> list[Any]:
    return connection.execute(statement.format(schema=schema).encode(), parameters).fetchall()


def _unavailable(error: Exception) -> CatalogUnavailable:
    return CatalogUnavailable(f"the catalog cannot be read: {first_line(error)}")
