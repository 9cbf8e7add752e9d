"""Usage as rows: of any grain from the rollups, and of whole periods as the ledger has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
from psycopg.rows import dict_row

from tidemark.api.archived import archived_rows
from tidemark.api.problem import Problem
from tidemark.api.reading import Asked, shown
from tidemark.api.tiers import as_document, missing_of
from tidemark.api.usage_query import CUSTOMER, MeterAsked, UsageAsked, cursor_of, source_of, statement_of

_METER = """
SELECT k.meter, k.aggregation, k.unit, coalesce(array_agg(DISTINCT g.name) FILTER (WHERE g.name IS NOT NULL), '{}')
FROM meter_kind k
LEFT JOIN catalog.meter m ON m.meter = k.meter AND (m.tenant_id = k.tenant_id OR m.tenant_id IS NULL)
LEFT JOIN LATERAL unnest(m.group_by) AS g (name) ON true
WHERE k.tenant_id = %(tenant)s AND (%(meter)s::text IS NULL OR k.meter = %(meter)s)
GROUP BY k.meter, k.aggregation, k.unit
ORDER BY k.meter
"""


@dataclass(frozen=True, slots=True)
class Page:
    """Rows, and where the next page begins; None on the last."""

    rows: Sequence[Mapping[str, Any]]
    next: str | None


def meters(db: psycopg.Connection, tenant: str, meter: str | None = None) -> list[MeterAsked]:
    """The meters of a tenant, or the one of a name if there is one."""
    rows = db.execute(_METER, {"tenant": tenant, "meter": meter}).fetchall()
    return [MeterAsked(name, how, unit, tuple(group_by)) for name, how, unit, group_by in rows]


def the_meter(db: psycopg.Connection, tenant: str, name: str) -> MeterAsked:
    """The meter of a name; raises Problem where the tenant has none."""
    found = meters(db, tenant, name)
    if not found:
        raise Problem(404, "not_found", f"there is no meter {name!r}.")
    return found[0]


def buckets(of: Asked, asked: UsageAsked, meter: MeterAsked) -> Page:
    """Buckets of a meter with their version `n`: start, groups, value as text, samples; raises Problem."""
    source = source_of(asked, meter)
    missing = missing_of(source.relation, source.bounds, _kept_from(of.db, source.relation))
    archived = None if missing is None else (missing.kept_from, as_document(archived_rows(of, asked, missing)))
    statement = statement_of(asked, of.tenant, source, archived)
    found = of.db.execute(statement.text, statement.values).fetchall()
    size = len(statement.groups)
    following = cursor_of(found[asked.limit - 1][: 1 + size]) if len(found) > asked.limit else None
    return Page([_bucket(row, statement.groups) for row in found[: asked.limit]], following)


def _kept_from(db: psycopg.Connection, relation: str) -> datetime | None:
    row = db.execute("SELECT kept_from FROM rollup_kept WHERE relation = %s", [relation]).fetchone()
    return None if row is None else row[0]


def _bucket(row: Sequence[Any], groups: Sequence[str]) -> dict[str, Any]:
    start, *rest = map(shown, row)
    by = dict(zip(groups, rest, strict=False))
    customer = {CUSTOMER: by.pop(CUSTOMER)} if CUSTOMER in by else {}
    samples, value, n = rest[len(groups) :]
    return {"start": start, **customer, "dims": by, "value": value, "samples": samples, "n": n}


@dataclass(frozen=True, slots=True)
class Listing:
    """A relation that is read page by page, the newest first.

    Parameters
    ----------
    sql:
        Selects columns of rows of %(tenant)s, of %(customer)s if that is not null, and of %(meter)s where it has one.
    keys:
        Columns that order its rows, and tell any two apart.
    meaning:
        In words, for the OpenAPI document.
    """

    sql: str
    keys: Sequence[str]
    meaning: str


_WHO = "tenant_id = %(tenant)s AND (%(customer)s::text IS NULL OR customer_id = %(customer)s)"
_METERED = f"{_WHO} AND (%(meter)s::text IS NULL OR meter = %(meter)s)"
LISTINGS: Mapping[str, Listing] = {
    "periods": Listing(
        f"""
        SELECT customer_id, meter, period_start, period_end, first_day, last_day, time_zone, value, projected_value,
               unit, aggregation, final, status, final_at, corrections, correction_amount, changed_at
        FROM usage_current WHERE {_METERED}
        """,
        ("period_start", "customer_id", "meter"),
        "What every period comes to now: closed ones as corrected, open ones as an estimate that says when it is "
        "final.",
    ),
    "invoice-lines": Listing(
        f"""
        SELECT customer_id, meter, period_start, period_end, first_day, last_day, time_zone, value, unit, aggregation,
               final, status, final_at, corrections, correction_amount, changed_at
        FROM usage_current WHERE {_METERED} AND (final OR period_end <= now())
        """,
        ("period_start", "customer_id", "meter"),
        "Periods that have ended, a line per customer and meter: what an invoice has. Take those that are final.",
    ),
    "closes": Listing(
        f"""
        SELECT customer_id, period_start, period_end, closed_at, is_current, corrections, content_hash, changed_at
        FROM period_status WHERE {_WHO} AND %(meter)s::text IS NULL
        """,
        ("period_start", "customer_id", "period_end"),
        "Periods that were closed, with the state of each.",
    ),
    "corrections": Listing(
        f"""
        SELECT customer_id, period_start, period_end, correction_no, cause, made_at, meter, dims, aggregation, unit,
               before, after, delta
        FROM correction_line
        JOIN correction USING (tenant_id, customer_id, period_start, period_end, correction_no)
        WHERE {_METERED}
        """,
        ("made_at", "customer_id", "period_start", "period_end", "correction_no", "meter", "dims"),
        "What changed in closed periods, a row a line.",
    ),
    "dead-letters": Listing(
        f"""
        SELECT partition, record_offset AS "offset", customer_id, meter, reason, is_partial,
               coalesce(event_at, 'epoch') AS event_at, arrived_at
        FROM dead_letter_open WHERE {_METERED}
        """,
        ("event_at", "partition", "offset"),
        "Events that were not counted, and were not redriven; as far as they are indexed, which each close does.",
    ),
}


def listed(
    db: psycopg.Connection, listing: Listing, values: Mapping[str, Any], after: Sequence[str], limit: int
) -> Page:
    """A page of a listing: of who `values` say, after the keys of the page before."""
    keys = ", ".join(f'"{key}"' for key in listing.keys)
    places = ", ".join(f"%(a{place})s" for place in range(len(after)))
    where = f"({keys}) < ({places})" if after else "true"
    order = ", ".join(f'"{key}" DESC' for key in listing.keys)
    text = f"SELECT * FROM ({listing.sql}) listing WHERE {where} ORDER BY {order} LIMIT %(limit)s"
    given = {**values, "limit": limit + 1, **{f"a{place}": value for place, value in enumerate(after)}}
    with db.cursor(row_factory=dict_row) as cursor:
        found = cursor.execute(text.encode(), given).fetchall()
    rows = [{name: shown(value) for name, value in row.items()} for row in found[:limit]]
    following = cursor_of([str(found[limit - 1][key]) for key in listing.keys]) if len(found) > limit else None
    return Page(rows, following)
