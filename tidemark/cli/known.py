"""Checks that a tenant, customer or meter on the command line exists; suggests another if it does not."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

import psycopg
from psycopg import sql

from tidemark.core.errors import UsageError
from tidemark.core.postgres import run_once
from tidemark.core.settings import Settings
from tidemark.live import active_version

_TIMEOUT_MS = 10_000
# Names compared for a suggestion: comparing more would take longer than typing it again.
_COMPARED = 5_000
_LISTED = 5

_TENANT = "SELECT EXISTS (SELECT FROM catalog.tenant WHERE tenant_id = %(tenant)s)"
_TENANTS = "SELECT DISTINCT tenant_id FROM catalog.tenant ORDER BY 1 LIMIT %(most)s"
# Events that no meter measures are counted by this meter, which is in no catalog.
_METERS = """
SELECT DISTINCT meter FROM catalog.meter WHERE tenant_id = %(tenant)s OR tenant_id IS NULL
UNION SELECT 'tidemark.unmeasured'
ORDER BY 1
"""
_CUSTOMER = """
SELECT EXISTS (SELECT FROM catalog.customer WHERE tenant_id = %(tenant)s AND customer_id = %(customer)s)
    OR EXISTS (SELECT FROM {schema}.usage_period WHERE tenant_id = %(tenant)s AND customer_id = %(customer)s)
"""
_CUSTOMERS = """
(SELECT DISTINCT customer_id FROM catalog.customer WHERE tenant_id = %(tenant)s ORDER BY 1 LIMIT %(most)s)
UNION
(SELECT DISTINCT customer_id FROM {schema}.usage_period WHERE tenant_id = %(tenant)s ORDER BY 1 LIMIT %(most)s)
"""


def known(settings: Settings, tenant: str, customer: str | None = None, meter: str | None = None) -> None:
    """Check that a tenant is in the catalog, that it has the meter, and that the customer is known or has usage.

    Versions of all times count, so that ended entries can still be queried.

    Raises
    ------
    UsageError
        One of them is not known; suggests a similar name.
    UnavailableError
        Postgres cannot be reached.
    """
    asked: dict[str, Any] = {"tenant": tenant, "customer": customer, "most": _COMPARED}
    run_once(settings.postgres.ops, "known", lambda db: _check(db, settings, asked, meter), timeout_ms=_TIMEOUT_MS)


def suggestion(wrong: str, names: Iterable[str]) -> str:
    """What to write instead of `wrong`: the closest name, else a few of the existing names, else nothing."""
    existing = sorted(set(names))
    folded = {name.casefold(): name for name in reversed(existing)}
    close = difflib.get_close_matches(wrong.casefold(), folded, n=1)
    if close:
        return f"did you mean {folded[close[0]]!r}?"
    if not existing:
        return ""
    more = f" and {len(existing) - _LISTED} more" if len(existing) > _LISTED else ""
    return f"there are {', '.join(map(repr, existing[:_LISTED]))}{more}."


def _check(db: psycopg.Connection, settings: Settings, asked: dict[str, Any], meter: str | None) -> None:
    tenant, customer = asked["tenant"], asked["customer"]
    if not _holds(db, sql.SQL(_TENANT), asked):
        hint = suggestion(tenant, _names(db, sql.SQL(_TENANTS), asked))
        raise UsageError(f"there is no tenant {tenant!r}.", hint or "apply a catalog: `tidemark catalog apply`.")
    if meter is not None:
        meters = _names(db, sql.SQL(_METERS), asked)
        if meter not in meters:
            raise UsageError(f"{tenant} has no meter {meter!r}.", suggestion(meter, meters))
    if customer is not None:
        # A replay has no ledger, so its own rollups are read.
        names = settings.names
        read = names.usage_schema if active_version.promoted(db, names) is None else names.billing_schema
        schema = sql.Identifier(read)
        if not _holds(db, sql.SQL(_CUSTOMER).format(schema=schema), asked):
            customers = _names(db, sql.SQL(_CUSTOMERS).format(schema=schema), asked)
            fix = suggestion(customer, customers) or "send usage of it, or name it in the catalog."
            raise UsageError(f"{tenant} has no customer {customer!r}, neither usage nor a catalog entry.", fix)


def _holds(db: psycopg.Connection, statement: sql.SQL | sql.Composed, asked: dict[str, Any]) -> bool:
    row = db.execute(statement, asked).fetchone()
    return bool(row and row[0])


def _names(db: psycopg.Connection, statement: sql.SQL | sql.Composed, asked: dict[str, Any]) -> list[str]:
    return [row[0] for row in db.execute(statement, asked).fetchall()]
