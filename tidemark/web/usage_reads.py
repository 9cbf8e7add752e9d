"""What the page of a customer shows, read by the functions of the API: days, dimensions, alerts, periods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from psycopg import sql
from psycopg.rows import dict_row

from tidemark.api.reading import Asked, shown
from tidemark.api.usage_query import CUSTOMER, MeterAsked, UsageAsked
from tidemark.api.usage_rows import LISTINGS, Page, buckets, listed, meters
from tidemark.web import charts
from tidemark.web.shown import day, last_day, local
from udfs.values import exact_sum, parse_rfc3339, plain, rfc3339

MOST_PERIODS = 60
MOST_PARTS = 12
MOST_CUSTOMERS = 100
YEAR_DAYS = 366
_ALERTS = """
SELECT at, type, status, severity, meter, value, threshold, coalesce(event #>> '{{data,summary}}', type) AS summary
FROM {}
WHERE tenant_id = %(tenant)s AND customer_id = %(customer)s
ORDER BY at DESC
LIMIT 20
"""
# By the primary key, whose order is that of bytes or of a collation: names that begin alike are together in both.
_CUSTOMERS = """
SELECT DISTINCT customer_id
FROM usage_period
WHERE tenant_id = %(tenant)s AND customer_id > %(after)s AND starts_with(customer_id, %(begins)s)
ORDER BY customer_id
LIMIT %(limit)s
"""


@dataclass(frozen=True, slots=True)
class DimensionUsage:
    """Usage of a period by the values of a dimension, the most first; `others` are how many values more there are."""

    name: str
    rows: Sequence[Mapping[str, Any]]
    others: int


@dataclass(frozen=True, slots=True)
class CustomerDetails:
    """The parts of the page of a customer beside what runs: of the meter that is chosen, and of all.

    `days` are None where the meter has no value of a day.
    """

    meter: MeterAsked | None
    days: Sequence[tuple[str, str]] | None
    dimensions: Sequence[DimensionUsage]
    alerts: Sequence[Mapping[str, Any]]
    periods: Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Chosen:
    """What of a customer is looked at closely.

    Parameters
    ----------
    customer, meter:
        Whose usage, of which meter.
    start, end:
        The period, RFC 3339; empty where there is none.
    whole_year:
        Whether days of the year that ends with the period are shown, not of the period alone.
    zone:
        Whose days.
    """

    customer: str
    meter: str
    start: str
    end: str
    whole_year: bool
    zone: str


def details(of: Asked, chosen: Chosen) -> CustomerDetails:
    """All of it, for one customer; raises Problem."""
    found = meters(of.db, of.tenant, chosen.meter) if chosen.start else []
    meter = found[0] if found else None
    return CustomerDetails(
        meter,
        None if meter is None else _days(of, meter, chosen),
        [] if meter is None else [_dimension(of, meter, chosen, name) for name in meter.group_by],
        _alerts(of, chosen.customer),
        periods(of, chosen.customer).rows,
    )


def periods(of: Asked, customer: str, limit: int = MOST_PERIODS) -> Page:
    """Periods of a customer, the newest first, as `/v1/periods` lists them."""
    return listed(of.db, LISTINGS["periods"], {"tenant": of.tenant, "customer": customer, "meter": None}, [], limit)


def customers(of: Asked, begins: str, after: str) -> list[str]:
    """Ids of customers with usage that begin so, in order; one more than a page has if there are more."""
    asked = {"tenant": of.tenant, "begins": begins, "after": after, "limit": MOST_CUSTOMERS + 1}
    return [row[0] for row in of.db.execute(_CUSTOMERS, asked).fetchall()]


def _days(of: Asked, meter: MeterAsked, chosen: Chosen) -> list[tuple[str, str]] | None:
    if meter.aggregation == "weighted_sum":
        return None
    # Values of unique meters are kept by the days of the customer alone.
    zone = "" if meter.aggregation == "unique" else chosen.zone
    first, last = _span(chosen)
    asked = UsageAsked(
        meter.name, "day", (chosen.customer,), first.isoformat(), (last + timedelta(days=1)).isoformat(), zone
    )
    rows = buckets(of, asked, meter).rows
    return charts.every_day(first, last, {day(row["start"], chosen.zone): row["value"] for row in rows})


def _span(chosen: Chosen) -> tuple[date, date]:
    last = last_day(chosen.end, chosen.zone)
    first = local(chosen.start, chosen.zone).date()
    year = last - timedelta(days=YEAR_DAYS - 1)
    return (year if chosen.whole_year or first < year else first), last


def _dimension(of: Asked, meter: MeterAsked, chosen: Chosen, name: str) -> DimensionUsage:
    end = rfc3339(parse_rfc3339(chosen.start) + timedelta(seconds=1))
    asked = UsageAsked(meter.name, "period", (chosen.customer,), chosen.start, end, group_by=(name,), limit=10_000)
    if meter.aggregation == "weighted_sum":
        return DimensionUsage(name, [], 0)
    found = sorted(buckets(of, asked, meter).rows, key=lambda row: Decimal(row["value"]), reverse=True)
    rows = [{"name": row["dims"][name], "value": row["value"]} for row in found]
    return DimensionUsage(name, rows[:MOST_PARTS], max(len(rows) - MOST_PARTS, 0))


def _alerts(of: Asked, customer: str) -> list[dict[str, Any]]:
    table = sql.Identifier(of.settings.names.usage_schema, "alert")
    with of.db.cursor(row_factory=dict_row) as cursor:
        found = cursor.execute(
            sql.SQL(_ALERTS).format(table), {"tenant": of.tenant, CUSTOMER: customer, "customer": customer}
        )
        return [{name: shown(value) for name, value in row.items()} for row in found.fetchall()]


def plain_sum(values: Sequence[str]) -> str:
    """Sum of plain decimals."""
    return plain(exact_sum(map(Decimal, values)))
