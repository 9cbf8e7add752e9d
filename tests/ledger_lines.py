"""The ledger beside the oracle: what closed periods say, and what they have to, both as lines to compare."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any

from psycopg import sql

from tidemark.billing.lines import PeriodKey
from tidemark.billing.messages import LedgerReader
from tidemark.core import postgres
from tidemark.core.kafka import dump
from tidemark.core.settings import Settings
from tidemark.oracle.compare import Difference, compare
from tidemark.oracle.oracle import Oracle
from tidemark.oracle.relations import schema_of

# Tenant, customer, meter, dims, begin of the period.
Place = tuple[str, str, str, str, datetime]


def closed_lines(settings: Settings) -> dict[Place, Decimal]:
    """Values of closed periods, with corrections; without percentiles, which the rollups only estimate."""
    rows = ask(
        settings,
        "SELECT tenant_id, customer_id, meter, dims, period_start, value FROM {billing}.usage_current_by_dims "
        "WHERE final AND aggregation <> 'percentile'",
    )
    return {tuple(row[:5]): row[5] for row in rows}


def current_periods(settings: Settings) -> set[PeriodKey]:
    """Closed periods that are periods now."""
    rows = ask(
        settings,
        "SELECT tenant_id, customer_id, period_start, period_end FROM {billing}.period_status WHERE is_current",
    )
    return {PeriodKey(*row) for row in rows}


def oracle_lines(oracle: Oracle, settings: Settings) -> dict[Place, Decimal]:
    """What the oracle says of the periods that are closed."""
    oracle.build_values()
    closed = {key[:3] for key in current_periods(settings)}
    rows = oracle.db.execute(
        "SELECT tenant_id, customer_id, meter, dims, period_start, value FROM value_period WHERE p50 IS NULL"
    ).fetchall()
    return {tuple(row[:5]): row[5] for row in rows if (row[0], row[1], row[4]) in closed}


def final_periods(oracle: Oracle, cutoff: datetime) -> set[PeriodKey]:
    """Periods with usage that end at `cutoff` or before, by the oracle."""
    rows = oracle.db.execute(
        "SELECT DISTINCT tenant_id, customer_id, period_start, period_end FROM usage_period "
        "WHERE period_end <= $cutoff",
        {"cutoff": cutoff},
    ).fetchall()
    return {PeriodKey(*row) for row in rows}


def current_differences(oracle: Oracle, settings: Settings) -> list[Difference]:
    """Rows of the rollups that people read, or of the oracle, that the other does not have; all four grains."""
    found: list[Difference] = []
    for grain in ("usage_minute", "usage_hour", "usage_day", "usage_period"):
        columns = ", ".join(schema_of(grain).names)
        found += compare(oracle, grain, ask(settings, f"SELECT {columns} FROM {{billing}}.{grain}"))
    return found


def ask(settings: Settings, query: str) -> list[tuple[Any, ...]]:
    """Rows of a query, in which `{billing}` and `{usage}` are the schemas of the run; `{schema}` is text."""
    billing, usage = settings.names.billing_schema, settings.names.usage_schema
    statement = sql.SQL(query).format(
        billing=sql.Identifier(billing), usage=sql.Identifier(usage), schema=sql.Literal(billing)
    )
    with postgres.connect(settings.postgres) as connection:
        return connection.execute(statement).fetchall()


def read_ledger(settings: Settings) -> LedgerReader:
    """What a consumer of both topics of the ledger knows, from their first records on."""
    reader = LedgerReader()
    for topic, take in ((settings.names.closes, reader.close), (settings.names.corrections, reader.correct)):
        for one in dump(settings.kafka, topic):
            take(one.value or b"")
    return reader
