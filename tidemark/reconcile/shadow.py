"""A parallel run: compares the numbers of another system with ours, for each customer."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from tidemark.core.errors import UsageError
from tidemark.core.names import Names
from tidemark.reconcile.files import Column, figure, instant, read_rows, text
from tidemark.reconcile.parity import Line, Parity, parities
from udfs.postgres import first_line
from udfs.values import EXACT

_WITH_ZONE = psycopg.adapters.types["timestamptz"].oid
_FILES = {".csv", ".ndjson", ".jsonl"}
_OURS = """
SELECT tenant_id, customer_id, meter, period_start, value
FROM {}
WHERE (tenant_id, meter) IN (SELECT * FROM unnest(%(tenants)s::text[], %(meters)s::text[]))
  AND period_start BETWEEN %(first)s AND %(last)s
"""

Lines = dict[Line, Decimal]


def compare(connection: psycopg.Connection, names: Names, theirs: str) -> list[Parity]:
    """Parity of every customer with a file or a table (`schema.table`), worst first.

    The comparison covers the meters that the other system has for each tenant, in the range of its periods: usage that
    only we have there also lowers the parity. Our numbers are those of `usage_total`, over all dimensions.

    Raises
    ------
    UsageError
        There is no such file or table, it is empty, or it lacks a column.
    """
    path = Path(theirs)
    lines = _from_file(path) if path.suffix in _FILES else _from_table(connection, theirs)
    if not lines:
        raise UsageError(f"{theirs} has no rows.", "name a file or table with usage of the other system.")
    return parities(_ours(connection, names, lines), lines)


def _from_file(path: Path) -> Lines:
    number = Column(figure, required=False)
    columns = {
        "tenant_id": Column(text), "customer_id": Column(text), "meter": Column(text), "period_start": Column(instant),
        "total": number, "value": number,
    }  # fmt: skip
    lines: Lines = {}
    for row in read_rows(path, columns):
        value = row["total"] if row["value"] is None else row["value"]
        if value is None:
            raise UsageError(f"{path} has a row without value and total.", "give every row a value or a total.")
        _add(lines, row["tenant_id"], row["customer_id"], row["meter"], row["period_start"], value)
    return lines


def _from_table(connection: psycopg.Connection, name: str) -> Lines:
    table = sql.Identifier(*name.split("."))
    lines: Lines = {}
    try:
        columns = {
            column.name: column.type_code
            for column in connection.execute(sql.SQL("SELECT * FROM {} LIMIT 0").format(table)).description or ()
        }
        if columns.get("period_start", _WITH_ZONE) != _WITH_ZONE:
            # Postgres would take it to be in the zone of whoever asks.
            raise UsageError(
                f"period_start of {name} is no timestamp with time zone.", "name a view that makes it one."
            )
        figure = sql.Identifier("value" if "value" in columns else "total")
        query = sql.SQL("SELECT tenant_id, customer_id, meter, period_start, {}::numeric FROM {}").format(figure, table)
        for row in connection.execute(query):
            if row[-1] is not None and not row[-1].is_finite():
                raise UsageError(f"{name} has {row[-1]} for customer {row[1]}, meter {row[2]}.", "give it a number.")
            _add(lines, *row)
    except psycopg.errors.ProgrammingError as error:
        raise UsageError(
            f"{name} cannot be compared: {first_line(error)}",
            "name a table with tenant_id, customer_id, meter, period_start and total or value, or a .csv file.",
        ) from error
    return lines


def _ours(connection: psycopg.Connection, names: Names, theirs: Lines) -> Lines:
    pairs = sorted({(line.tenant_id, line.meter) for line in theirs})
    starts = [datetime.fromisoformat(line.period) for line in theirs]
    given = {
        "tenants": [tenant for tenant, _ in pairs], "meters": [meter for _, meter in pairs],
        "first": min(starts), "last": max(starts),
    }  # fmt: skip
    lines: Lines = {}
    for row in connection.execute(sql.SQL(_OURS).format(sql.Identifier(names.billing_schema, "usage_total")), given):
        _add(lines, *row)
    return lines


def _add(lines: Lines, tenant: str, customer: str, meter: str, start: datetime, value: Any) -> None:
    """Add a row; several rows of one line (for example of several dimensions) add up."""
    line = Line(tenant, customer, meter, start.astimezone(UTC).isoformat())
    lines[line] = EXACT.add(lines.get(line, Decimal(0)), value or Decimal(0))
