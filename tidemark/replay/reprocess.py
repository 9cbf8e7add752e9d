"""Other rules for usage that was counted already: what a changed catalog concerns, then apply, replay and compare."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from psycopg import sql

from tidemark.catalog import tool as catalog_tool
from tidemark.catalog.plan import Plan
from tidemark.catalog.timeline import Change
from tidemark.core import migrate
from tidemark.core.errors import UsageError
from tidemark.core.settings import Settings
from udfs.values import instant

# From the first instant that changes: back to the begin of every period it lies in, so that none is in two versions.
_BEGIN = """
SELECT min(period_start), count(DISTINCT (tenant_id, customer_id, period_start)),
       count(DISTINCT (tenant_id, customer_id, period_start)) FILTER (WHERE closed)
FROM (
    SELECT u.tenant_id, u.customer_id, u.period_start,
           EXISTS (
               SELECT FROM {schema}.period_close c
               WHERE (c.tenant_id, c.customer_id, c.period_start) = (u.tenant_id, u.customer_id, u.period_start)
           ) AS closed
    FROM {schema}.usage_period u
    WHERE (%(tenants)s::text[] IS NULL OR u.tenant_id = ANY(%(tenants)s)) AND u.period_end > %(since)s
) reached
"""


@dataclass(frozen=True, slots=True)
class Concern:
    """What a changed catalog concerns.

    Parameters
    ----------
    plan:
        What applying it changes.
    since:
        First event time that is counted by other rules.
    start:
        Where a replay has to begin: the begin of the earliest period that holds `since`.
    tenants:
        Tenants it concerns; none for all.
    periods, closed:
        Periods with usage that are counted anew, and how many of them are closed.
    """

    plan: Plan
    since: datetime
    start: datetime
    tenants: tuple[str, ...]
    periods: int
    closed: int


def concern(settings: Settings, file: Path) -> Concern:
    """What a catalog file would have counted otherwise; changes nothing.

    Raises
    ------
    UsageError
        The file has faults, or changes nothing that was counted.
    """
    made = catalog_tool.preview(settings, file, backdate=True).plan
    changes = [change for change in made.changes if change.backdated and change.counts]
    if not changes:
        raise UsageError(
            f"{file} changes nothing that was counted already.", "`tidemark catalog apply` it; no replay is needed."
        )
    since_ms = max(0, min(change.valid_from_ms for change in changes))
    since = instant(since_ms)
    tenants = _tenants(changes)
    statement = sql.SQL(_BEGIN).format(schema=sql.Identifier(settings.names.billing_schema))
    with migrate.connect(settings.postgres) as connection:
        asked = {"tenants": list(tenants) or None, "since": since}
        start, periods, closed = connection.execute(statement, asked).fetchall()[0]
    return Concern(made, since, min(start or since, since), tenants, periods, closed)


def _tenants(changes: list[Change]) -> tuple[str, ...]:
    """Tenants of the changes; none (all) where a calendar, or a meter of all tenants, is changed."""
    if any(change.table == "calendar" or not _tenant(change) for change in changes):
        return ()
    return tuple(sorted({_tenant(change) for change in changes}))


def _tenant(change: Change) -> str:
    # The key of a meter is its tenant, or none, and its name; those of others begin with their tenant.
    return str(change.key[0] or "")
