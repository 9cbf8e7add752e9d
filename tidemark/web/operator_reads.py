"""What operators see of a tenant, and of all: who uses most, what was not counted, what is not closed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from psycopg.rows import dict_row

from tidemark.api.reading import Asked, shown
from tidemark.api.usage_rows import LISTINGS, Page, listed
from tidemark.billing.decide import CloseRequest
from tidemark.billing.preview import preview
from tidemark.billing.scope import Scope
from tidemark.core.errors import TidemarkError
from tidemark.core.settings import Settings
from tidemark.web.shown import percent

Rows = Sequence[Mapping[str, Any]]
MOST_LISTED = 200
_TENANTS = """
SELECT tenant_id, count(DISTINCT customer_id) AS customers, sum(n)::bigint AS measurements, max(period_end) AS upto,
       max(updated_at) AS updated_at
FROM usage_period
WHERE %(tenant)s::text IS NULL OR tenant_id = %(tenant)s
GROUP BY tenant_id
ORDER BY measurements DESC, tenant_id
LIMIT 200
"""
# Of each customer the latest period.
_TOP = """
SELECT meter, unit, customer_id, value, period_start, period_end
FROM (
    SELECT *, row_number() OVER (PARTITION BY meter ORDER BY value DESC, customer_id) AS place
    FROM (
        SELECT DISTINCT ON (meter, customer_id) meter, unit, customer_id, value, period_start, period_end
        FROM usage_total
        WHERE tenant_id = %(tenant)s AND value IS NOT NULL
        ORDER BY meter, customer_id, period_start DESC
    ) latest
) ranked
WHERE place <= 5
ORDER BY meter, place
"""
_REFUSED = """
SELECT source_topic, reason, count(*) AS events
FROM dead_letter
WHERE tenant_id = %(tenant)s AND topic = %(dlq)s
GROUP BY source_topic, reason
ORDER BY events DESC, source_topic, reason
"""
_DUE = """
SELECT d.customer_id, d.next_end AS ended_at, d.next_end + p.grace AS closes_at, d.next_end + p.grace <= now() AS is_due
FROM period_due d
CROSS JOIN policy p
WHERE d.tenant_id = %(tenant)s AND isfinite(d.next_end) AND d.next_end <= now()
ORDER BY d.next_end, d.customer_id
LIMIT 200
"""
# The index of due periods is made anew: the next close looks.
_NOT_KNOWN = "SELECT count(*) AS customers FROM period_due WHERE tenant_id = %(tenant)s AND next_end = '-infinity'"
_WAITING = "SELECT since, evidence FROM close_alarm WHERE resolved_at IS NULL"


@dataclass(frozen=True, slots=True)
class Overview:
    """Tenants, the customers of one that use most by meter, and what of it was refused by where it came from."""

    tenants: Rows
    top: Rows
    refused: Rows


@dataclass(frozen=True, slots=True)
class Periods:
    """Periods of a tenant that have ended and are not closed, why closing waits, and what was corrected.

    `not_known` is of how many customers nobody has looked yet when their periods end.
    """

    due: Rows
    not_known: int
    waiting: Mapping[str, Any] | None
    corrections: Page


def overview(of: Asked, *, every_tenant: bool) -> Overview:
    """The first page."""
    names = of.settings.names
    asked = {"tenant": of.tenant, "dlq": names.dlq}
    tenants = _rows(of, _TENANTS, {"tenant": None if every_tenant else of.tenant})
    whole = next((row["measurements"] for row in tenants if row["tenant_id"] == of.tenant), 0)
    return Overview(tenants, _rows(of, _TOP, asked), rates(_rows(of, _REFUSED, asked), whole))


def rates(refused: Rows, measurements: int) -> list[dict[str, Any]]:
    """Refused events, with how many there are for 1 000 measurements of the tenant; None before any was counted."""
    whole = str(measurements)
    return [{**row, "rate": percent(str(10 * row["events"]), whole)} for row in refused]


def dead_letters(of: Asked, after: Sequence[str]) -> Page:
    """Dead letters that are open, a page, as `/v1/dead-letters` lists them."""
    who = {"tenant": of.tenant, "customer": None, "meter": None}
    return listed(of.db, LISTINGS["dead-letters"], who, after, MOST_LISTED)


def periods(of: Asked, *, every_tenant: bool) -> Periods:
    """What closing has left open, and what it corrected; why it waits names customers of all tenants."""
    who = {"tenant": of.tenant, "customer": None, "meter": None}
    corrections = listed(of.db, LISTINGS["corrections"], who, [], MOST_LISTED)
    waiting = _rows(of, _WAITING, {}) if every_tenant else []
    (not_known,) = _rows(of, _NOT_KNOWN, who)
    return Periods(_rows(of, _DUE, who), not_known["customers"], waiting[0] if waiting else None, corrections)


@dataclass(frozen=True, slots=True)
class Refused:
    """Why periods of a tenant that are due stay open, as `tidemark close --dry-run` says; or why nobody knows."""

    rows: Rows
    unknown: str = ""


def refused(settings: Settings, tenant: str) -> Refused:
    """Decide as a close of the tenant would, and change nothing; takes seconds."""
    try:
        shown_now = preview(settings, CloseRequest(Scope(tenant)))
    except TidemarkError as error:
        return Refused((), str(error))
    return Refused([
        {"cause": one.cause, "detail": one.detail, "periods": len(one.periods)} for one in shown_now.refused
    ])  # fmt: skip


def _rows(of: Asked, text: str, values: Mapping[str, Any]) -> list[dict[str, Any]]:
    with of.db.cursor(row_factory=dict_row) as cursor:
        found = cursor.execute(text.encode(), values).fetchall()
    return [{name: shown(value) for name, value in row.items()} for row in found]
