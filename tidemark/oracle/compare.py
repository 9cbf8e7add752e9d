"""Compares the oracle with what is stored, row by row and both ways, with exact decimals."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal, cast
from urllib.parse import unquote

import psycopg
import redis

from tidemark.core import postgres
from tidemark.core.errors import UnavailableError
from tidemark.core.settings import Settings
from tidemark.oracle.oracle import Oracle
from tidemark.oracle.relations import GRAINS, SLIDING, load, schema_of

# Rows shown of each side; the number of all is in the summary.
SHOWN_ROWS = 50
# Rows that Postgres sends at once.
_BATCH = 50_000
_LIVE_KEY = ("tenant_id", "customer_id", "meter")


@dataclass(frozen=True, slots=True)
class Difference:
    """A row that only one side has; a changed row makes a difference on each side.

    Parameters
    ----------
    relation:
        What was compared.
    side:
        The side that has the row.
    row:
        Column names and values.

    """

    relation: str
    side: Literal["oracle", "stored"]
    row: dict[str, Any]


def compare(oracle: Oracle, relation: str, stored: Iterable[Sequence[Any]], required: str = "TRUE") -> list[Difference]:
    """Rows of a relation of the oracle that are not stored, and stored rows that the oracle does not have.

    Parameters
    ----------
    oracle:
        The recomputed usage.
    relation:
        One of `GRAINS` or `SLIDING`, or `live`.
    stored:
        Rows in the relation's column order; times with zone, totals as `Decimal`, None for NULL.
    required:
        SQL condition on the relation's rows that must be stored; others may be stored, and are then compared too.

    Returns
    -------
    At most SHOWN_ROWS differences of each side; empty when both are the same multiset of rows.

    """
    load(oracle, f"stored_{relation}", schema_of(relation), stored)
    return compare_relations(oracle, relation, f"stored_{relation}", required)


def compare_postgres(oracle: Oracle, settings: Settings, grains: Sequence[str] = GRAINS) -> list[Difference]:
    """Compare rollup tables of the run with the oracle: any of `GRAINS` and `SLIDING`.

    Raises
    ------
    UnavailableError
        The database cannot be reached.

    """
    differences: list[Difference] = []
    if set(grains) & set(SLIDING):
        oracle.build_sliding()
    # A named cursor lives in a transaction.
    with postgres.connect(settings.postgres.ops) as connection, connection.transaction():
        for grain in grains:
            required = _kept(settings) if grain in SLIDING else "TRUE"
            rows = _table_rows(connection, settings.names.usage_schema, grain)
            differences += compare(oracle, grain, rows, required)
    return differences


def compare_redis(oracle: Oracle, settings: Settings) -> list[Difference]:
    """Compare the live counters of the run with the oracle's latest periods.

    Raises
    ------
    UnavailableError
        Redis cannot be reached.

    """
    try:
        return compare(oracle, "live", list(live_rows(settings)))
    except redis.RedisError as error:
        raise UnavailableError(f"Redis at {settings.redis.url}: {error}.", "`tidemark up`.") from error


def _kept(settings: Settings) -> str:
    """The condition on sliding windows that are recent enough to be stored for certain.

    Windows that were stored and are older by now are compared too.
    """
    history_s = settings.rollup.sliding_history_s
    return f"window_end > now() - INTERVAL {history_s} SECOND" if history_s else "TRUE"


def _table_rows(connection: psycopg.Connection[Any], schema: str, grain: str) -> Iterator[tuple[Any, ...]]:
    columns = ", ".join(schema_of(grain).names)
    with connection.cursor(name=f"compare_{grain}") as cursor:
        cursor.itersize = _BATCH
        cursor.execute(f'SELECT {columns} FROM "{schema}".{grain}'.encode())
        yield from cursor


def live_rows(settings: Settings) -> Iterator[tuple[Any, ...]]:
    """One row per key, in the columns of `live`; ids come back from their percent-encoding."""
    url, password = settings.redis.url, settings.redis.secret
    tls = {"ssl_check_hostname": True} if url.startswith("rediss:") else {}
    client = redis.Redis.from_url(url, password=password, decode_responses=True, socket_timeout=10, **tls)
    fields = [name for name in schema_of("live").names if name not in _LIVE_KEY]
    with client:
        for key in client.scan_iter(match=f"{settings.names.redis_prefix}{{*}}:*", count=1_000):
            if "}::" in key:
                # Keys of a customer that are no counters: suspensions, default limits, leaderboards.
                continue
            # Typed for both the blocking and the asyncio client; this one blocks.
            stored = cast("list[str | None]", client.hmget(key, fields))
            values = live_values(stored)
            # A counter that only shows a limit holds no usage.
            if values[2]:
                yield *parse_live_key(settings, key), *values


def live_values(fields: Sequence[str | None]) -> tuple[Any, ...]:
    """Numbers of a hash's fields, in the order of `live`; an absent or empty field gives None."""
    kinds = (int, int, int, int, Decimal, Decimal, Decimal, str)
    return tuple(kind(text) if text else None for kind, text in zip(kinds, fields, strict=True))


def parse_live_key(settings: Settings, key: str) -> tuple[str, str, str]:
    """Tenant, customer and meter of a key `usage:{tenant/customer}:meter`."""
    pair, _, meter = key.removeprefix(settings.names.redis_prefix).removeprefix("{").partition("}:")
    tenant, _, customer = pair.partition("/")
    return unquote(tenant), unquote(customer), unquote(meter)


def compare_relations(oracle: Oracle, relation: str, stored: str, required: str = "TRUE") -> list[Difference]:
    """Rows only in a relation of the oracle, and rows only in another table or view of its database, as multisets.

    Only rows of the relation that meet `required`, an SQL condition, must be in the other one.
    """
    names = schema_of(relation).names
    columns = ", ".join(names)
    sides: tuple[tuple[Literal["oracle", "stored"], str, str, str], ...] = (
        ("oracle", relation, stored, required),
        ("stored", stored, relation, "TRUE"),
    )
    differences = []
    for side, left, right, where in sides:
        query = f"""
            SELECT {columns} FROM {left} WHERE {where} EXCEPT ALL SELECT {columns} FROM {right}
            ORDER BY ALL LIMIT {SHOWN_ROWS}"""
        rows = oracle.db.execute(query).fetchall()
        differences += [Difference(relation, side, dict(zip(names, row, strict=True))) for row in rows]
    return differences
