"""Usage of one customer as rows: by dimensions, or day by day."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import psycopg
from psycopg import sql

from tidemark.core.settings import Settings
from tidemark.live import active_version
from tidemark.live.usage import UsageQuery, active_schema, reading
from udfs.values import plain, rfc3339

# The zone of a customer: that of the calendar it has at a date.
_ZONE = """
SELECT coalesce((
    SELECT l.timezone FROM catalog.calendar l
    WHERE l.calendar_id = coalesce(
              (SELECT calendar_id FROM catalog.customer
               WHERE tenant_id = %(tenant)s AND customer_id = %(customer)s
                 AND valid_from <= %(day)s AND valid_to > %(day)s),
              (SELECT calendar_id FROM catalog.tenant
               WHERE tenant_id = %(tenant)s AND valid_from <= %(day)s AND valid_to > %(day)s)
          )
      AND l.valid_from <= %(day)s AND l.valid_to > %(day)s
), 'UTC')
"""
_START = "SELECT %(day)s::date::timestamp AT TIME ZONE %(zone)s"
_WHO = "tenant_id = %(tenant)s AND customer_id = %(customer)s AND (%(meter)s::text IS NULL OR meter = %(meter)s)"
# Like the totals beside the live counters: of each meter the latest period, or the one an instant is in.
_PERIODS = f"""
SELECT meter, dims, period_start, period_end, samples, value, projected_value, unit, aggregation
FROM (
    SELECT *, max(period_start) OVER (PARTITION BY meter) AS latest
    FROM {{schema}}.usage_period_value
    WHERE {_WHO} AND (%(at)s::timestamptz IS NULL OR (period_start <= %(at)s AND period_end > %(at)s))
) latest_periods
WHERE period_start = latest
ORDER BY meter, dims
"""
_DAYS = f"""
SELECT meter, {{dims}}, day, samples, value, unit, aggregation
FROM {{schema}}.{{relation}}
WHERE {_WHO} AND day >= %(first)s AND day <= %(last)s
ORDER BY meter, day, 2
"""


@dataclass(frozen=True, slots=True)
class Days:
    """Local days of the customer, the last one included."""

    first: date
    last: date


def instant_of(settings: Settings, tenant: str, customer: str, day: date) -> datetime:
    """The first instant of a local day of a customer."""
    with reading(settings) as db:
        given = {"tenant": tenant, "customer": customer, "day": day}
        zone = _scalar(db, _ZONE, given)
        start: datetime = _scalar(db, _START, {"day": day, "zone": zone})
        return start


def by_dims(settings: Settings, query: UsageQuery) -> list[dict[str, Any]]:
    """A row per meter and dimensions of a period; decimals and instants are text, `projected_value` may be None."""
    with reading(settings) as db:
        rows = db.execute(_statement(db, settings, _PERIODS), _given(query)).fetchall()
    names = "meter", "dims", "period_start", "period_end", "samples", "value", "projected_value", "unit", "aggregation"
    return [_text(dict(zip(names, row, strict=True))) for row in rows]


def by_day(settings: Settings, query: UsageQuery, days: Days, *, dims: bool) -> list[dict[str, Any]]:
    """A row per meter and local day, and per dimensions with `dims`; levels have no days."""
    parts = {
        "relation": sql.Identifier("usage_day_value" if dims else "usage_day_total"),
        "dims": sql.SQL("dims") if dims else sql.SQL("NULL::text"),
    }
    with reading(settings) as db:
        given = {**_given(query), "first": days.first, "last": days.last}
        rows = db.execute(_statement(db, settings, _DAYS, **parts), given).fetchall()
    names = "meter", "dims", "day", "samples", "value", "unit", "aggregation"
    days_rows = [_text(dict(zip(names, row, strict=True))) for row in rows]
    return days_rows if dims else [{name: value for name, value in row.items() if name != "dims"} for row in days_rows]


def _statement(db: psycopg.Connection, settings: Settings, text: str, **parts: Any) -> sql.Composed:
    schema = active_schema(settings, active_version.promoted(db, settings.names))
    return sql.SQL(text).format(schema=sql.Identifier(schema), **parts)


def _given(query: UsageQuery) -> dict[str, Any]:
    return {"tenant": query.tenant, "customer": query.customer, "meter": query.meter, "at": query.at}


def _text(row: dict[str, Any]) -> dict[str, Any]:
    if row.get("projected_value") == row["value"]:
        row["projected_value"] = None
    return {name: _shown(value) for name, value in row.items()}


def _shown(value: Any) -> Any:
    if isinstance(value, datetime):
        return rfc3339(value)
    if isinstance(value, date):
        return value.isoformat()
    return value if value is None or isinstance(value, str | int) else plain(value)


def _scalar(db: psycopg.Connection, statement: str, given: dict[str, Any]) -> Any:
    return db.execute(statement.encode(), given).fetchall()[0][0]
