"""Which dead letters there are, from their index: how many by reason, and the newest with their bytes."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, NamedTuple, Unpack

import psycopg
from psycopg import sql

from tidemark.billing import dead_letter_index
from tidemark.core.kafka import read_ranges
from tidemark.core.names import Names
from tidemark.core.postgres import connect
from tidemark.core.settings import Settings
from tidemark.dead_letters.records import (
    DeadLetter,
    Position,
    Survey,
    Wanted,
    newest,
    parsed,
    read_dead_letters,
    survey,
)
from udfs.values import instant

_KNOWN = "SELECT to_regclass(%s) IS NOT NULL"
_WANTED = """
FROM {schema}.dead_letter
WHERE topic = %(topic)s
  AND (%(reason)s::text IS NULL OR reason = %(reason)s)
  AND (%(tenant)s::text IS NULL OR tenant_id = %(tenant)s)
  AND (%(customer)s::text IS NULL OR customer_id = %(customer)s)
  AND (%(meter)s::text IS NULL OR meter = %(meter)s)
  AND (%(partial)s::boolean IS NULL OR is_partial = %(partial)s)
  AND (%(since)s::timestamptz IS NULL OR arrived_at >= %(since)s)
  AND (%(until)s::timestamptz IS NULL OR arrived_at < %(until)s)
"""
_COUNTS = f"SELECT reason, count(*), count(*) FILTER (WHERE is_partial) {_WANTED} GROUP BY reason ORDER BY 2 DESC, 1"
_NEWEST = f"""
SELECT partition, record_offset {_WANTED}
ORDER BY arrived_at DESC NULLS LAST, source_topic DESC, source_partition DESC, source_offset DESC, partition DESC,
         record_offset DESC
LIMIT %(limit)s
"""
_FOREIGN = """
SELECT partition, record_offset FROM {schema}.dead_letter_foreign WHERE topic = %(topic)s ORDER BY 1, 2
"""


class Listed(NamedTuple):
    """What matches, and positions of records that are no dead letters."""

    matching: Survey
    unreadable: list[Position]


def listed(settings: Settings, limit: int, **wanted: Unpack[Wanted]) -> Listed:
    """The newest `limit` dead letters of a selection, oldest first, and counts of all of it.

    What is new in the topic is indexed first. A replay has no ledger, and so no index: its topic is read.

    Raises
    ------
    UnavailableError
        Postgres or Kafka does not answer.
    """
    with connect(settings.postgres.ops) as connection:
        if not _has_index(connection, settings.names):
            return _from_topic(settings, limit, wanted)
        dead_letter_index.catch_up(settings)
        given = _given(settings, wanted) | {"limit": limit}
        counts = _rows(connection, settings.names, _COUNTS, given)
        places = [Position(*row) for row in _rows(connection, settings.names, _NEWEST, given)]
        unreadable = [Position(*row) for row in _rows(connection, settings.names, _FOREIGN, given)]
    partial = sum(count for _, _, count in counts)
    by_reason = {reason: count for reason, count, _ in counts}
    return Listed(Survey(newest(_read(settings, places)), by_reason, partial), unreadable)


def _has_index(connection: psycopg.Connection, names: Names) -> bool:
    row = connection.execute(_KNOWN, [f'"{names.billing_schema}".dead_letter_foreign']).fetchone()
    return row is not None and bool(row[0])


def _from_topic(settings: Settings, limit: int, wanted: Wanted) -> Listed:
    unreadable: list[Position] = []
    return Listed(survey(read_dead_letters(settings, unreadable), limit, **wanted), unreadable)


def _read(settings: Settings, places: Iterable[Position]) -> list[DeadLetter]:
    """The records at these positions; those that retention removed just now are absent."""
    ranges: dict[int, list[tuple[int, int]]] = {}
    for partition, offset in sorted(places):
        ranges.setdefault(partition, []).append((offset, offset + 1))
    if not ranges:
        return []
    found = map(parsed, read_ranges(settings.kafka, settings.names.dlq, ranges))
    return [dead_letter for dead_letter in found if dead_letter is not None]


def _given(settings: Settings, wanted: Wanted) -> dict[str, Any]:
    return {
        "topic": settings.names.dlq, "reason": wanted.get("reason"), "tenant": wanted.get("tenant"),
        "customer": wanted.get("customer"), "meter": wanted.get("meter"), "partial": wanted.get("partial"),
        "since": _at(wanted.get("since_ms")), "until": _at(wanted.get("until_ms")),
    }  # fmt: skip


def _at(ms: int | None) -> datetime | None:
    return None if ms is None else instant(ms).astimezone(UTC)


def _rows(connection: psycopg.Connection, names: Names, statement: str, given: dict[str, Any]) -> list[Any]:
    return connection.execute(sql.SQL(statement).format(schema=sql.Identifier(names.billing_schema)), given).fetchall()
